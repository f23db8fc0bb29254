//! What happens in the logic that an operator may want to know: a function an event, which logs
//! and counts. Labels are of few values.
//!
//! What a client does wrong is *debug*: it is told, and nobody here has to look.

use bytes::Bytes;
use protocol::kind::client;
use protocol::wire::internal::{Appended, AuditRecord, CredentialsWritten};
use protocol::wire::{Account, EntryKind};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal};
use service_kit::rpc::Peer;

use crate::content::FileError;
use crate::store::Caller;

pub(crate) fn request_span(caller: Caller, kind: u32) -> tracing::Span {
    tracing::debug_span!(
        "request",
        session = caller.session.0,
        account = caller.account.0,
        kind
    )
}

pub(crate) fn request_ended(caller: Caller, kind: u32, answered: &Result<Bytes, Refusal>) {
    let request = request_name(kind);
    metrics::counter!("im_logic_requests_total", "request" => request).increment(1);
    if let Err(refusal) = answered {
        let code = refusal.label();
        metrics::counter!("im_logic_refusals_total", "request" => request, "code" => code)
            .increment(1);
        tracing::debug!(session = caller.session.0, account = caller.account.0, kind, %refusal,
            "refused");
    }
}

pub(crate) fn append(
    caller: Caller,
    conversation: ConversationId,
    id: ClientMessageId,
    kind: EntryKind,
) {
    tracing::trace!(session = caller.session.0, account = caller.account.0, %conversation,
        message_id = %id, kind = kind.as_str_name(), "to the store");
}

pub(crate) fn appended(
    caller: Caller,
    conversation: ConversationId,
    id: ClientMessageId,
    appended: &Appended,
) {
    if appended.duplicate {
        metrics::counter!("im_logic_repeated_sends_total").increment(1);
    }
    tracing::debug!(session = caller.session.0, account = caller.account.0, %conversation,
        message_id = %id, sequence = appended.sequence, duplicate = appended.duplicate, "stored");
}

/// The audit is the entry in the log, and the row in the store.
pub(crate) fn estop_stored(
    account: AccountId,
    conversation: ConversationId,
    kind: EntryKind,
    appended: &Appended,
) {
    metrics::counter!("im_logic_estops_total").increment(1);
    tracing::warn!(account = account.0, %conversation, kind = kind.as_str_name(),
        sequence = appended.sequence, duplicate = appended.duplicate, "an emergency is stored");
}

pub(crate) fn ephemeral_passed(caller: Caller, conversation: ConversationId) {
    metrics::counter!("im_logic_ephemeral_messages_total").increment(1);
    tracing::trace!(account = caller.account.0, %conversation, "ephemeral message passed on");
}

pub(crate) fn authenticated(session: u64, account: &Account) {
    metrics::counter!("im_logic_authentications_total").increment(1);
    tracing::debug!(
        session,
        account = account.account_id,
        name = account.name,
        kind = account.kind().as_str_name(),
        "authenticated"
    );
}

/// Somebody who reached a gateway has no good credential.
pub(crate) fn not_authenticated(session: u64, refusal: &Refusal) {
    let code = refusal.label();
    metrics::counter!("im_logic_authentications_refused_total", "code" => code).increment(1);
    tracing::info!(session, %refusal, "not authenticated");
}

pub(crate) fn enrolled(account: AccountId, name: &str, expires_at_ms: u64) {
    metrics::counter!("im_logic_enrolments_total").increment(1);
    tracing::info!(account = account.0, name, expires_at_ms, "enrolled");
}

pub(crate) fn enrolment_token_made(caller: Caller, expires_at_ms: u64) {
    metrics::counter!("im_logic_enrolment_tokens_total").increment(1);
    tracing::info!(
        by = caller.account.0,
        expires_at_ms,
        "an enrolment token was made"
    );
}

pub(crate) fn not_joined(account: AccountId, refusal: &Refusal) {
    tracing::warn!(account = account.0, %refusal, "enrolled, and not in a group of its token");
}

pub(crate) fn renewed(caller: Caller, expires_at_ms: u64) {
    metrics::counter!("im_logic_renewals_total").increment(1);
    tracing::debug!(
        account = caller.account.0,
        expires_at_ms,
        "a certificate was renewed"
    );
}

pub(crate) fn revoked(caller: Caller, account: AccountId, certificates: u32) {
    metrics::counter!("im_logic_revocations_total").increment(1);
    tracing::info!(
        by = caller.account.0,
        account = account.0,
        certificates,
        "revoked"
    );
}

/// Gateways that are not told read the list.
pub(crate) fn cut_not_told(refusal: &Refusal) {
    tracing::warn!(%refusal, "a router was not told whose sessions end");
}

pub(crate) fn logged_in(session: u64, account: &Account) {
    metrics::counter!("im_logic_logins_total").increment(1);
    tracing::info!(session, account = account.account_id, "logged in");
}

pub(crate) fn password_set(written: &CredentialsWritten) {
    let account = written.account.as_ref().map(|account| account.account_id);
    tracing::info!(
        account,
        generation = written.password_generation,
        "a password was set"
    );
}

pub(crate) fn group_created(caller: Caller, conversation: ConversationId, members: usize) {
    tracing::info!(account = caller.account.0, %conversation, members, "group made");
}

pub(crate) fn group_changed(
    caller: Caller,
    conversation: ConversationId,
    sequence: u64,
    dissolved: bool,
) {
    metrics::counter!("im_logic_group_changes_total").increment(1);
    tracing::info!(session = caller.session.0, account = caller.account.0, %conversation,
        sequence, dissolved, "a group has changed");
}

pub(crate) fn members_changed(
    caller: Caller,
    conversation: ConversationId,
    sequence: u64,
    changes: usize,
) {
    tracing::info!(account = caller.account.0, %conversation, sequence, changes,
        "members changed");
}

pub(crate) fn announced(caller: Caller, actions: usize) {
    tracing::debug!(account = caller.account.0, actions, "capabilities declared");
}

/// An account or a group has more than its measure.
pub(crate) fn rate_limited(of: &'static str) {
    metrics::counter!("im_logic_rate_limited_total", "of" => of).increment(1);
}

/// So many are busy at once that the measure of one more is not kept.
pub(crate) fn rate_not_kept() {
    metrics::counter!("im_logic_rates_not_kept_total").increment(1);
}

/// The word lists were read.
pub(crate) fn content_rules_read(words: usize) {
    metrics::counter!("im_logic_content_rules_read_total").increment(1);
    tracing::info!(words, "word lists were read");
}

/// The file with the word lists has changed and cannot be used.
pub(crate) fn content_rules_kept(error: &FileError) {
    metrics::counter!("im_logic_content_rules_kept_total").increment(1);
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "the word lists stay what they were");
}

/// A word of a list that blocks. Whether the message is new is for the store to say.
pub(crate) fn content_blocked(sender: AccountId, conversation: ConversationId, list: &str) {
    content_found("block");
    tracing::info!(account = sender.0, %conversation, list, "content is blocked");
}

/// Words of a list that masks.
pub(crate) fn content_masked(sender: AccountId, conversation: ConversationId) {
    content_found("mask");
    tracing::info!(account = sender.0, %conversation, "content is masked");
}

/// A word of a list that notes.
pub(crate) fn content_flagged(sender: AccountId, conversation: ConversationId, list: &str) {
    content_found("flag");
    tracing::info!(account = sender.0, %conversation, list, "content is flagged");
}

fn content_found(action: &'static str) {
    metrics::counter!("im_logic_content_found_total", "action" => action).increment(1);
}

/// The store is away, or its link is full.
pub(crate) fn marks_dropped(refusal: &Refusal) {
    let code = refusal.label();
    metrics::counter!("im_logic_marks_dropped_frames_total", "code" => code).increment(1);
}

/// A memory was full, and begins anew.
pub(crate) fn memory_emptied(of: &'static str, entries: usize) {
    metrics::counter!("im_logic_memories_emptied_total", "of" => of).increment(1);
    tracing::info!(of, entries, "a full memory was emptied");
}

/// What was remembered of the store is forgotten.
pub(crate) fn store_is_up() {
    metrics::counter!("im_logic_memories_forgotten_total").increment(1);
    tracing::debug!("the store is up; everything is asked for again");
}

/// One of our tiers is of another release.
pub(crate) fn notice_unknown(peer: &Peer, method: u16) {
    metrics::counter!("im_logic_notices_unknown_total").increment(1);
    tracing::warn!(peer = peer.name(), method, "a notice of an unknown method");
}

fn request_name(kind: u32) -> &'static str {
    match u16::try_from(kind).unwrap_or(u16::MAX) {
        client::SEND => "send",
        client::PULL => "pull",
        client::CREATE_GROUP => "create_group",
        client::CHANGE_MEMBERS => "change_members",
        client::DESCRIBE_GROUP => "describe_group",
        client::CHANGE_GROUP => "change_group",
        client::CHANGE_ROLES => "change_roles",
        client::SEARCH_HISTORY => "search_history",
        client::LIST_MEMBERS => "list_members",
        client::LIST_CONVERSATIONS => "list_conversations",
        client::ANNOUNCE => "announce",
        client::FIND_ACCOUNTS => "find_accounts",
        client::LIST_LACKING => "list_lacking",
        client::LIST_ONLINE => "list_online",
        client::WATCH => "watch",
        _ => "unknown",
    }
}

pub(crate) fn api_accept_failed(error: &std::io::Error) {
    metrics::counter!("im_logic_api_accepts_failed_total").increment(1);
    tracing::error!(%error, "the API cannot accept a connection");
}

/// As many connections as there may be are open.
pub(crate) fn api_connection_refused() {
    metrics::counter!("im_logic_api_connections_refused_total").increment(1);
}

pub(crate) fn api_request(caller: Caller) {
    metrics::counter!("im_logic_api_requests_total").increment(1);
    tracing::trace!(
        session = caller.session.0,
        account = caller.account.0,
        "a request of the API"
    );
}

/// An answer of the API that is an error.
pub(crate) fn api_refused(refusal: &Refusal) {
    metrics::counter!("im_logic_api_refused_total", "code" => refusal.label()).increment(1);
    tracing::debug!(%refusal, "a request of the API is refused");
}

/// The record in the store is the audit; this is for those who read logs.
pub(crate) fn administered(caller: Caller, record: &AuditRecord) {
    let state = record.state().as_str_name();
    metrics::counter!("im_logic_administered_total", "state" => state).increment(1);
    tracing::info!(audit = record.audit_id, account = caller.account.0, action = %record.action,
        target = %record.target, state, code = record.code, "administered");
}

pub(crate) fn live_said() {
    metrics::counter!("im_logic_live_said_total").increment(1);
}

/// What robots say live is missing for now.
pub(crate) fn router_not_heard() {
    metrics::counter!("im_logic_routers_not_heard_total").increment(1);
    tracing::debug!("a router does not say what is live");
}

#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
pub(crate) fn watches(watches: usize) {
    metrics::gauge!("im_logic_robot_watches").set(watches as f64);
}

pub(crate) fn watches_expired(expired: usize) {
    metrics::counter!("im_logic_robot_watches_expired_total").increment(expired as u64);
}

/// A hint that is not told shows in the next one, or when the watch is renewed.
pub(crate) fn watcher_told(told: bool) {
    let result = if told { "told" } else { "dropped" };
    metrics::counter!("im_logic_robot_watch_hints_total", "result" => result).increment(1);
}
