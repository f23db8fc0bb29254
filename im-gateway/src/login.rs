//! The login, whichever way a client comes: those that fail again and again wait, and logic says who
//! the others are.
//!
//! Not here: how long they wait ([`crate::failures`]).

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use protocol::error::decode_body;
use protocol::kind::{client, method};
use protocol::wire::internal::{Authenticate, EnrolRobot, LogIn};
use protocol::wire::{Account, Enrol, Login};
use protocol::{ErrorCode, Refusal, SessionId};
use service_kit::tls::PeerIdentity;
use service_kit::{clock, rpc};
use tokio::time::Instant;

use crate::credential::{Certified, Held};
use crate::events;
use crate::failures::{Attempt, Presented, Remembered};
use crate::gateway::Gateway;
use crate::gateway::credentials::revoked_here;
use crate::session::Passed;

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
) -> Result<(Account, Held), Refusal> {
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
    let certified = Certified::of(peer);
    let is_named = gateway.check_revoked(certified.as_deref())?;
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
        certificate_serial: peer.serial.clone().into(),
    };
    let answer = gateway.upstream.authenticate(asked).await;
    match &answer {
        Ok(_) => gateway.doors.failures.lock().succeeded(&attempt),
        // Nobody says that it is good again.
        Err(refusal) if is_named && refusal.is_retryable() => return Err(revoked_here()),
        Err(refusal) => charge(gateway, &attempt, refusal),
    }
    let known = answer?;
    if is_named {
        gateway.forget_name(certified.as_deref());
    }
    let nobody = || Refusal::internal("an authentication without an account");
    let held = Held {
        certified,
        password_generation: known.password_generation,
        good_until_ms: match known.good_until_ms {
            0 => peer.good_until_ms(),
            until => until,
        },
    };
    Ok((known.account.ok_or_else(nobody)?, held))
}

/// A credential for one who has none: by a one-time token, or by a password. Those that fail again
/// and again wait.
pub(crate) async fn apply(
    gateway: &Gateway,
    address: IpAddr,
    passed: &Passed,
) -> Result<Bytes, Refusal> {
    let session = gateway.next_session();
    let (realm, name, method, body) = match passed.kind {
        client::ENROL => {
            let enrol: Enrol = decode_body(passed.body.clone())?;
            let name = enrol.name.clone();
            let asked = EnrolRobot {
                enrol: Some(enrol),
                session_id: session.0,
            };
            ("enrolment", name, method::ENROL_ROBOT, rpc::encode(&asked))
        }
        _ => {
            let login: Login = decode_body(passed.body.clone())?;
            let name = login.name.clone();
            let asked = LogIn {
                login: Some(login),
                session_id: session.0,
            };
            ("password", name, method::LOG_IN, rpc::encode(&asked))
        }
    };
    let attempt = {
        let failures = gateway.doors.failures.lock();
        let attempt = failures.attempt_at(address, realm, &name);
        failures.check(&attempt, Instant::now()).map_err(too_soon)?;
        attempt
    };
    let to = (method, session);
    let answer = gateway.upstream.apply(to, body, passed.timeout).await;
    if let Err(refusal) = &answer {
        charge(gateway, &attempt, refusal);
    }
    answer
}

fn charge(gateway: &Gateway, attempt: &Attempt, refusal: &Refusal) {
    if !refusal.is_failed_login() {
        return;
    }
    let mut failures = gateway.doors.failures.lock();
    if failures.failed(attempt, Instant::now()) == Remembered::NoRoom {
        events::failure_not_remembered();
    }
}

fn too_soon(wait: Duration) -> Refusal {
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    let message = "too many logins of this account have failed from this address";
    Refusal::new(ErrorCode::RateLimited, message).retry_after_ms(wait_ms.saturating_add(1))
}
