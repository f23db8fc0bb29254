//! What happens in this crate that an operator may want to know: a function an event, which logs
//! and counts. The values of the labels are names of tiers and of reasons, so they are few.
//!
//! Losing a link is *info*: tiers start and stop in any order, and the readiness of each tells
//! what it waits for.

use std::fmt::Display;
use std::time::Duration;

use protocol::Refusal;

pub(crate) fn socket_option_failed(error: &std::io::Error) {
    tracing::debug!(%error, "cannot set a socket option");
}

pub(crate) fn accept_failed(error: &std::io::Error) {
    metrics::counter!("im_link_accept_failures_total").increment(1);
    tracing::warn!(%error, "cannot accept a link");
}

/// `why` is one of few words; `detail` is for the log alone.
pub(crate) fn peer_refused(why: &'static str, detail: &str) {
    metrics::counter!("im_link_peers_refused_total", "why" => why).increment(1);
    tracing::info!(why, detail, "refused a link");
}

pub(crate) fn peer_connected(peer: &str) {
    metrics::gauge!("im_link_peers", "peer" => peer.to_owned()).increment(1);
    tracing::debug!(peer, "link up");
}

pub(crate) fn peer_closed(peer: &str) {
    metrics::gauge!("im_link_peers", "peer" => peer.to_owned()).decrement(1);
    tracing::debug!(peer, "link down");
}

/// The other end, which is one of ours, sent what is no frame: a person must look.
pub(crate) fn frame_refused(peer: &str, error: &dyn Display) {
    metrics::counter!("im_link_frames_refused_total", "peer" => peer.to_owned()).increment(1);
    tracing::error!(peer, %error, "a link sent what is no frame");
}

/// We made it, so a person must look.
pub(crate) fn frame_too_long_dropped(kind: u16, actual: usize, max: usize) {
    metrics::counter!("im_link_frames_too_long_dropped_total").increment(1);
    tracing::error!(kind, actual, max, "dropped a frame that is too long");
}

pub(crate) fn connection_failed(peer: &str, error: &dyn Display) {
    tracing::debug!(peer, %error, "connection failed");
}

/// Frames that were queued for a connection when it was lost.
pub(crate) fn frames_dropped(peer: &str, frames: usize) {
    if frames > 0 {
        metrics::counter!("im_link_frames_dropped_total", "peer" => peer.to_owned())
            .increment(frames as u64);
    }
}

pub(crate) fn request_expired(peer: &str) {
    metrics::counter!("im_link_requests_expired_total", "peer" => peer.to_owned()).increment(1);
    tracing::debug!(peer, "a request expired before its turn");
}

pub(crate) fn answer_dropped(peer: &str) {
    metrics::counter!("im_link_answers_dropped_total", "peer" => peer.to_owned()).increment(1);
    tracing::debug!(peer, "an answer came too late for its link");
}

pub(crate) fn answer_lost(peer: &str) {
    metrics::counter!("im_link_answers_lost_total", "peer" => peer.to_owned()).increment(1);
    tracing::error!(peer, "a request ended without an answer");
}

pub(crate) fn notice_refused(peer: &str) {
    metrics::counter!("im_link_notices_refused_total", "peer" => peer.to_owned()).increment(1);
}

/// The last queued notices of a link whose reader is gone or draining.
pub(crate) fn notice_dropped(link: &'static str) {
    metrics::counter!("im_link_notices_dropped_total", "link" => link).increment(1);
}

/// Said once for each outage; the attempts after it are only counted.
pub(crate) fn link_not_made(link: &'static str, address: &str, error: &dyn Display, first: bool) {
    metrics::counter!("im_link_connect_failures_total", "link" => link).increment(1);
    if first {
        tracing::info!(peer = link, address, %error, "no link; trying again");
    } else {
        tracing::debug!(peer = link, address, %error, "no link; trying again");
    }
}

pub(crate) fn link_up(link: &'static str) {
    metrics::counter!("im_link_connects_total", "link" => link).increment(1);
    tracing::info!(peer = link, "link up");
}

pub(crate) fn link_down(link: &'static str, why: &dyn Display) {
    tracing::info!(peer = link, %why, "link down");
}

/// How many links to this tier are up.
pub(crate) fn link_opened(link: &'static str) {
    metrics::gauge!("im_link_up", "link" => link).increment(1.0);
}

pub(crate) fn link_closed(link: &'static str) {
    metrics::gauge!("im_link_up", "link" => link).decrement(1.0);
}

pub(crate) fn peers_changed(tier: &'static str, live: usize) {
    metrics::gauge!("im_link_live", "link" => tier).set(u32::try_from(live).unwrap_or(u32::MAX));
    tracing::info!(peer = tier, live, "who lives");
}

/// `why` is one of few words.
pub(crate) fn call_refused(link: &'static str, why: &'static str) {
    metrics::counter!("im_link_calls_refused_total", "link" => link, "why" => why).increment(1);
}

/// How long the calls of a link take. Looked up once a link: there is a call for each message.
pub(crate) fn call_seconds(link: &'static str) -> metrics::Histogram {
    metrics::histogram!("im_link_call_seconds", "link" => link)
}

pub(crate) fn call_ended<T>(
    seconds: &metrics::Histogram,
    link: &'static str,
    took: Duration,
    result: &Result<T, Refusal>,
) {
    seconds.record(took.as_secs_f64());
    if let Err(refusal) = result {
        let code = refusal.label();
        metrics::counter!("im_link_calls_failed_total", "link" => link, "code" => code)
            .increment(1);
    }
}

pub(crate) fn answer_unclaimed(link: &'static str) {
    metrics::counter!("im_link_answers_unclaimed_total", "link" => link).increment(1);
}

/// Said once for each outage; `what` suffers from it, one of few words.
pub(crate) fn registry_away(what: &'static str, error: &dyn Display, first: bool) {
    metrics::counter!("im_registry_failures_total", "what" => what).increment(1);
    if first {
        tracing::info!(what, %error, "no registry; trying again");
    } else {
        tracing::debug!(what, %error, "no registry; trying again");
    }
}

pub(crate) fn registry_back(what: &'static str) {
    tracing::info!(what, "the registry is back");
}

/// The names of services are few.
pub(crate) fn live_changed(service: &str, live: usize) {
    metrics::gauge!("im_registry_live", "service" => service.to_owned())
        .set(u32::try_from(live).unwrap_or(u32::MAX));
    tracing::info!(service, live, "another live set");
}

pub(crate) fn registry_lost_data() {
    metrics::counter!("im_registry_losses_total").increment(1);
    tracing::info!("the registry has lost what was in it; writing it again");
}

pub(crate) fn lease_not_ended(what: &'static str) {
    tracing::debug!(what, "the lease will end by itself");
}

/// The table of routes is full: clients that one of them leads to are found late or not at all.
pub(crate) fn route_dropped() {
    metrics::counter!("im_registry_routes_dropped_total").increment(1);
}

pub(crate) fn route_superseded() {
    metrics::counter!("im_registry_routes_superseded_total").increment(1);
}

pub(crate) fn node_leased(node: u16, epoch: u64) {
    tracing::info!(node, epoch, "leased a node number");
}

/// Two processes were given one number, or Redis was away for long: a person must look.
pub(crate) fn node_lost(node: u16, epoch: u64) {
    metrics::counter!("im_registry_nodes_lost_total").increment(1);
    tracing::error!(
        node,
        epoch,
        "another process holds our node number; no more ids"
    );
}

pub(crate) fn admin_ended(error: &std::io::Error) {
    tracing::error!(%error, "the admin port has ended");
}

pub(crate) fn signal_not_watched(kind: &dyn std::fmt::Debug, error: &std::io::Error) {
    tracing::error!(%error, ?kind, "this signal will not drain the process");
}
