//! Runs a robot's action without a robot, a server or a network.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::wire::{self, StepState};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::robot::{Action, ActionContext, ActionError, Ending, carry_out};

/// How long an action may take unless the test says otherwise.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// What became of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// How it ended, in the words of its report.
    pub state: StepState,
    /// What it returned, if it finished.
    pub result: Option<Value>,
    /// Why it did not finish; empty if it did.
    pub reason: String,
    /// Every progress that it told, in order.
    pub progress: Vec<u32>,
}

/// Runs a handler as a robot would on a command with these arguments.
pub async fn run_action<T, F, Fut>(handler: F, arguments: Value) -> Trial
where
    T: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(T, ActionContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, ActionError>> + Send + 'static,
{
    run_action_within(handler, arguments, DEADLINE_DEFAULT).await
}

/// The same with a deadline.
pub async fn run_action_within<T, F, Fut>(
    handler: F,
    arguments: Value,
    time_limit: Duration,
) -> Trial
where
    T: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(T, ActionContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, ActionError>> + Send + 'static,
{
    let action = Action::new("action", handler);
    let command = wire::Command {
        step_id: "s1".into(),
        plan_version: 1,
        attempt: 1,
        action: "action".into(),
        arguments_json: arguments.to_string(),
        ..Default::default()
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let deadline = Instant::now() + time_limit;
    let cancel = CancellationToken::new();
    let listener = Arc::clone(&told);
    let context = ActionContext::new(
        Arc::new(command),
        deadline,
        cancel.clone(),
        move |percent| listener.lock().push(percent),
    );
    let ending = match action.begin(context) {
        Ok(work) => carry_out(work, deadline, cancel).await,
        Err(error) => Ending::from(Err(error)),
    };
    let state = ending.state();
    let (reason, result) = ending.into_words();
    let progress = told.lock().clone();
    Trial {
        state,
        result,
        reason,
        progress,
    }
}

#[cfg(test)]
mod tests;
