//! What all orders of a run share: the ledger, which orders are at work, and the word to the server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::ClientMessageId;
use protocol::command::CommandKey;
use protocol::kind::client as kind;
use protocol::wire::{self, OutcomeState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ledger::{End, OrderLedger};
use crate::client::Client;
use crate::error::Error;
use crate::events;

/// Progress is told at most so often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The pause before something is said again that the server has not taken.
pub(super) const SAY_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) ledger: Mutex<OrderLedger>,
    /// Handed over in this run, until the server has their end.
    active: Mutex<HashMap<ClientMessageId, CancellationToken>>,
}

impl Desk {
    pub(super) fn new(client: Client, ledger: OrderLedger) -> Self {
        Self {
            client,
            ledger: Mutex::new(ledger),
            active: Mutex::default(),
        }
    }

    /// An order is handed over. What tells it that it is cancelled.
    pub(super) fn begin(&self, order: ClientMessageId) -> CancellationToken {
        let cancel = CancellationToken::new();
        self.active.lock().insert(order, cancel.clone());
        cancel
    }

    /// Nothing more is said of an order.
    pub(super) fn done(&self, order: ClientMessageId) {
        self.active.lock().remove(&order);
    }

    pub(super) fn is_active(&self, order: ClientMessageId) -> bool {
        self.active.lock().contains_key(&order)
    }

    pub(super) fn cancel(&self, order: ClientMessageId) {
        if let Some(cancel) = self.active.lock().get(&order) {
            cancel.cancel();
        }
    }

    /// Says it once. The state after it.
    pub(super) async fn say(&self, said: &End) -> Result<OutcomeState, Error> {
        self.report(wire::OutcomeReport {
            key: Some(said.key.to_wire()),
            state: said.state.into(),
            reason: said.reason.clone(),
            result_json: said.result_json.clone(),
            ..wire::OutcomeReport::default()
        })
        .await
    }

    async fn report(&self, report: wire::OutcomeReport) -> Result<OutcomeState, Error> {
        let request = wire::ReportOutcomes {
            reports: vec![report],
        };
        let answer: wire::OutcomesReported =
            self.client.request(kind::REPORT_OUTCOMES, &request).await?;
        let state = answer.states.first().copied().unwrap_or_default();
        Ok(OutcomeState::try_from(state).unwrap_or_default())
    }

    /// Writes down how an order ended, and says it until the server has it.
    pub(super) async fn end(self: Arc<Self>, end: End) -> Result<OutcomeState, Error> {
        let (desk, kept) = (Arc::clone(&self), end.clone());
        let written = tokio::task::spawn_blocking(move || desk.ledger.lock().end(&kept)).await;
        if let Ok(Err(error)) = written {
            // It is said all the same; only a crash before that would forget it.
            events::ledger_failed(&error);
        }
        self.tell_end(end).await
    }

    async fn tell_end(&self, end: End) -> Result<OutcomeState, Error> {
        let id = end.key.id();
        loop {
            match self.say(&end).await {
                Ok(state) => {
                    if let Err(error) = self.ledger.lock().told(id) {
                        events::ledger_failed(&error);
                    }
                    self.done(id);
                    return Ok(state);
                }
                Err(error @ (Error::Closed | Error::Refused(_))) => {
                    self.done(id);
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(SAY_AGAIN).await,
            }
        }
    }

    pub(super) fn end_later(self: &Arc<Self>, end: End) {
        let desk = Arc::clone(self);
        // Without a runtime there is no client either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(desk.end(end).await) });
        }
    }
}

/// While one word is on its way only the newest waits.
pub(super) async fn tell_progress(
    desk: Arc<Desk>,
    key: CommandKey,
    mut reached: watch::Receiver<u32>,
) {
    let mut is_kept = false;
    loop {
        let percent = *reached.borrow_and_update();
        let report = wire::OutcomeReport {
            key: Some(key.to_wire()),
            state: OutcomeState::Running.into(),
            progress_percent: percent,
            is_progress: is_kept,
            ..wire::OutcomeReport::default()
        };
        match desk.report(report).await {
            Ok(_) => {
                // The first is kept without its number, which is told again.
                let again = !std::mem::replace(&mut is_kept, true) && percent > 0;
                if again {
                    continue;
                }
            }
            Err(Error::Closed | Error::Refused(_)) => return,
            // Whoever misses one sees the next, or the end.
            Err(_) => {}
        }
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        if reached.changed().await.is_err() {
            return;
        }
    }
}
