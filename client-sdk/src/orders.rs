//! A robot's orders: commands that were sent to it by [`send_command`](crate::Client::send_command).
//!
//! An order is carried out at most once, also over a crash: the server keeps that the robot has
//! accepted it before it begins, and a robot that finds an order accepted that this run of it has not
//! accepted says that it failed. It is begun neither late nor after it was cancelled, nor under an
//! epoch older than one that the robot has seen ([`OrderLedger`]). Whatever the robot's program does
//! with it, it ends: dropped, it has failed.
//!
//! A robot has one run at a time: two sessions of one account that both take orders are two robots.

mod clerk;
mod desk;
mod ledger;

use std::sync::Arc;
use std::time::Duration;

use protocol::AccountId;
use protocol::command::{self, CommandKey};
use protocol::wire::{self, OutcomeState};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::clerk::Clerk;
use self::desk::{Desk, SAY_AGAIN, tell_progress};
use self::ledger::End;
pub use self::ledger::OrderLedger;
use crate::client::Client;
use crate::error::Error;

/// Orders that wait for the robot's program. When full: one more is not taken, and the server gives
/// it again.
const ORDERS_WAITING_MAX: usize = 256;

/// What is said of an order while an emergency stop is in force.
const STOPPED: &str = "an emergency stop is in force";

/// Why an order cannot be begun.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotBegun {
    /// It is over already: cancelled, expired, or superseded.
    #[error("the order is over: {}", command::name(*.0))]
    Over(OutcomeState),
    /// An emergency stop is in force.
    #[error("an emergency stop is in force")]
    Stopped,
    /// The server has no such order any more.
    #[error("the server does not know the order")]
    Unknown,
    /// The client ends.
    #[error("the client is closed")]
    Closed,
}

/// The orders of this robot, as they come.
#[derive(Debug)]
pub struct Orders {
    waiting: mpsc::Receiver<Order>,
    _clerk: DropGuard,
}

/// One order. It ends with one of [`Order::finish`], [`Order::fail`], [`Order::reject`] and
/// [`Order::cancelled`]; dropped before, it is rejected, or, once accepted, has failed.
#[derive(Debug)]
pub struct Order {
    order: wire::Order,
    key: CommandKey,
    deadline: Instant,
    cancel: CancellationToken,
    desk: Arc<Desk>,
    is_accepted: bool,
    progress: watch::Sender<u32>,
    telling: Option<DropGuard>,
    is_over: bool,
}

impl Client {
    /// Takes this robot's orders from now on, and those that it has already. One at a time: a second
    /// call takes them from the first.
    #[must_use]
    pub fn orders(&self, ledger: OrderLedger) -> Orders {
        let desk = Arc::new(Desk::new(self.clone(), ledger));
        let (sender, waiting) = mpsc::channel(ORDERS_WAITING_MAX);
        let stop = CancellationToken::new();
        let clerk = Clerk::new(desk, sender);
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = clerk.run() => {}
                () = stopped.cancelled() => {}
            }
        });
        Orders {
            waiting,
            _clerk: stop.drop_guard(),
        }
    }

    /// Hands each order to this function, with the time that it has left, at most `at_once` of them
    /// at the same time. Returns when the client ends.
    pub async fn on_command<F, Fut>(&self, ledger: OrderLedger, at_once: usize, handler: F)
    where
        F: Fn(Order, Duration) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut orders = self.orders(ledger);
        let mut running = JoinSet::new();
        loop {
            while running.len() >= at_once.max(1) {
                running.join_next().await;
            }
            let Some(order) = orders.next().await else {
                break;
            };
            while running.try_join_next().is_some() {}
            let remaining = order.remaining();
            running.spawn(handler(order, remaining));
        }
        while running.join_next().await.is_some() {}
    }
}

impl Orders {
    /// The next order; `None` when the client has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Order> {
        loop {
            let order = self.waiting.recv().await?;
            // It may have waited long.
            if order.cancel.is_cancelled() {
                order.over(OutcomeState::Cancelled, "cancelled before it was begun");
            } else if order.remaining().is_zero() {
                order.over(
                    OutcomeState::Expired,
                    "the deadline passed before it was begun",
                );
            } else {
                return Some(order);
            }
        }
    }
}

impl Order {
    fn new(order: wire::Order, key: CommandKey, deadline: Instant, desk: Arc<Desk>) -> Self {
        let cancel = desk.begin(key.id());
        Self {
            order,
            key,
            deadline,
            cancel,
            desk,
            is_accepted: false,
            progress: watch::channel(0).0,
            telling: None,
            is_over: false,
        }
    }

    /// Which command it is.
    #[must_use]
    pub const fn key(&self) -> &CommandKey {
        &self.key
    }

    /// The epoch that it was sent under.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.order.epoch
    }

    /// Who sent it.
    #[must_use]
    pub const fn issuer(&self) -> AccountId {
        AccountId(self.order.issuer)
    }

    /// What is to be done.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.order.action
    }

    /// And how, in JSON.
    #[must_use]
    pub fn arguments_json(&self) -> &str {
        &self.order.arguments_json
    }

    /// By the server's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn deadline_at_ms(&self) -> u64 {
        self.order.deadline_at_ms
    }

    /// The deadline on this machine's monotonic clock: whatever its wall clock says.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long until then.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether to end: it was cancelled, or a newer attempt has its place.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Waits until [`Order::is_cancelled`].
    pub async fn until_cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Says that the robot will carry it out. Only when this has returned may the robot act: then
    /// the server keeps it, and it was neither late nor cancelled.
    ///
    /// # Errors
    /// It must not be begun; nothing more is to be said of it.
    pub async fn accept(&mut self) -> Result<(), NotBegun> {
        loop {
            if self.remaining().is_zero() {
                self.is_over = true;
                let late = "the deadline passed before it was begun";
                self.desk
                    .end_later(self.end(OutcomeState::Expired, late, ""));
                return Err(NotBegun::Over(OutcomeState::Expired));
            }
            if self.desk.client.is_stopped() {
                self.is_over = true;
                self.desk
                    .end_later(self.end(OutcomeState::Rejected, STOPPED, ""));
                return Err(NotBegun::Stopped);
            }
            let said = self.end(OutcomeState::Accepted, "", "");
            let answer = tokio::time::timeout_at(self.deadline, self.desk.say(&said)).await;
            match answer {
                Ok(Ok(OutcomeState::Accepted | OutcomeState::Running))
                    if !self.remaining().is_zero() && !self.desk.client.is_stopped() =>
                {
                    self.is_accepted = true;
                    return Ok(());
                }
                Ok(Ok(OutcomeState::Accepted | OutcomeState::Running)) | Err(_) => {}
                Ok(Ok(OutcomeState::Unspecified)) => return Err(self.not_begun(NotBegun::Unknown)),
                Ok(Ok(over)) => return Err(self.not_begun(NotBegun::Over(over))),
                Ok(Err(Error::Closed)) => return Err(self.not_begun(NotBegun::Closed)),
                Ok(Err(_)) => tokio::time::sleep(SAY_AGAIN).await,
            }
        }
    }

    fn not_begun(&mut self, why: NotBegun) -> NotBegun {
        self.is_over = true;
        self.desk.done(self.key.id());
        why
    }

    /// Says that it runs, and how far it is, 0 to 100. Costs nothing: only the newest is sent, and
    /// only the first is kept.
    pub fn running(&mut self, percent: u32) {
        self.progress.send_replace(percent.min(100));
        if self.telling.is_none() {
            let stop = CancellationToken::new();
            let telling = tell_progress(
                Arc::clone(&self.desk),
                self.key.clone(),
                self.progress.subscribe(),
            );
            let stopped = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = telling => {}
                    () = stopped.cancelled() => {}
                }
            });
            self.telling = Some(stop.drop_guard());
        }
    }

    /// It is done. Returns when the server has it; what it then is.
    ///
    /// # Errors
    /// When the client ends before: the next run says it, if the ledger is a file.
    pub async fn finish(self, result_json: impl Into<String>) -> Result<OutcomeState, Error> {
        self.ended(OutcomeState::Finished, String::new(), result_json.into())
            .await
    }

    /// It did not work.
    ///
    /// # Errors
    /// As [`Order::finish`].
    pub async fn fail(self, reason: impl Into<String>) -> Result<OutcomeState, Error> {
        self.ended(OutcomeState::Failed, reason.into(), String::new())
            .await
    }

    /// The robot will not do it, and has not begun.
    ///
    /// # Errors
    /// As [`Order::finish`].
    pub async fn reject(self, reason: impl Into<String>) -> Result<OutcomeState, Error> {
        self.ended(OutcomeState::Rejected, reason.into(), String::new())
            .await
    }

    /// It was ended on purpose.
    ///
    /// # Errors
    /// As [`Order::finish`].
    pub async fn cancelled(self, reason: impl Into<String>) -> Result<OutcomeState, Error> {
        self.ended(OutcomeState::Cancelled, reason.into(), String::new())
            .await
    }

    async fn ended(
        mut self,
        state: OutcomeState,
        reason: String,
        result_json: String,
    ) -> Result<OutcomeState, Error> {
        self.telling = None;
        self.is_over = true;
        let end = self.end(state, &reason, &result_json);
        let desk = Arc::clone(&self.desk);
        drop(self);
        desk.end(end).await
    }

    fn over(mut self, state: OutcomeState, reason: &str) {
        self.is_over = true;
        self.desk.end_later(self.end(state, reason, ""));
    }

    fn end(&self, state: OutcomeState, reason: &str, result_json: &str) -> End {
        End {
            key: self.key.clone(),
            state,
            reason: cut(reason, protocol::limits::OUTCOME_REASON_BYTES_MAX),
            result_json: result_json.to_owned(),
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if self.is_over {
            return; // It is active until the server has its end.
        }
        let (state, reason) = if self.is_accepted {
            (OutcomeState::Failed, "the robot's program gave it up")
        } else {
            (
                OutcomeState::Rejected,
                "the robot's program did not take it",
            )
        };
        self.desk.end_later(self.end(state, reason, ""));
    }
}

/// At most so many bytes, at the end of a character.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_at_a_character() {
        assert_eq!(cut("没电了", 7), "没电");
        assert_eq!(cut("ok", 7), "ok");
    }
}
