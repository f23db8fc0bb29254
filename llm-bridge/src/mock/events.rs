//! What happens in the mock that an operator may want to know: a function an event, which logs and
//! counts. Labels are of few values.

use super::behaviour::Fail;

/// A request was answered with a plan, whole.
pub(super) fn answered(streamed: bool, prompt_tokens: u64, completion_tokens: u64) {
    let form = if streamed { "stream" } else { "whole" };
    metrics::counter!("im_mock_answers_total", "form" => form).increment(1);
    metrics::counter!("im_mock_prompt_tokens_total").increment(prompt_tokens);
    metrics::counter!("im_mock_completion_tokens_total").increment(completion_tokens);
    tracing::info!(form, prompt_tokens, completion_tokens, "answered");
}

/// A request failed because it was to fail.
pub(super) fn failed_on_demand(fail: Fail) {
    metrics::counter!("im_mock_failures_total", "class" => fail.to_string()).increment(1);
    tracing::info!(class = %fail, "failed on demand");
}

/// A request that is not one.
pub(super) fn refused(message: &str) {
    metrics::counter!("im_mock_refusals_total").increment(1);
    tracing::info!(reason = message, "refused a request");
}

/// The listener is broken.
pub(super) fn serving_ended(error: &std::io::Error) {
    metrics::counter!("im_mock_servers_failed_total").increment(1);
    tracing::error!(%error, "serving ended");
}
