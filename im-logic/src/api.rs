//! Administration by HTTP over TLS, on a listener of its own: what `swarm` speaks, and scripts may.
//!
//! The same accounts and rights as by the protocol, because it is the same code that answers: a
//! request becomes the protocol's own message to [`crate::service`]. What changes something is
//! recorded in the audit before it is done and before it is answered (`change`). `caller` knows whose
//! a request is; `robots`, `groups`, `regroup`, `commands`, `cluster` and `audit` answer; `server` has
//! the connections.

mod audit;
mod caller;
mod change;
mod cluster;
#[expect(unused_qualifications, reason = "what utoipa generates has some")]
mod commands;
mod groups;
mod json;
mod openapi;
mod regroup;
mod robots;
mod server;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use protocol::AccountId;
use rustls::ServerConfig;
use service_kit::drain::Drain;
use service_kit::http::{self, Refused};
use service_kit::{listen, tls};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::config::{ApiConfig, Config};
use crate::events;
use crate::rates::Measure;
use crate::service::Service;

/// What every request has to do with.
#[derive(Debug)]
pub(crate) struct Api {
    service: Arc<Service>,
    config: ApiConfig,
    /// Requests, by account.
    requests: Measure<AccountId>,
    /// Logins that failed, by address.
    failures: Measure<IpAddr>,
    openapi: Bytes,
    drain: Drain,
}

/// A listener, and what is seen at it.
pub type Door = (TcpListener, Arc<ServerConfig>);

impl Api {
    fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.config.request_timeout_ms.into())
    }
}

/// The listener, if the configuration has one.
///
/// # Errors
/// When the address is none, or taken, or a certificate cannot be used.
pub async fn bind(config: &Config) -> anyhow::Result<Option<Door>> {
    let Some(address) = listen::optional("api.listen", &config.api.listen)? else {
        return Ok(None);
    };
    let tls = tls::for_http(&*config.public_tls.server()?);
    Ok(Some((listen::bind("api.listen", address).await?, tls)))
}

/// Serves until the drain, if there is a listener.
pub fn spawn(door: Option<Door>, config: ApiConfig, service: Arc<Service>, drain: &Drain) {
    let Some((listener, tls)) = door else {
        return;
    };
    let now = Instant::now();
    let api = Arc::new(Api {
        service,
        requests: Measure::new(config.requests_per_second, now),
        failures: Measure::new(config.requests_per_second, now),
        config,
        openapi: openapi::document(),
        drain: drain.clone(),
    });
    let routes = routes(Arc::clone(&api));
    drain.spawn(server::serve(listener, tls, api, routes));
}

fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/admin/v1/robots", get(robots::list))
        .route("/admin/v1/robots/{name}", get(robots::show))
        .route("/admin/v1/groups", get(groups::list).post(regroup::create))
        .route(
            "/admin/v1/groups/{id}",
            get(groups::show).patch(regroup::update),
        )
        .route(
            "/admin/v1/groups/{id}/members",
            get(groups::members).post(regroup::change_members),
        )
        .route("/admin/v1/groups/{id}/roles", post(regroup::change_roles))
        .route("/admin/v1/groups/{id}/leave", post(regroup::leave))
        .route("/admin/v1/groups/{id}/dissolve", post(regroup::dissolve))
        .route(
            "/admin/v1/commands",
            get(commands::list).post(commands::send),
        )
        .route("/admin/v1/command", get(commands::status))
        .route("/admin/v1/command/cancel", post(commands::cancel))
        .route("/admin/v1/sessions", get(cluster::sessions))
        .route("/admin/v1/cluster", get(cluster::show))
        .route("/admin/v1/audit", get(audit::list))
        .route("/openapi.json", get(openapi::serve))
        .fallback(http::unknown)
        .method_not_allowed_fallback(http::other_method)
        .layer(map_response(count))
        .with_state(api)
}

/// Counts an answer that is an error.
async fn count(response: Response) -> Response {
    if let Some(Refused(refusal)) = response.extensions().get() {
        events::api_refused(refusal);
    }
    response
}
