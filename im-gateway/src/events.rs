//! What happens in the gateway that an operator may want to know: a function an event, which logs
//! and counts. Labels are of few values.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::estop::Stop;
use protocol::wire::Account;
use protocol::{AccountId, ConversationId, Refusal, SessionId};
use tracing::Span;

use crate::credential::Eviction;
use crate::handle::SessionHandle;
use crate::outbox::Push;
use crate::registry::Sent;
use crate::session::Introduction;

/// The span of a connection until it has a session; its fields have the same names on every tier. A
/// session's own events name it themselves: a span for each would be memory that only logs use.
pub(crate) fn connection_span(remote: SocketAddr) -> Span {
    tracing::info_span!(
        "connection",
        %remote,
        session = tracing::field::Empty,
        account = tracing::field::Empty
    )
}

#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
pub(crate) fn connections(open: usize) {
    metrics::gauge!("im_gateway_connections").set(open as f64);
}

pub(crate) fn connection_refused(why: &'static str) {
    metrics::counter!("im_gateway_connections_refused_total", "why" => why).increment(1);
}

/// Somebody fails to log in, and cannot be made to wait for it: too many others have failed.
pub(crate) fn failure_not_remembered() {
    metrics::counter!("im_gateway_login_failures_not_remembered_total").increment(1);
}

/// One that came by HTTP and would become a WebSocket.
pub(crate) fn web_socket_refused(why: &'static str) {
    metrics::counter!("im_gateway_web_sockets_refused_total", "why" => why).increment(1);
    tracing::info!(why, "no WebSocket");
}

/// Bytes of media that went this way.
pub(crate) fn media_bytes(way: &'static str, bytes: u64) {
    metrics::counter!("im_gateway_media_bytes_total", "way" => way).increment(bytes);
}

/// Somebody must look at the object store.
pub(crate) fn media_store_failed(error: &dyn std::error::Error) {
    metrics::counter!("im_gateway_media_store_failed_total").increment(1);
    tracing::error!(%error, "the store of media failed");
}

/// An upload that has another SHA-256 than was said.
pub(crate) fn media_not_what_was_said() {
    metrics::counter!("im_gateway_media_discarded_total").increment(1);
}

/// Media that are removed.
pub(crate) fn media_collected(count: u64) {
    metrics::counter!("im_gateway_media_collected_total").increment(count);
}

/// The next sweep goes on.
pub(crate) fn media_sweep_ended_early(refusal: &Refusal) {
    tracing::info!(%refusal, "media were not all collected");
}

/// An answer of HTTP that is an error.
pub(crate) fn http_refused(refusal: &Refusal) {
    metrics::counter!("im_gateway_http_refused_total", "code" => refusal.label()).increment(1);
    tracing::debug!(%refusal, "a request by HTTP is refused");
}

/// Streams of events and long polls that are open.
pub(crate) fn http_listener(begins: bool) {
    let listeners = metrics::gauge!("im_gateway_http_listeners");
    if begins {
        listeners.increment(1.0);
    } else {
        listeners.decrement(1.0);
    }
}

pub(crate) fn accept_failed(error: &std::io::Error) {
    metrics::counter!("im_gateway_accepts_failed_total").increment(1);
    tracing::error!(%error, "cannot accept a connection");
}

pub(crate) fn handshake_failed(error: &dyn Display) {
    metrics::counter!("im_gateway_handshakes_failed_total").increment(1);
    tracing::info!(%error, "a TLS handshake failed");
}

pub(crate) fn session_began(session: SessionId, account: &Account, introduction: &Introduction) {
    let span = Span::current();
    span.record("session", session.0);
    span.record("account", account.account_id);
    metrics::counter!("im_gateway_sessions_total").increment(1);
    metrics::gauge!("im_gateway_sessions").increment(1.0);
    tracing::info!(
        name = account.name,
        client = introduction.client_name,
        zstd = introduction.zstd,
        "a session begins"
    );
}

pub(crate) fn session_ended(of: &SessionHandle, why: &'static str) {
    metrics::gauge!("im_gateway_sessions").decrement(1.0);
    metrics::counter!("im_gateway_sessions_ended_total", "why" => why).increment(1);
    let (session, account) = (of.session.0, of.account.0);
    tracing::info!(session, account, why, "a session ends");
}

pub(crate) fn not_admitted(refusal: &Refusal) {
    metrics::counter!("im_gateway_hellos_refused_total", "code" => refusal.label()).increment(1);
    tracing::info!(%refusal, "not let in");
}

/// The client is told why; the connection closes.
pub(crate) fn frame_refused(refusal: &Refusal) {
    metrics::counter!("im_gateway_frames_refused_total", "code" => refusal.label()).increment(1);
    tracing::info!(%refusal, "a frame makes no sense");
}

pub(crate) fn connection_failed(error: &dyn Display) {
    metrics::counter!("im_gateway_connections_failed_total").increment(1);
    tracing::debug!(%error, "a connection failed");
}

pub(crate) fn request_passed(kind: u16) {
    metrics::counter!("im_gateway_requests_total", "kind" => kind.to_string()).increment(1);
}

pub(crate) fn request_failed(of: &SessionHandle, refusal: &Refusal) {
    metrics::counter!("im_gateway_requests_failed_total", "code" => refusal.label()).increment(1);
    let (session, account) = (of.session.0, of.account.0);
    tracing::debug!(session, account, %refusal, "a request failed");
}

pub(crate) fn pushed(push: &Push, sent: Sent) {
    match sent {
        Sent::Entries { sessions } => {
            metrics::counter!("im_gateway_pushes_total").increment(sessions as u64);
            tracing::trace!(conversation = %push.conversation, sequence = push.last.0, sessions,
                "pushed");
        }
        Sent::Heads { sessions } => {
            metrics::counter!("im_gateway_heads_for_pushes_total").increment(sessions as u64);
            tracing::debug!(conversation = %push.conversation, sequence = push.last.0, sessions,
                "the view is not as of the entry; its head is told");
        }
        Sent::Nothing => {
            metrics::counter!("im_gateway_pushes_for_nobody_total").increment(1);
        }
    }
}

/// An older push after a newer one of its conversation, which a session has had already.
pub(crate) fn stale_push() {
    metrics::counter!("im_gateway_stale_pushes_total").increment(1);
}

/// What does not fit into a list is left out of it: clients learn of the others only when one of
/// these goes.
pub(crate) fn gateways_listed(listed: usize, known: usize) {
    let left_out = known.saturating_sub(listed);
    metrics::counter!("im_gateway_gateways_left_out_total").increment(left_out as u64);
    tracing::info!(listed, left_out, "the gateways changed");
}

/// The client does not read as fast as the conversation runs; it will pull.
pub(crate) fn lagging(session: &SessionHandle, dropped: usize) {
    metrics::counter!("im_gateway_lagging_pushes_total").increment(dropped as u64 + 1);
    tracing::debug!(
        session = session.session.0,
        account = session.account.0,
        dropped,
        "lagging"
    );
}

pub(crate) fn ephemeral_replaced(dropped: usize) {
    metrics::counter!("im_gateway_ephemeral_replaced_messages_total").increment(dropped as u64);
}

pub(crate) fn ephemeral_passed(sessions: usize) {
    metrics::counter!("im_gateway_ephemeral_messages_total").increment(sessions as u64);
}

/// Nobody here is known to be a member.
pub(crate) fn ephemeral_dropped() {
    metrics::counter!("im_gateway_ephemeral_dropped_messages_total").increment(1);
}

/// A session ends with these still waiting; the client pulls them in its next.
pub(crate) fn pushes_given_up(frames: usize) {
    metrics::counter!("im_gateway_given_up_frames_total").increment(frames as u64);
}

pub(crate) fn marks_dropped(marks: usize) {
    if marks > 0 {
        metrics::counter!("im_gateway_marks_dropped_total").increment(marks as u64);
    }
}

pub(crate) fn resync(accounts: usize) {
    metrics::counter!("im_gateway_resyncs_total").increment(1);
    tracing::info!(accounts, "memberships are read again");
}

/// It is tried again.
pub(crate) fn not_refreshed(account: AccountId, refusal: &Refusal) {
    metrics::counter!("im_gateway_refreshes_failed_total").increment(1);
    tracing::debug!(account = account.0, %refusal, "memberships were not read");
}

/// The next entry asks again.
pub(crate) fn not_checked(conversation: ConversationId, refusal: &Refusal) {
    metrics::counter!("im_gateway_checks_failed_total").increment(1);
    tracing::debug!(%conversation, %refusal, "members were not checked");
}

pub(crate) fn not_registered(refusal: &Refusal) {
    metrics::counter!("im_gateway_registrations_failed_total").increment(1);
    tracing::warn!(%refusal, "the router did not take a registration");
}

pub(crate) fn register_late() {
    metrics::counter!("im_gateway_registrations_late_total").increment(1);
    tracing::debug!("a router takes long to take a registration");
}

pub(crate) fn not_unregistered(refusal: &Refusal) {
    metrics::counter!("im_gateway_unregistrations_failed_total").increment(1);
    tracing::debug!(%refusal, "the router was not told what is gone");
}

/// One of our tiers is of another release.
pub(crate) fn notice_refused(method: u16, refusal: &Refusal) {
    metrics::counter!("im_gateway_notices_refused_total", "code" => refusal.label()).increment(1);
    tracing::warn!(method, %refusal, "a notice makes no sense");
}

/// Everybody who is concerned here was told, and so many routers take it to the others.
pub(crate) fn estop_let_out(by: &SessionHandle, stop: &Stop, sessions: u32, routers: usize) {
    metrics::counter!("im_gateway_estops_total").increment(1);
    tracing::warn!(id = %stop.id, account = by.account.0, fleet = stop.fleet,
        conversation = %stop.conversation, sessions, routers, "an emergency stop");
}

pub(crate) fn estop_told_again(sessions: usize) {
    metrics::counter!("im_gateway_estop_repeats_total").increment(sessions as u64);
}

pub(crate) fn estop_released(stop: &Stop) {
    metrics::counter!("im_gateway_estop_releases_total").increment(1);
    let by = stop.release.as_ref().map_or(0, |release| release.by.0);
    tracing::warn!(id = %stop.id, by, "an emergency stop is released");
}

/// It is tried again, for as long as it takes.
pub(crate) fn estop_not_stored(stop: &Stop, refusal: &Refusal) {
    metrics::counter!("im_gateway_estops_not_stored_total", "code" => refusal.label()).increment(1);
    tracing::warn!(id = %stop.id, %refusal, "an emergency stop is in force and not stored yet");
}

/// It is tried again. Nobody is let in before the first time.
pub(crate) fn estops_not_read(refusal: &Refusal) {
    metrics::counter!("im_gateway_estop_reads_failed_total").increment(1);
    tracing::debug!(%refusal, "which emergency stops are in force was not read");
}

/// It is tried again.
pub(crate) fn estops_not_kept(error: &dyn Display) {
    metrics::counter!("im_gateway_estop_writes_failed_total").increment(1);
    tracing::error!(%error, "the emergency stops in force are not kept on disk");
}

pub(crate) fn orders_passed(sessions: usize) {
    metrics::counter!("im_gateway_orders_total").increment(sessions as u64);
}

/// The session reads too slowly: it is given the order again, or asks.
pub(crate) fn orders_dropped() {
    metrics::counter!("im_gateway_orders_dropped_total").increment(1);
}

/// An order that waited beyond its deadline is not handed over.
pub(crate) fn order_expired() {
    metrics::counter!("im_gateway_orders_expired_total").increment(1);
}

/// What is watched by somebody who reads too slowly, told as a gap.
pub(crate) fn watched_dropped() {
    metrics::counter!("im_gateway_watched_dropped_total").increment(1);
}

/// A router does not know who watches here; it is told again.
pub(crate) fn watches_not_told(refusal: &Refusal) {
    metrics::counter!("im_gateway_watches_not_told_total").increment(1);
    tracing::info!(%refusal, "a router was not told who watches");
}

/// A session ends for the sake of what it came in with, or of a newer one.
pub(crate) fn session_cut(why: Eviction) {
    let why = match why {
        Eviction::TooMany => "too_many",
        Eviction::Newer => "newer",
        Eviction::Revoked => "revoked",
        Eviction::OtherPassword => "other_password",
    };
    metrics::counter!("im_gateway_sessions_cut_total", "why" => why).increment(1);
}

pub(crate) fn revocations_left_out(entries: usize) {
    if entries > 0 {
        let count = entries.try_into().unwrap_or(u64::MAX);
        metrics::counter!("im_gateway_revocations_left_out_total").increment(count);
        tracing::error!(entries, "the list of revocations is longer than is held");
    }
}

/// It is asked again in a moment.
pub(crate) fn revocations_not_read(refusal: &Refusal) {
    metrics::counter!("im_gateway_revocations_not_read_total").increment(1);
    tracing::debug!(%refusal, "the list of revocations was not read");
}

/// How old the list of revocations is; -1: it was never read.
pub(crate) fn revocations_age(age: Option<Duration>) {
    let seconds = age.map_or(-1.0, |age| age.as_secs_f64());
    metrics::gauge!("im_gateway_revocations_age_seconds").set(seconds);
}

pub(crate) fn router_not_told(method: u16, refusal: &Refusal) {
    metrics::counter!("im_gateway_routers_not_told_total").increment(1);
    tracing::debug!(method, %refusal, "a router was not told");
}
