//! Frames of a session's own, and what some of the client's mean.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use protocol::error::decode_body;
use protocol::kind::client;
use protocol::wire::{Error, EstopConfirm, GoAway};
use protocol::{ClientMessageId, ErrorCode, Frame, Refusal, estop};

/// The last word of a server that is going down, or whose session was replaced.
#[must_use]
pub fn go_away(reason: &str, grace: Duration, reconnect: bool) -> Frame {
    let go_away = GoAway {
        reason: reason.to_owned(),
        grace_ms: millis(grace),
        reconnect,
    };
    Frame::notice(client::GO_AWAY, &go_away)
}

pub(super) fn wrong_state(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::WrongState, message)
}

pub(super) fn error(correlation: u32, refusal: &Refusal) -> Frame {
    let error: Error = refusal.to_wire();
    answer(client::ERROR, correlation, &error)
}

pub(super) fn answer(kind: u16, correlation: u32, message: &impl Message) -> Frame {
    Frame {
        correlation,
        ..Frame::notice(kind, message)
    }
}

pub(super) fn confirmed(body: Bytes) -> Result<BTreeSet<ClientMessageId>, Refusal> {
    let confirm: EstopConfirm = decode_body(body)?;
    estop::ids(&confirm.stop_ids).map_err(|refusal| Refusal {
        code: ErrorCode::BadFrame,
        ..refusal
    })
}

/// At least 1, so that a wait is never read as none.
pub(super) fn millis(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1)
}
