//! Ending well: every task is tracked, told to end, and waited for up to a grace.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal as unix_signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events;

/// How long the last tasks have when the others have used up the grace: for a flush.
pub const LAST_GRACE_MIN: Duration = Duration::from_millis(250);

/// Tracks the tasks of a process and tells them when to end. Clones share one drain.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    tasks: TaskTracker,
    started: CancellationToken,
    /// What the tasks rest on, such as a link: it ends after them.
    last_tasks: TaskTracker,
    drained: CancellationToken,
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

    /// Runs a task that other tasks rest on, and that ends after them. It watches
    /// [`Drain::drained`].
    pub fn spawn_last<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.last_tasks.spawn(task)
    }

    /// Ends when the drain starts. Cancel-safe.
    pub async fn draining(&self) {
        self.started.cancelled().await;
    }

    /// Whether the drain has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.started.is_cancelled()
    }

    /// Ends when every task of [`Drain::spawn`] has ended, or the grace has. Cancel-safe.
    pub async fn drained(&self) {
        self.drained.cancelled().await;
    }

    /// Tells every task to end.
    pub fn start(&self) {
        self.started.cancel();
        self.tasks.close();
    }

    /// Starts the drain and waits for the tasks, at most for `grace`; then for those that they
    /// rested on, which have at least [`LAST_GRACE_MIN`].
    pub async fn finish(&self, grace: Duration) -> DrainOutcome {
        let deadline = Instant::now() + grace;
        self.start();
        let waited = tokio::time::timeout_at(deadline, self.tasks.wait()).await;
        self.drained.cancel();
        self.last_tasks.close();
        let deadline = deadline.max(Instant::now() + LAST_GRACE_MIN);
        let waited_last = tokio::time::timeout_at(deadline, self.last_tasks.wait()).await;
        if waited.is_ok() && waited_last.is_ok() {
            DrainOutcome::Clean
        } else {
            DrainOutcome::TimedOut {
                remaining: self.tasks.len() + self.last_tasks.len(),
            }
        }
    }

    /// A drain of its own that also starts when this one does: for a part that ends earlier.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            tasks: TaskTracker::new(),
            started: self.started.child_token(),
            last_tasks: TaskTracker::new(),
            drained: self.drained.child_token(),
        }
    }
}

/// Ends at SIGTERM or SIGINT, one that came since the call included. Cancel-safe.
///
/// Where a handler cannot be installed the system's own answer to that signal stays: the process
/// is killed without a drain.
pub fn signal() -> impl Future<Output = ()> {
    let (terminate, interrupt) = (
        received(SignalKind::terminate()),
        received(SignalKind::interrupt()),
    );
    async {
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
        }
    }
}

fn received(kind: SignalKind) -> impl Future<Output = ()> {
    let signals = unix_signal(kind).inspect_err(|error| events::signal_not_watched(&kind, error));
    async {
        match signals {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

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
    async fn what_tasks_rest_on_ends_after_them() {
        let drain = Drain::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (task, task_order) = (drain.clone(), Arc::clone(&order));
        drain.spawn_last(async move {
            task.drained().await;
            task_order.lock().push("link");
        });
        let (task, task_order) = (drain.clone(), Arc::clone(&order));
        drain.spawn(async move {
            task.draining().await;
            tokio::task::yield_now().await;
            task_order.lock().push("request");
        });
        let outcome = drain.finish(Duration::from_secs(5)).await;
        assert_eq!(outcome, DrainOutcome::Clean);
        assert_eq!(*order.lock(), ["request", "link"]);
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
