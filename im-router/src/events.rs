//! What happens in the router that an operator may want to know: a function an event, which logs
//! and counts. Labels are of few values.

use protocol::{ConversationId, Refusal};
use service_kit::rpc::Peer;

use crate::fanout::Run;
use crate::table::Registration;

#[expect(clippy::cast_precision_loss, reason = "gateways are few")]
pub(crate) fn gateways(linked: usize) {
    metrics::gauge!("im_router_gateways").set(linked as f64);
}

pub(crate) fn registered(registration: &Registration, linked: usize) {
    gateways(linked);
    tracing::debug!(
        gateway = registration.gateway.0,
        replace = registration.replace,
        groups = registration.groups.len(),
        accounts = registration.accounts.len(),
        "a gateway registers"
    );
}

/// Goes to this many gateways.
pub(crate) fn passed(run: &Run, gateways: usize) {
    let entries = (run.last.0 + 1).saturating_sub(run.first.0);
    metrics::counter!("im_router_entries_total").increment(entries);
    metrics::counter!("im_router_fanout_notices_total").increment(gateways as u64);
    if run.fanout.is_none() {
        metrics::counter!("im_router_entries_too_long_total").increment(1);
        tracing::error!(conversation = %run.conversation, sequence = run.last.0,
            "an entry is longer than a client frame; only its head is told");
    }
    tracing::debug!(conversation = %run.conversation, sequence = run.last.0, entries, gateways,
        "fan-out");
}

/// A store that lost a conversation still speaks of it, or repeats itself.
pub(crate) fn stale_dropped(run: &Run) {
    let entries = (run.last.0 + 1).saturating_sub(run.first.0);
    metrics::counter!("im_router_stale_entries_total").increment(entries);
    tracing::debug!(conversation = %run.conversation, sequence = run.last.0, "stale entries");
}

/// A store that lost a group still tells of a change of its members: the gateways read again.
pub(crate) fn late_move(run: &Run, gateways: usize) {
    metrics::counter!("im_router_late_moves_total").increment(1);
    tracing::debug!(conversation = %run.conversation, sequence = run.last.0, gateways, "a late move");
}

pub(crate) fn heads_told(heads: usize) {
    metrics::counter!("im_router_heads_told_total").increment(heads as u64);
}

#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
pub(crate) fn heads_known(heads: usize) {
    metrics::gauge!("im_router_heads").set(heads as f64);
}

pub(crate) fn resync(gateways: usize) {
    metrics::counter!("im_router_resyncs_total").increment(1);
    tracing::info!(
        gateways,
        "a store announces its heads; gateways read memberships again"
    );
}

pub(crate) fn estop_passed(gateways: usize) {
    metrics::counter!("im_router_estop_notices_total").increment(gateways as u64);
}

pub(crate) fn ephemeral_passed(conversation: ConversationId, gateways: usize) {
    metrics::counter!("im_router_ephemeral_messages_total").increment(1);
    tracing::trace!(%conversation, gateways, "ephemeral fan-out");
}

/// A gateway has no room; it is told this later instead: a head, a resync, or nothing.
pub(crate) fn withheld(instead: &'static str) {
    metrics::counter!("im_router_withheld_notices_total", "instead" => instead).increment(1);
}

pub(crate) fn behind(peer: &Peer) {
    metrics::counter!("im_router_gateways_behind_total").increment(1);
    tracing::info!(peer = peer.name(), link = peer.id(), "a gateway is behind");
}

pub(crate) fn caught_up(peer: &Peer) {
    tracing::info!(
        peer = peer.name(),
        link = peer.id(),
        "a gateway has caught up"
    );
}

/// One of our tiers is of another release.
pub(crate) fn notice_refused(peer: &Peer, method: u16, refusal: &Refusal) {
    metrics::counter!("im_router_notices_refused_total", "code" => refusal.label()).increment(1);
    tracing::warn!(peer = peer.name(), method, %refusal, "a notice makes no sense");
}

/// A frame for so many accounts that are here, from a store or a logic.
pub(crate) fn accounts_told(accounts: usize) {
    metrics::counter!("im_router_accounts_told_total").increment(accounts as u64);
}

/// A robot has said something of its live attributes, and perhaps another one is forgotten for it.
#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
pub(crate) fn live_said(robots: usize, forgotten: bool) {
    metrics::counter!("im_router_live_said_total").increment(1);
    metrics::gauge!("im_router_live_robots").set(robots as f64);
    if forgotten {
        metrics::counter!("im_router_live_forgotten_total").increment(1);
    }
}

/// So many watch the fleet.
#[expect(clippy::cast_precision_loss, reason = "some hundreds")]
pub(crate) fn watches(number: usize) {
    metrics::gauge!("im_router_watches").set(number as f64);
}

/// So many entries fit somebody's filter on one gateway.
pub(crate) fn watched(entries: usize) {
    metrics::counter!("im_router_watched_entries_total").increment(entries as u64);
}
