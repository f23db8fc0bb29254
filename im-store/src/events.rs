//! What happens in the store that an operator may want to know: a function an event, which logs
//! and counts. Labels are of few values.

use std::fmt::Display;
use std::path::Path;

use protocol::{AccountId, ClientMessageId, ConversationId, Refusal, SequenceNumber};

use crate::command::Opened;
use crate::engine::EngineError;

/// A stop is latched, or stops are released: the audit is the row and the entry.
pub(crate) fn estop_written(id: ClientMessageId, by: AccountId, is_stop: bool) {
    let what = if is_stop { "stop" } else { "release" };
    metrics::counter!("im_store_estops_total", "what" => what).increment(1);
    tracing::warn!(%id, %by, what, "an emergency stop or its release is stored");
}

/// Another owner of the same database was faster or in the way; the batch is decided anew.
pub(crate) fn commit_lost() {
    metrics::counter!("im_store_commits_lost_total").increment(1);
}

/// Nothing is known to be stored; the batch is decided anew, or its senders are told.
pub(crate) fn commit_failed(error: &EngineError, writes: usize) {
    metrics::counter!("im_store_commits_failed_total").increment(1);
    tracing::error!(%error, cause = cause(error), writes, "a transaction failed");
}

/// Media that no message refers to.
pub(crate) fn media_doomed(count: usize) {
    metrics::counter!("im_store_media_doomed_total").increment(count as u64);
}

/// A host of the database failed, and the next one is asked.
pub(crate) fn host_left(host: &str, error: &EngineError) {
    metrics::counter!("im_store_database_hosts_left_total").increment(1);
    tracing::info!(host, %error, cause = cause(error), "going to the next host of the database");
}

/// A write that found no room: nothing is stored, and its senders are told so.
pub(crate) fn commit_without_room() {
    metrics::counter!("im_store_commits_without_room_total").increment(1);
}

/// Until somebody makes room nothing is stored.
pub(crate) fn disk_full() {
    tracing::error!("the database's disk is full: sends are refused until there is room");
}

pub(crate) fn disk_has_room() {
    tracing::info!("the database's disk has room again");
}

#[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
pub(crate) fn batch_committed(entries: usize) {
    if entries > 0 {
        metrics::counter!("im_store_entries_total").increment(entries as u64);
        metrics::histogram!("im_store_batch_entries").record(entries as f64);
    }
}

/// Another store owns the file.
pub(crate) fn stands_by(database: &Path) {
    tracing::info!(database = %database.display(), "another store owns the file; standing by");
}

pub(crate) fn read_failed(error: &EngineError) {
    metrics::counter!("im_store_reads_failed_total").increment(1);
    tracing::error!(%error, cause = cause(error), "a read failed");
}

/// Only the heads of these entries are streamed.
pub(crate) fn stream_overflowed(entries: usize) {
    metrics::counter!("im_store_stream_overflow_entries_total").increment(entries as u64);
}

/// The router is away; it is told all heads when it is back.
pub(crate) fn stream_dropped(entries: usize) {
    metrics::counter!("im_store_stream_dropped_entries_total").increment(entries as u64);
}

pub(crate) fn notice_unknown(method: u16) {
    metrics::counter!("im_store_notices_unknown_total").increment(1);
    tracing::warn!(method, "a notice of an unknown method");
}

/// Something on an internal link does not parse: one of our tiers is of another release.
pub(crate) fn notice_malformed(method: u16, error: &dyn Display) {
    metrics::counter!("im_store_notices_malformed_total").increment(1);
    tracing::warn!(method, %error, "a notice that does not parse");
}

pub(crate) fn marks_dropped() {
    metrics::counter!("im_store_marks_dropped_frames_total").increment(1);
}

/// A backup was restored since: what they say is not true of this history.
pub(crate) fn marks_of_another_history(marks: usize) {
    if marks > 0 {
        metrics::counter!("im_store_marks_of_another_history_total").increment(marks as u64);
    }
}

pub(crate) fn marks_not_written(refusal: &Refusal) {
    metrics::counter!("im_store_marks_failed_writes_total").increment(1);
    tracing::debug!(%refusal, "marks were not written");
}

/// A client marked what is not there yet.
pub(crate) fn mark_above_head() {
    metrics::counter!("im_store_marks_above_head_total").increment(1);
}

/// Retention has dropped the oldest entries of a conversation.
pub(crate) fn trimmed(conversation: ConversationId, up_to: SequenceNumber, entries: u64) {
    metrics::counter!("im_store_trimmed_entries_total").increment(entries);
    tracing::debug!(%conversation, %up_to, entries, "trimmed");
}

/// Ids beyond their horizon are gone.
pub(crate) fn ids_forgotten(ids: u64) {
    metrics::counter!("im_store_ids_forgotten_total").increment(ids);
}

pub(crate) fn audit_forgotten(records: u64) {
    metrics::counter!("im_store_audit_forgotten_total").increment(records);
}

/// Retention goes on with the next sweep.
pub(crate) fn sweep_ended_early(refusal: &Refusal) {
    metrics::counter!("im_store_sweeps_failed_total").increment(1);
    tracing::warn!(%refusal, "retention could not drop what is due");
}

fn cause(error: &EngineError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

pub(crate) fn indexed(entries: usize) {
    metrics::counter!("im_store_indexed_entries_total").increment(entries as u64);
}

pub(crate) fn indexing_behind(conversations: usize) {
    metrics::gauge!("im_store_unindexed_conversations").set(conversations as f64);
}

pub(crate) fn indexing_ended_early(refusal: &Refusal) {
    tracing::warn!(%refusal, "the index of words is behind; the next sweep goes on");
}

/// To so many robots, if it is new.
pub(crate) fn command_opened(opened: &Opened) {
    metrics::counter!("im_store_commands_total").increment(1);
    let (command, robots) = (&opened.command, opened.targets.len());
    tracing::info!(command = %command.id(), issuer = command.issuer.0, action = command.action,
        epoch = command.epoch, robots, duplicate = opened.duplicate, "a command");
}

#[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
pub(crate) fn reports_gathered(reports: usize) {
    metrics::counter!("im_store_reports_total").increment(reports as u64);
    metrics::histogram!("im_store_batch_reports").record(reports as f64);
}

pub(crate) fn orders_given(robots: usize) {
    metrics::counter!("im_store_orders_given_total").increment(robots as u64);
}

pub(crate) fn outcomes_expired(outcomes: usize) {
    metrics::counter!("im_store_outcomes_expired_total").increment(outcomes as u64);
}

/// Robots are told again, or ask; issuers ask.
pub(crate) fn accounts_not_told(accounts: usize, refusal: &Refusal) {
    metrics::counter!("im_store_accounts_not_told_total").increment(accounts as u64);
    tracing::debug!(accounts, %refusal, "the router was not told of a command");
}

/// The desk reads it from the database, or its issuer asks.
pub(crate) fn news_dropped() {
    metrics::counter!("im_store_command_news_dropped_total").increment(1);
}

/// It is tried again.
pub(crate) fn desk_failed(refusal: &Refusal) {
    metrics::counter!("im_store_desk_failures_total").increment(1);
    tracing::warn!(%refusal, "what was due of a command was not done");
}

pub(crate) fn commands_forgotten(rows: u64) {
    metrics::counter!("im_store_command_rows_forgotten_total").increment(rows);
}
