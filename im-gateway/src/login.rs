//! The login, whichever way a client comes: those that fail again and again wait, and logic says who
//! the others are.
//!
//! Not here: how long they wait ([`crate::failures`]).

use std::net::IpAddr;
use std::time::Duration;

use protocol::wire::Account;
use protocol::wire::internal::Authenticate;
use protocol::{ErrorCode, Refusal, SessionId};
use service_kit::clock;
use service_kit::tls::PeerIdentity;
use tokio::time::Instant;

use crate::events;
use crate::failures::{Presented, Remembered};
use crate::gateway::Gateway;

/// What a client comes with.
#[derive(Debug)]
pub(crate) struct Credential<'a> {
    /// Where from.
    pub(crate) address: IpAddr,
    /// By its certificate, if it has one.
    pub(crate) peer: &'a PeerIdentity,
    /// By its token; empty: none.
    pub(crate) token: &'a str,
}

/// Whose credential this is.
pub(crate) async fn log_in(
    gateway: &Gateway,
    session: SessionId,
    credential: &Credential<'_>,
) -> Result<Account, Refusal> {
    let Credential {
        address,
        peer,
        token,
    } = *credential;
    if !peer.is_current(clock::unix_ms()) {
        // It was good when the client got the ticket that it came back with.
        let why = "the certificate has expired";
        return Err(Refusal::new(ErrorCode::Unauthenticated, why));
    }
    let presented = Presented {
        address,
        certificate_subject: &peer.uri,
        token,
    };
    let attempt = {
        let failures = gateway.doors.failures.lock();
        let attempt = failures.attempt(&presented);
        failures.check(&attempt, Instant::now()).map_err(too_soon)?;
        attempt
    };
    let asked = Authenticate {
        certificate_subject: peer.uri.clone(),
        token: token.to_owned(),
        session_id: session.0,
    };
    let answer = gateway.upstream.authenticate(asked).await;
    match &answer {
        Ok(_) => gateway.doors.failures.lock().succeeded(&attempt),
        Err(refusal) if is_charged(refusal.code) => {
            let remembered = gateway
                .doors
                .failures
                .lock()
                .failed(&attempt, Instant::now());
            if remembered == Remembered::NoRoom {
                events::failure_not_remembered();
            }
        }
        Err(_) => {}
    }
    answer
}

/// What the one who logs in has done wrong, and not the server.
const fn is_charged(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unauthenticated | ErrorCode::TokenExpired | ErrorCode::Forbidden
    )
}

fn too_soon(wait: Duration) -> Refusal {
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    let message = "too many logins of this account have failed from this address";
    Refusal::new(ErrorCode::RateLimited, message).retry_after_ms(wait_ms.saturating_add(1))
}
