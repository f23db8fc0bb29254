//! Takes what the server gives: hands new orders to the robot's program, tells it what is cancelled,
//! and answers by itself what must not be begun.

use std::sync::Arc;
use std::time::Duration;

use protocol::command::{self, CommandKey};
use protocol::kind::client as kind;
use protocol::wire::{self, OutcomeState};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::desk::Desk;
use super::ledger::End;
use super::{Order, STOPPED};
use crate::command::news::Given;
use crate::error::Error;
use crate::events;

/// The pause before the server is asked again for orders, when it did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long an order may lie before the server is told that it has come.
const SAY_DELIVERED_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Clerk {
    desk: Arc<Desk>,
    orders: mpsc::Sender<Order>,
    session: watch::Receiver<u64>,
}

/// What is to be done with an order.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is given to the robot's program.
    HandOver,
    /// It is there already.
    Nothing,
    /// It is to be ended.
    Cancel,
    /// This is said of it.
    Say(OutcomeState, &'static str),
    /// It ended, and the server does not know.
    SayAgain,
}

/// What is known of an order that comes.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The server's last word.
    state: OutcomeState,
    is_cancelled: bool,
    is_late: bool,
    /// It was handed over in this run, and has not ended.
    is_active: bool,
    /// It has ended.
    has_end: bool,
    /// An emergency stop is in force.
    is_stopped: bool,
    /// The robot has seen no newer epoch of its plan.
    is_of_newest_epoch: bool,
}

fn fate(known: Known) -> Fate {
    if known.has_end {
        return Fate::SayAgain;
    }
    if known.is_active {
        let cancelled = known.is_cancelled;
        return if cancelled {
            Fate::Cancel
        } else {
            Fate::Nothing
        };
    }
    if command::has_begun(known.state) {
        // This run has not accepted it.
        return Fate::Say(
            OutcomeState::Failed,
            "interrupted: the robot restarted meanwhile",
        );
    }
    if known.is_cancelled || command::is_over(known.state) {
        return Fate::Nothing;
    }
    if known.is_late {
        return Fate::Say(
            OutcomeState::Expired,
            "the deadline passed before it was begun",
        );
    }
    if known.is_stopped {
        return Fate::Say(OutcomeState::Rejected, STOPPED);
    }
    if !known.is_of_newest_epoch {
        return Fate::Say(
            OutcomeState::Superseded,
            "the robot has seen a newer epoch of the plan",
        );
    }
    Fate::HandOver
}

impl Clerk {
    pub(super) fn new(desk: Arc<Desk>, orders: mpsc::Sender<Order>) -> Self {
        let session = desk.client.shared().sessions.subscribe();
        desk.client.shared().commands.take_orders(true);
        Self {
            desk,
            orders,
            session,
        }
    }

    /// Until the client ends.
    pub(super) async fn run(mut self) {
        for end in self.desk.ledger.lock().untold() {
            self.desk.end_later(end);
        }
        let shared = Arc::clone(self.desk.client.shared());
        let mut ask_at = Some(Instant::now());
        self.desk.client.probe();
        loop {
            let news = shared.commands.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            while let Some(given) = shared.commands.next_order() {
                self.take(given).await;
            }
            tokio::select! {
                () = news => {}
                changed = self.session.changed() => {
                    if changed.is_err() || *self.session.borrow_and_update() == u64::MAX {
                        return;
                    }
                    ask_at = shared.session().map(|_| Instant::now());
                    if ask_at.is_some() {
                        // Its clock is known from the first order on.
                        self.desk.client.probe();
                    }
                }
                () = at(ask_at) => {
                    ask_at = match self.list().await {
                        Ok(()) => None,
                        Err(Error::Closed) => return,
                        Err(_) => Some(Instant::now() + ASK_AGAIN),
                    };
                }
                () = self.orders.closed() => return,
            }
        }
    }

    /// All that the server has for this robot.
    async fn list(&self) -> Result<(), Error> {
        let mut after = bytes::Bytes::new();
        loop {
            let asked_at = Instant::now();
            let request = wire::ListOrders {
                after_order_id: after.clone(),
                limit: 0,
            };
            let page: wire::OrderPage = self
                .desk
                .client
                .request(kind::LIST_ORDERS, &request)
                .await?;
            let more = page.more && !page.orders.is_empty();
            for order in page.orders {
                after = order.order_id.clone();
                // From when it was asked: it may end early, and never late.
                let deadline = asked_at + Duration::from_millis(order.remaining_ms);
                self.take(Given { order, deadline }).await;
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn take(&self, Given { order, deadline }: Given) {
        let key = match CommandKey::from_wire(order.key.clone()) {
            Ok(key) => key,
            Err(refusal) => return events::malformed(kind::ORDER_PAGE, &refusal),
        };
        let id = key.id();
        let known = Known {
            state: order.state(),
            is_cancelled: order.cancelled,
            is_late: deadline <= Instant::now(),
            is_active: self.desk.is_active(id),
            has_end: self.desk.ledger.lock().end_of(id).is_some(),
            is_stopped: self.desk.client.is_stopped(),
            is_of_newest_epoch: true,
        };
        let mut fate = fate(known);
        if fate == Fate::HandOver && !self.raise_epoch(&key, order.epoch).await {
            fate = self::fate(Known {
                is_of_newest_epoch: false,
                ..known
            });
        }
        match fate {
            Fate::HandOver => self.hand_over(order, key, deadline),
            // Its end is on its way.
            Fate::Nothing | Fate::SayAgain => {}
            Fate::Cancel => self.desk.cancel(id),
            Fate::Say(state, reason) => self.desk.end_later(End {
                key,
                state,
                reason: reason.to_owned(),
                result_json: String::new(),
            }),
        }
    }

    /// On disk before the order is handed over. A disk that fails is no reason to stand still: what
    /// it forgets the server still refuses to store.
    async fn raise_epoch(&self, key: &CommandKey, epoch: u64) -> bool {
        let (desk, plan) = (Arc::clone(&self.desk), key.plan);
        let raised =
            tokio::task::spawn_blocking(move || desk.ledger.lock().raise_epoch(plan, epoch));
        match raised.await {
            Ok(Ok(is_newest)) => is_newest,
            Ok(Err(error)) => {
                events::ledger_failed(&error);
                true
            }
            Err(_) => true,
        }
    }

    fn hand_over(&self, order: wire::Order, key: CommandKey, deadline: Instant) {
        let Ok(room) = self.orders.try_reserve() else {
            return; // It is given again.
        };
        let (id, desk) = (key.id(), Arc::clone(&self.desk));
        room.send(Order::new(order, key.clone(), deadline, Arc::clone(&desk)));
        tokio::spawn(async move {
            tokio::time::sleep(SAY_DELIVERED_AFTER).await;
            if desk.is_active(id) {
                // Whatever is said after it counts for more, in whichever order they come.
                let delivered = End {
                    key,
                    state: OutcomeState::Delivered,
                    reason: String::new(),
                    result_json: String::new(),
                };
                drop(desk.say(&delivered).await);
            }
        });
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Known = Known {
        state: OutcomeState::Stored,
        is_cancelled: false,
        is_late: false,
        is_active: false,
        has_end: false,
        is_stopped: false,
        is_of_newest_epoch: true,
    };

    #[test]
    fn an_order_is_handed_over_once_and_never_late_cancelled_or_under_an_older_epoch() {
        assert_eq!(fate(NEW), Fate::HandOver);
        let delivered = Known {
            state: OutcomeState::Delivered,
            ..NEW
        };
        assert_eq!(
            fate(delivered),
            Fate::HandOver,
            "an earlier run did not begin it"
        );
        let active = Known {
            is_active: true,
            ..NEW
        };
        assert_eq!(fate(active), Fate::Nothing);
        let late = Known {
            is_late: true,
            ..NEW
        };
        assert!(matches!(fate(late), Fate::Say(OutcomeState::Expired, _)));
        let cancelled = Known {
            is_cancelled: true,
            ..NEW
        };
        assert_eq!(fate(cancelled), Fate::Nothing);
        let stopped = Known {
            is_stopped: true,
            ..NEW
        };
        assert_eq!(fate(stopped), Fate::Say(OutcomeState::Rejected, STOPPED));
        let older = Known {
            is_of_newest_epoch: false,
            ..NEW
        };
        assert!(matches!(
            fate(older),
            Fate::Say(OutcomeState::Superseded, _)
        ));
    }

    #[test]
    fn what_an_earlier_run_began_has_failed_and_what_it_ended_is_said_again() {
        for state in [OutcomeState::Accepted, OutcomeState::Running] {
            let begun = Known { state, ..NEW };
            assert!(matches!(fate(begun), Fate::Say(OutcomeState::Failed, _)));
            let ended = Known {
                has_end: true,
                ..begun
            };
            assert_eq!(fate(ended), Fate::SayAgain);
            let cancelled = Known {
                is_active: true,
                is_cancelled: true,
                ..begun
            };
            assert_eq!(fate(cancelled), Fate::Cancel);
        }
    }
}
