//! What happens in the planner that an operator may want to know: a function an event, which logs
//! and counts. Labels are of few values; the words of people and the key of a provider are not
//! logged.

use std::fmt::Display;

use client_sdk::estop::Stop;
use client_sdk::{ConversationId, Error, SendError};
use protocol::wire::{Outcome, StepState};
use protocol::{ClientMessageId, SequenceNumber};

use crate::provider::{ModelError, Reply, Usage};

pub(crate) fn connected() {
    metrics::counter!("im_bridge_connections_total").increment(1);
    tracing::info!("connected");
}

/// Nothing is commanded where it concerns somebody until it is released.
pub(crate) fn stopped(stop: &Stop) {
    metrics::counter!("im_bridge_emergency_stops_total").increment(1);
    tracing::warn!(id = %stop.id, fleet = stop.fleet, conversation = %stop.conversation,
        "an emergency stop: no command is sent");
}

pub(crate) fn released(stop: &Stop) {
    tracing::warn!(id = %stop.id, "the emergency stop is released");
}

pub(crate) fn disconnected(reason: &str) {
    metrics::counter!("im_bridge_connections_lost_total").increment(1);
    tracing::warn!(reason, "the connection is lost; another is being made");
}

/// The process goes on trying.
pub(crate) fn not_connected(error: &Error) {
    metrics::counter!("im_bridge_connections_failed_total").increment(1);
    tracing::warn!(%error, "no connection yet");
}

pub(crate) fn group_begun(group: ConversationId) {
    metrics::counter!("im_bridge_groups_begun_total").increment(1);
    tracing::debug!(conversation = %group, "following a group");
}

pub(crate) fn group_ended(group: ConversationId, why: &dyn Display) {
    metrics::counter!("im_bridge_groups_ended_total").increment(1);
    tracing::info!(conversation = %group, %why, "not following a group any more");
}

/// The group's own task reads the message from the log instead.
pub(crate) fn queue_overflowed() {
    metrics::counter!("im_bridge_queue_overflow_messages_total").increment(1);
}

/// A request is repeated after a pause.
pub(crate) fn request_failed(what: &'static str, error: &Error) {
    metrics::counter!("im_bridge_requests_failed_total", "request" => what).increment(1);
    tracing::warn!(request = what, %error, "a request failed");
}

pub(crate) fn history_trimmed(group: ConversationId, up_to: SequenceNumber) {
    metrics::counter!("im_bridge_histories_trimmed_total").increment(1);
    tracing::warn!(conversation = %group, %up_to, "a part of the log is gone");
}

/// Of an earlier run: known again after a restart.
pub(crate) fn replayed() {
    metrics::counter!("im_bridge_entries_replayed_total").increment(1);
}

pub(crate) fn instructed(group: ConversationId, instruction: ClientMessageId) {
    metrics::counter!("im_bridge_instructions_total").increment(1);
    tracing::info!(conversation = %group, %instruction, "an instruction");
}

pub(crate) fn instruction_dropped(group: ConversationId, instruction: ClientMessageId) {
    metrics::counter!("im_bridge_instructions_dropped_total").increment(1);
    tracing::warn!(conversation = %group, %instruction, "too many instructions are open");
}

pub(crate) fn planned(group: ConversationId, instruction: ClientMessageId) {
    metrics::counter!("im_bridge_plans_total").increment(1);
    tracing::info!(conversation = %group, %instruction, "a plan");
}

pub(crate) fn step_updated(group: ConversationId, instruction: ClientMessageId, state: StepState) {
    metrics::counter!("im_bridge_step_updates_total", "state" => state.as_str_name()).increment(1);
    tracing::debug!(conversation = %group, %instruction, ?state, "a step update");
}

pub(crate) fn progress_told() {
    metrics::counter!("im_bridge_progress_updates_total").increment(1);
}

pub(crate) fn summarised(group: ConversationId, instruction: ClientMessageId, outcome: Outcome) {
    metrics::counter!("im_bridge_summaries_total", "outcome" => outcome.as_str_name()).increment(1);
    tracing::info!(conversation = %group, %instruction, ?outcome, "a summary");
}

pub(crate) fn sent(kind: &'static str) {
    metrics::counter!("im_bridge_messages_sent_total", "kind" => kind).increment(1);
}

/// It is sent again.
pub(crate) fn send_unknown(kind: &'static str, error: &SendError) {
    metrics::counter!("im_bridge_messages_unknown_total", "kind" => kind).increment(1);
    tracing::warn!(kind, %error, "a message was not acknowledged");
}

/// An earlier run has sent it with other words.
pub(crate) fn sent_otherwise(kind: &'static str) {
    metrics::counter!("im_bridge_messages_conflicting_total", "kind" => kind).increment(1);
    tracing::info!(kind, "a message with this id is in the log already");
}

pub(crate) fn send_refused(kind: &'static str, error: &SendError) {
    metrics::counter!("im_bridge_messages_refused_total", "kind" => kind).increment(1);
    tracing::error!(kind, %error, "a message was refused");
}

pub(crate) fn model_answered(reply: &Reply) {
    let cost = reply.cost();
    metrics::counter!("im_bridge_model_answers_total").increment(1);
    metrics::counter!("im_bridge_prompt_tokens_total").increment(cost.prompt_tokens);
    metrics::counter!("im_bridge_completion_tokens_total").increment(cost.completion_tokens);
    tracing::info!(
        model = reply.model,
        prompt_tokens = cost.prompt_tokens,
        completion_tokens = cost.completion_tokens,
        "the model answered"
    );
}

pub(crate) fn model_failed(provider: &str, error: &ModelError) {
    metrics::counter!("im_bridge_model_failures_total", "class" => error.class()).increment(1);
    tracing::warn!(provider, %error, "the model did not answer");
}

/// Others are asked meanwhile.
pub(crate) fn provider_left_alone(provider: &str) {
    metrics::counter!("im_bridge_providers_left_alone_total").increment(1);
    tracing::warn!(provider, "it keeps failing, and is left alone for a while");
}

pub(crate) fn plan_invalid(problems: usize, asks: u32) {
    metrics::counter!("im_bridge_plans_invalid_total").increment(1);
    tracing::info!(problems, asks, "a plan that cannot be carried out");
}

/// The robot declares it wrongly; the model is not told of the action.
pub(crate) fn schema_unusable(robot: &str, action: &str, error: &serde_json::Error) {
    metrics::counter!("im_bridge_schemas_unusable_total").increment(1);
    tracing::warn!(robot, action, %error, "the schema of an action is not JSON");
}

/// The proxy has not passed a request on.
pub(crate) fn proxy_refused(code: &'static str) {
    metrics::counter!("im_proxy_refusals_total", "code" => code).increment(1);
    tracing::info!(code, "a request was not passed on");
}

/// A request has passed the proxy, or was cut on the way.
pub(crate) fn proxy_passed(status: u16, usage: Usage, is_told: bool) {
    let told = if is_told { "told" } else { "estimated" };
    metrics::counter!("im_proxy_requests_total", "status" => status.to_string()).increment(1);
    metrics::counter!("im_proxy_prompt_tokens_total", "usage" => told)
        .increment(usage.prompt_tokens);
    metrics::counter!("im_proxy_answer_tokens_total", "usage" => told)
        .increment(usage.completion_tokens);
}

/// A person must look: the tokens of the day are bounded all the same, until a restart.
pub(crate) fn account_not_written(error: &std::io::Error) {
    metrics::counter!("im_proxy_account_failures_total").increment(1);
    tracing::error!(%error, "the account cannot be written");
}

pub(crate) fn account_line_dropped() {
    metrics::counter!("im_proxy_account_lines_dropped_total").increment(1);
}
