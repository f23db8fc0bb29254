//! Who makes a request: the account behind its certificate or its bearer token, found out as that
//! of a session is; and what that account may do at once by HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use protocol::error::decode_body;
use protocol::{AccountId, ErrorCode, Refusal, SessionId};
use service_kit::http::{self, Refused};
use tokio::time::{Duration, Instant};

use super::Http;
use super::server::Client;
use crate::config::SessionConfig;
use crate::credential::Held;
use crate::events;
use crate::login::{self, Credential};
use crate::session::{Bucket, InFlight, Passed};
use crate::upstream::Upstream;

/// Streams of events and long polls of one account that are open at once: each is a session, and
/// leaves most of an account's sessions to others. One more is RATE_LIMITED.
pub(crate) const LISTENERS_PER_ACCOUNT_MAX: usize = 4;

/// Accounts whose requests are counted, some 8 MiB. When full, those that ask nothing at the moment
/// are forgotten, and begin with a full measure.
const ACCOUNTS_MAX: usize = 64 * 1024;

/// How long before one tries again that found too many others of its own, in milliseconds.
const BUSY_RETRY_AFTER_MS: u32 = 500;

/// What the accounts do by HTTP at the moment.
#[derive(Debug, Default)]
pub(crate) struct Measures(Mutex<HashMap<AccountId, Arc<Measure>>>);

/// What one account does.
#[derive(Debug)]
struct Measure(Mutex<Use>);

#[derive(Debug)]
struct Use {
    bucket: Bucket,
    in_flight: InFlight,
    listeners: usize,
}

/// Somebody who is known.
pub(crate) struct Caller {
    pub(super) account: AccountId,
    pub(super) session: SessionId,
    pub(super) held: Held,
    http: Arc<Http>,
    measure: Arc<Measure>,
}

/// The right to listen; dropped, it is given back.
#[derive(Debug)]
pub(super) struct Listening(Arc<Measure>);

/// A request that waits for its answer.
struct Asking<'a>(&'a Measure, u16);

impl FromRequestParts<Arc<Http>> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, Refused> {
        let client = parts.extensions.get::<Client>();
        let client = client.ok_or_else(|| Refusal::internal("a request on no connection"))?;
        let known = authenticate(http, client, &parts.headers).await;
        let known = known.inspect_err(events::not_admitted);
        Ok(known?)
    }
}

async fn authenticate(
    http: &Arc<Http>,
    client: &Client,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    let session = http.gateway.next_session();
    let credential = Credential {
        address: client.address,
        peer: &client.peer,
        token: http::bearer(headers).unwrap_or_default(),
    };
    let (account, held) = login::log_in(&http.gateway, session, &credential).await?;
    let account = AccountId(account.account_id);
    Ok(Caller {
        account,
        session,
        held,
        http: Arc::clone(http),
        measure: http.measures.of(account, &http.gateway.rules),
    })
}

impl Caller {
    /// Has a request answered as one of a session is, with its limits.
    pub(super) async fn ask<M: Message + Default>(
        &self,
        kind: u16,
        request: &impl Message,
    ) -> Result<M, Refusal> {
        let rules = &self.http.gateway.rules;
        let _asking = self.measure.begin(kind, rules)?;
        events::request_passed(kind);
        let passed = Passed {
            kind,
            correlation: 0,
            timeout: Duration::from_millis(rules.request_timeout_ms.into()),
            body: Bytes::from(request.encode_to_vec()),
        };
        // By account, so that what it sends stays in order.
        let upstream = &self.http.gateway.upstream;
        let mut link = upstream.link_for(SessionId(self.account.0));
        let answer = Upstream::pass(&mut link, (self.account, self.session), &passed).await?;
        decode_body(answer).map_err(|refusal| Refusal::internal(refusal.message))
    }

    /// The right to listen, if it is not used up.
    pub(super) fn listen(&self) -> Result<Listening, Refusal> {
        let mut used = self.measure.0.lock();
        if used.listeners >= LISTENERS_PER_ACCOUNT_MAX {
            let most = LISTENERS_PER_ACCOUNT_MAX;
            let message = format!("more than {most} streams and long polls at once");
            let refusal = Refusal::new(ErrorCode::RateLimited, message);
            return Err(refusal.retry_after_ms(BUSY_RETRY_AFTER_MS));
        }
        used.listeners += 1;
        drop(used);
        Ok(Listening(Arc::clone(&self.measure)))
    }

    pub(super) const fn http(&self) -> &Arc<Http> {
        &self.http
    }
}

impl Measures {
    fn of(&self, account: AccountId, rules: &SessionConfig) -> Arc<Measure> {
        let mut measures = self.0.lock();
        if measures.len() >= ACCOUNTS_MAX && !measures.contains_key(&account) {
            measures.retain(|_, measure| Arc::strong_count(measure) > 1);
        }
        let measure = measures.entry(account).or_insert_with(|| {
            Arc::new(Measure(Mutex::new(Use {
                bucket: Bucket::new(rules.requests_per_second, Instant::now()),
                in_flight: InFlight::default(),
                listeners: 0,
            })))
        });
        Arc::clone(measure)
    }
}

impl Measure {
    fn begin(&self, kind: u16, rules: &SessionConfig) -> Result<Asking<'_>, Refusal> {
        let mut used = self.0.lock();
        let in_flight = &used.in_flight;
        in_flight
            .check(kind, rules.requests_in_flight_max)
            .map_err(|refusal| refusal.retry_after_ms(BUSY_RETRY_AFTER_MS))?;
        if let Err(wait) = used.bucket.take(Instant::now()) {
            let most = rules.requests_per_second;
            let message = format!("more than {most} requests a second");
            let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
            return Err(Refusal::new(ErrorCode::RateLimited, message).retry_after_ms(wait_ms));
        }
        used.in_flight.begin(kind);
        Ok(Asking(self, kind))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.0.lock().in_flight.end(self.1);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.0.lock().listeners -= 1;
    }
}
