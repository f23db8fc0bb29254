//! What becomes of one command: from what is pushed, and, where that does not add up, from what is
//! asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::AccountId;
use protocol::command;
use protocol::wire::{self, OutcomeCounts, OutcomeState};
use tokio::sync::watch;
use tokio::time::Instant;

use super::news::Heard;
use super::{CommandKey, Outcome};
use crate::client::Client;
use crate::error::Error;

/// How long a watch hears nothing before it asks by itself.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// How long counts may disagree with what was heard before it is asked: the rest may be on its way.
const SETTLE: Duration = Duration::from_millis(300);

/// The pause after a question that failed.
const RETRY: Duration = Duration::from_millis(500);

/// What becomes of one command, as it is heard. Dropped, nothing more is heard of it here.
#[derive(Debug)]
pub struct CommandWatch {
    client: Client,
    key: CommandKey,
    epoch: u64,
    is_repeat: bool,
    counts: OutcomeCounts,
    outcomes: BTreeMap<AccountId, Outcome>,
    /// Since when counts and outcomes disagree.
    unsettled_since: Option<Instant>,
    heard_at: Instant,
    session: watch::Receiver<u64>,
}

impl CommandWatch {
    pub(super) fn new(client: Client, key: CommandKey) -> Self {
        let mut session = client.shared().sessions.subscribe();
        session.mark_unchanged();
        client.shared().commands.watch(key.id());
        Self {
            client,
            key,
            epoch: 0,
            is_repeat: false,
            counts: OutcomeCounts::default(),
            outcomes: BTreeMap::new(),
            unsettled_since: None,
            heard_at: Instant::now(),
            session,
        }
    }

    /// It is stored.
    pub(super) fn sent(&mut self, sent: &wire::CommandSent) {
        self.epoch = sent.epoch;
        self.is_repeat = sent.duplicate;
        self.counts = sent.counts.unwrap_or_default();
    }

    /// Which command.
    #[must_use]
    pub const fn key(&self) -> &CommandKey {
        &self.key
    }

    /// The epoch that it was sent under.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it had been stored before.
    #[must_use]
    pub const fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    /// How many targets are in each state, as last heard.
    #[must_use]
    pub const fn counts(&self) -> &OutcomeCounts {
        &self.counts
    }

    /// What has become of it at each robot that was heard of.
    #[must_use]
    pub const fn outcomes(&self) -> &BTreeMap<AccountId, Outcome> {
        &self.outcomes
    }

    /// Whether nothing more is expected, and every outcome is known here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let total = command::total(&self.counts);
        total > 0 && command::open(&self.counts) == 0 && self.agrees()
    }

    /// Waits until something has changed. Cancel-safe.
    ///
    /// # Errors
    /// When the client is closed, or the server refuses for good.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            let shared = Arc::clone(self.client.shared());
            let news = shared.commands.notified();
            tokio::pin!(news);
            // Before looking, so that nothing comes in between.
            news.as_mut().enable();
            if self.hear() {
                return Ok(());
            }
            let ask_at = match self.unsettled_since {
                Some(since) => since + SETTLE,
                None => self.heard_at + ASK_AFTER,
            };
            tokio::select! {
                () = news => continue,
                changed = self.session.changed() => {
                    if changed.is_err() || *self.session.borrow_and_update() == u64::MAX {
                        return Err(Error::Closed);
                    }
                    if shared.session().is_none() {
                        continue;
                    }
                }
                () = tokio::time::sleep_until(ask_at) => {}
            }
            match self.ask().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error @ (Error::Refused(_) | Error::Closed)) => return Err(error),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Waits until nothing more is expected and every outcome is known.
    ///
    /// # Errors
    /// As [`CommandWatch::changed`].
    pub async fn finished(&mut self) -> Result<&BTreeMap<AccountId, Outcome>, Error> {
        while !self.is_over() {
            self.changed().await?;
        }
        Ok(&self.outcomes)
    }

    /// Takes what has come. Returns whether there was anything.
    fn hear(&mut self) -> bool {
        let heard = self.client.shared().commands.take(self.key.id());
        if heard.is_empty() {
            return false;
        }
        for Heard { counts, outcomes } in heard {
            for outcome in outcomes {
                self.learn(Outcome::from_wire(outcome));
            }
            self.counts = counts;
        }
        self.settle();
        true
    }

    /// Pushes may overtake answers: an outcome only moves forward.
    fn learn(&mut self, mut outcome: Outcome) {
        if let Some(known) = self.outcomes.get(&outcome.account) {
            if command::rank(outcome.state) < command::rank(known.state) {
                return;
            }
            if outcome.state == known.state {
                outcome.progress_percent = outcome.progress_percent.max(known.progress_percent);
                outcome.changed_at_ms = outcome.changed_at_ms.min(known.changed_at_ms);
            }
        }
        self.outcomes.insert(outcome.account, outcome);
    }

    fn settle(&mut self) {
        self.heard_at = Instant::now();
        if self.agrees() {
            self.unsettled_since = None;
        } else {
            self.unsettled_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether what was heard adds up to the counts; robots that were not heard of are *stored*.
    fn agrees(&self) -> bool {
        let mut heard = OutcomeCounts::default();
        for outcome in self.outcomes.values() {
            command::add(&mut heard, outcome.state, 1);
        }
        let rest = command::total(&self.counts).saturating_sub(command::total(&heard));
        command::add(&mut heard, OutcomeState::Stored, rest);
        heard == self.counts
    }

    /// Reads all of it. Returns whether something was news.
    pub(super) async fn ask(&mut self) -> Result<bool, Error> {
        let before = (self.counts, self.outcomes.len());
        let mut after = AccountId(0);
        let mut states_moved = false;
        loop {
            let page = self.client.command_status(&self.key, after, 0).await?;
            let more = page.more && !page.outcomes.is_empty();
            self.counts = page.counts;
            self.epoch = page.epoch;
            for outcome in page.outcomes {
                after = outcome.account;
                let known = self.outcomes.get(&outcome.account).map(|known| known.state);
                states_moved |= known != Some(outcome.state);
                self.learn(outcome);
            }
            if !more {
                break;
            }
        }
        self.unsettled_since = None;
        self.settle();
        Ok(states_moved || before != (self.counts, self.outcomes.len()))
    }
}

impl Drop for CommandWatch {
    fn drop(&mut self) {
        self.client.shared().commands.unwatch(self.key.id());
    }
}
