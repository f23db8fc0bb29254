//! Ending well: every task is tracked, told to end, and waited for up to a grace.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal as unix_signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tracks the tasks of a process and tells them when to end. Clones share one drain.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    tasks: TaskTracker,
    token: CancellationToken,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Every task ended by itself.
    Clean,
    /// The grace ran out with this many tasks still running.
    TimedOut {
        /// How many.
        remaining: usize,
    },
}

impl Drain {
    /// One with no tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that the drain waits for. The task itself watches [`Drain::draining`].
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Ends when the drain starts. Cancel-safe.
    pub async fn draining(&self) {
        self.token.cancelled().await;
    }

    /// Whether the drain has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells every task to end.
    pub fn start(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// Starts the drain and waits for the tasks, at most for `grace`.
    pub async fn finish(&self, grace: Duration) -> DrainOutcome {
        self.start();
        match tokio::time::timeout(grace, self.tasks.wait()).await {
            Ok(()) => DrainOutcome::Clean,
            Err(_) => DrainOutcome::TimedOut {
                remaining: self.tasks.len(),
            },
        }
    }

    /// A drain of its own that also starts when this one does: for a part that ends earlier.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            tasks: TaskTracker::new(),
            token: self.token.child_token(),
        }
    }
}

/// Ends at SIGTERM or SIGINT. Cancel-safe.
///
/// Where a handler cannot be installed the system's own answer to that signal stays: the process
/// is killed without a drain.
pub async fn signal() {
    tokio::select! {
        () = received(SignalKind::terminate()) => {}
        () = received(SignalKind::interrupt()) => {}
    }
}

async fn received(kind: SignalKind) {
    match unix_signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, ?kind, "this signal will not drain the process");
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_tasks_that_end_and_counts_those_that_do_not() {
        let drain = Drain::new();
        let task = drain.clone();
        drain.spawn(async move { task.draining().await });
        assert_eq!(
            drain.finish(Duration::from_secs(5)).await,
            DrainOutcome::Clean
        );

        let drain = Drain::new();
        drain.spawn(std::future::pending::<()>());
        let outcome = drain.finish(Duration::from_millis(10)).await;
        assert_eq!(outcome, DrainOutcome::TimedOut { remaining: 1 });
    }

    #[tokio::test]
    async fn a_child_ends_with_its_parent_and_not_the_other_way() {
        let parent = Drain::new();
        let child = parent.child();
        child.start();
        assert!(!parent.is_draining());
        let child = parent.child();
        parent.start();
        assert!(child.is_draining());
    }
}
