//! One action: what it is called, what it takes, how it is carried out. No network.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use protocol::wire::{self, ActionSpec, StepState};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long an action that is cancelled, or late, may take to end by itself.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// Why an action did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ActionError {
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
    /// It makes no sense for this robot, and was not begun.
    #[error("{0}")]
    Rejected(String),
    /// It was ended on purpose, usually because [`ActionContext::cancelled`] said so.
    #[error("{0}")]
    Cancelled(String),
}

impl From<String> for ActionError {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl From<&str> for ActionError {
    fn from(reason: &str) -> Self {
        Self::Failed(reason.to_owned())
    }
}

/// What an action knows of the command it carries out. Clones are the same.
#[derive(Clone)]
pub struct ActionContext {
    command: Arc<wire::Command>,
    deadline: Instant,
    cancelled: CancellationToken,
    progress: Arc<dyn Fn(u32) + Send + Sync>,
}

impl ActionContext {
    pub(crate) fn new(
        command: Arc<wire::Command>,
        deadline: Instant,
        cancelled: CancellationToken,
        progress: impl Fn(u32) + Send + Sync + 'static,
    ) -> Self {
        Self {
            command,
            deadline,
            cancelled,
            progress: Arc::new(progress),
        }
    }

    /// Tells the group how far it is, 0 to 100. Costs nothing: only the newest is sent.
    pub fn progress(&self, percent: u32) {
        (self.progress)(percent.min(100));
    }

    /// Whether to end now: the robot stops, the action was cancelled, or its deadline has passed.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Waits until [`ActionContext::cancelled`].
    pub async fn until_cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// When it must be over.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long until then.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The command itself.
    #[must_use]
    pub fn command(&self) -> &wire::Command {
        &self.command
    }
}

impl fmt::Debug for ActionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionContext")
            .field("step_id", &self.command.step_id)
            .field("action", &self.command.action)
            .finish_non_exhaustive()
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Value, ActionError>> + Send>>;

/// A declared action, its argument type forgotten.
pub(crate) struct Action {
    pub(crate) spec: ActionSpec,
    check: fn(&str) -> Result<(), ActionError>,
    #[expect(clippy::type_complexity, reason = "it is named here and nowhere else")]
    begin: Box<dyn Fn(&str, ActionContext) -> Result<Work, ActionError> + Send + Sync>,
}

impl Action {
    pub(crate) fn new<T, F, Fut>(name: &str, handler: F) -> Self
    where
        T: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(T, ActionContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, ActionError>> + Send + 'static,
    {
        // A planner reads one flat schema more surely than references.
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let mut schema = settings.into_generator().into_root_schema_for::<T>();
        schema.remove("$schema");
        let description = schema
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Self {
            spec: ActionSpec {
                name: name.to_owned(),
                description,
                arguments_schema_json: Value::from(schema).to_string(),
                ..ActionSpec::default()
            },
            check: |arguments| parse::<T>(arguments).map(drop),
            begin: Box::new(move |arguments, context| {
                Ok(Box::pin(handler(parse(arguments)?, context)))
            }),
        }
    }

    /// Checks the arguments; the handler is not called.
    pub(crate) fn check(&self, arguments_json: &str) -> Result<(), ActionError> {
        (self.check)(arguments_json)
    }

    /// Calls the handler, unless the arguments are wrong.
    pub(crate) fn begin(&self, context: ActionContext) -> Result<Work, ActionError> {
        let command = Arc::clone(&context.command);
        (self.begin)(&command.arguments_json, context)
    }
}

fn parse<T: DeserializeOwned>(arguments_json: &str) -> Result<T, ActionError> {
    let arguments = match arguments_json.trim() {
        "" => "{}",
        some => some,
    };
    serde_json::from_str(arguments)
        .map_err(|error| ActionError::Rejected(format!("arguments: {error}")))
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    Finished(Value),
    Failed(String),
    Rejected(String),
    Cancelled(String),
    Expired(String),
}

impl Ending {
    pub(crate) const fn state(&self) -> StepState {
        match self {
            Self::Finished(_) => StepState::Finished,
            Self::Failed(_) => StepState::Failed,
            Self::Rejected(_) => StepState::Rejected,
            Self::Cancelled(_) => StepState::Cancelled,
            Self::Expired(_) => StepState::Expired,
        }
    }

    /// The reason, and the result.
    pub(crate) fn into_words(self) -> (String, Option<Value>) {
        match self {
            Self::Finished(result) => (String::new(), Some(result)),
            Self::Failed(reason)
            | Self::Rejected(reason)
            | Self::Cancelled(reason)
            | Self::Expired(reason) => (reason, None),
        }
    }
}

impl From<Result<Value, ActionError>> for Ending {
    fn from(outcome: Result<Value, ActionError>) -> Self {
        match outcome {
            Ok(result) => Self::Finished(result),
            Err(ActionError::Failed(reason)) => Self::Failed(reason),
            Err(ActionError::Rejected(reason)) => Self::Rejected(reason),
            Err(ActionError::Cancelled(reason)) => Self::Cancelled(reason),
        }
    }
}

/// Runs an action to its end, its deadline or its cancellation. A panic is a failure.
pub(crate) async fn carry_out(work: Work, deadline: Instant, cancel: CancellationToken) -> Ending {
    let mut task = Task(tokio::spawn(work));
    tokio::select! {
        biased;
        ended = task.end() => ended,
        () = cancel.cancelled() => {
            let ended = tokio::time::timeout(CANCEL_GRACE, task.end()).await;
            ended.unwrap_or_else(|_| Ending::Cancelled(String::new()))
        }
        () = tokio::time::sleep_until(deadline) => {
            cancel.cancel();
            // It may put things in order; what it returns is too late.
            drop(tokio::time::timeout(CANCEL_GRACE, task.end()).await);
            Ending::Expired("the deadline passed before it was finished".into())
        }
    }
}

/// A task that ends with its owner.
struct Task(JoinHandle<Result<Value, ActionError>>);

impl Task {
    async fn end(&mut self) -> Ending {
        match (&mut self.0).await {
            Ok(outcome) => outcome.into(),
            Err(_) => Ending::Failed("the action panicked".into()),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
