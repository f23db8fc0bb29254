//! Who makes a request: the account behind its certificate or its bearer token, found out as that of
//! a session is, and whether it may make one more now.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use protocol::wire::internal::Authenticate;
use protocol::{AccountId, ErrorCode, Refusal, SessionId};
use service_kit::clock;
use service_kit::http::{self, Refused};
use tokio::time::Instant;

use super::Api;
use super::server::Client;
use crate::events;
use crate::store::{Caller, Deadline};

/// A request of somebody who is known.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) api: Arc<Api>,
    pub(super) caller: Caller,
    /// Where from.
    pub(super) address: IpAddr,
}

impl FromRequestParts<Arc<Api>> for Asking {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refused> {
        let client = parts.extensions.get::<Client>();
        let client = client.ok_or_else(|| Refusal::internal("a request on no connection"))?;
        let caller = match authenticate(api, client, http::bearer(&parts.headers)).await {
            Ok(caller) => caller,
            Err(refusal) => return Err(refuse(api, client.address, refusal).into()),
        };
        if let Err(wait_ms) = api.requests.take(caller.account, Instant::now()) {
            let most = api.config.requests_per_second;
            return Err(too_fast(format!("more than {most} requests a second"), wait_ms).into());
        }
        events::api_request(caller);
        Ok(Self {
            api: Arc::clone(api),
            caller,
            address: client.address,
        })
    }
}

async fn authenticate(api: &Api, client: &Client, token: Option<&str>) -> Result<Caller, Refusal> {
    let deadline = Deadline::within(api.request_timeout());
    if !client.peer.is_current(clock::unix_ms()) {
        let why = "the certificate has expired";
        return Err(Refusal::new(ErrorCode::Unauthenticated, why));
    }
    // The number of the request, which its record in the audit has too.
    let session_id = api.service.snowflakes.next_id().await?;
    let credential = Authenticate {
        certificate_subject: client.peer.uri.clone(),
        certificate_serial: client.peer.serial.clone().into(),
        token: token.unwrap_or_default().to_owned(),
        session_id,
    };
    let known = api
        .service
        .authentication
        .authenticate(credential, deadline);
    let account = known.await?.account.unwrap_or_default();
    Ok(Caller {
        account: AccountId(account.account_id),
        session: SessionId(session_id),
        deadline,
    })
}

/// Who fails is told so, as often as is good for it. Whoever else comes from the same address is not
/// held up.
fn refuse(api: &Api, address: IpAddr, refusal: Refusal) -> Refusal {
    if !refusal.is_failed_login() {
        return refusal;
    }
    match api.failures.take(address, Instant::now()) {
        Err(wait_ms) => too_fast("too many logins from this address fail".to_owned(), wait_ms),
        Ok(()) => refusal,
    }
}

fn too_fast(message: String, wait_ms: u32) -> Refusal {
    Refusal::new(ErrorCode::RateLimited, message).retry_after_ms(wait_ms)
}
