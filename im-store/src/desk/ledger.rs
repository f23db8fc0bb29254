//! What is due of which command, and when. Pure: news and the time go in.

use std::collections::{BTreeMap, HashMap};

use protocol::wire::TargetOutcome;
use protocol::{AccountId, ClientMessageId};

use crate::command::Command;

/// How long changes are gathered before the issuer is told, in milliseconds.
const TELL_MS: u64 = 50;

/// Changes that are gathered of one command. When full: only counts are told of the rest, and the
/// issuer asks.
const CHANGES_MAX: usize = 16 * 1024;

/// When an order is given again to robots that have not been heard of, after the first time, in
/// milliseconds; the wait doubles.
const GIVE_AGAIN_MS: u64 = 2000;

/// The longest such wait, in milliseconds. Robots that come ask by themselves.
const GIVE_AGAIN_MS_MAX: u64 = 60_000;

/// How long after the deadline a robot that has begun may be silent, in milliseconds: its last word
/// may be on its way.
pub const SILENCE_MS: u64 = 10_000;

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The order is given to robots that need it.
    Give,
    /// What has not begun has expired.
    Expire,
    /// What has begun and is silent has expired.
    Silence,
    /// The issuer is told what has changed.
    Tell,
}

/// The commands of which more is expected.
#[derive(Debug, Default)]
pub struct Ledger {
    open: HashMap<ClientMessageId, Open>,
}

#[derive(Debug)]
struct Open {
    command: Command,
    due: BTreeMap<Due, u64>,
    give_wait_ms: u64,
    changes: BTreeMap<AccountId, TargetOutcome>,
}

impl Open {
    fn new(command: Command, give_at_ms: u64) -> Self {
        let deadline_ms = command.deadline_ms;
        Self {
            command,
            due: BTreeMap::from([
                (Due::Give, give_at_ms),
                (Due::Expire, deadline_ms),
                (Due::Silence, deadline_ms + SILENCE_MS),
            ]),
            give_wait_ms: GIVE_AGAIN_MS,
            changes: BTreeMap::new(),
        }
    }

    fn tell_soon(&mut self, now_ms: u64) {
        self.due.entry(Due::Tell).or_insert(now_ms + TELL_MS);
    }
}

impl Ledger {
    /// It was stored just now, and given to its robots.
    pub fn opened(&mut self, command: Command, now_ms: u64) {
        let open = Open::new(command, now_ms + GIVE_AGAIN_MS);
        self.open.insert(open.command.id(), open);
    }

    /// It was found in the database; it may be known.
    pub fn found(&mut self, command: Command, now_ms: u64) {
        self.open.entry(command.id()).or_insert_with(|| {
            let mut open = Open::new(command, now_ms);
            // Its last change may not have been told, and it may be over.
            open.tell_soon(now_ms);
            open
        });
    }

    /// It has another epoch, or is cancelled: its robots are told at once, and again.
    pub fn renewed(&mut self, command: Command, now_ms: u64) {
        let id = command.id();
        self.found(command.clone(), now_ms);
        if let Some(open) = self.open.get_mut(&id) {
            open.command = command;
            open.give_wait_ms = GIVE_AGAIN_MS;
            open.due.insert(Due::Give, now_ms);
            open.tell_soon(now_ms);
        }
    }

    /// An outcome has changed. Of a command that is not here nobody waits for news.
    pub fn changed(&mut self, command: ClientMessageId, outcome: TargetOutcome, now_ms: u64) {
        let Some(open) = self.open.get_mut(&command) else {
            return;
        };
        let account = AccountId(outcome.account_id);
        if open.changes.len() < CHANGES_MAX || open.changes.contains_key(&account) {
            open.changes.insert(account, outcome);
        }
        open.tell_soon(now_ms);
    }

    /// What is known of a command.
    #[must_use]
    pub fn command(&self, id: ClientMessageId) -> Option<&Command> {
        self.open.get(&id).map(|open| &open.command)
    }

    /// The changes since this was last asked.
    pub fn take_changes(&mut self, id: ClientMessageId) -> Option<(Command, Vec<TargetOutcome>)> {
        let open = self.open.get_mut(&id)?;
        let changes = std::mem::take(&mut open.changes);
        Some((open.command.clone(), changes.into_values().collect()))
    }

    /// Nothing more is expected of it.
    pub fn closed(&mut self, id: ClientMessageId) {
        self.open.remove(&id);
    }

    /// What is due now, each once.
    pub fn due(&mut self, now_ms: u64) -> Vec<(ClientMessageId, Due)> {
        let mut all = Vec::new();
        for (id, open) in &mut self.open {
            let due = open.due.iter().filter(|(_, at_ms)| **at_ms <= now_ms);
            let due: Vec<_> = due.map(|(due, _)| *due).collect();
            for due in due {
                open.due.remove(&due);
                all.push((*id, due));
                let over = open.command.deadline_ms <= now_ms && !open.command.is_cancelled;
                if due == Due::Give && !over {
                    open.due.insert(Due::Give, now_ms + open.give_wait_ms);
                    open.give_wait_ms = (open.give_wait_ms * 2).min(GIVE_AGAIN_MS_MAX);
                }
                // Whatever became of it, the counts have changed, or all is over.
                if due == Due::Silence {
                    open.tell_soon(now_ms);
                }
            }
        }
        all
    }

    /// It could not be done: once more, then.
    pub fn again(&mut self, id: ClientMessageId, due: Due, at_ms: u64) {
        if let Some(open) = self.open.get_mut(&id) {
            open.due.insert(due, at_ms);
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        let all = self.open.values().flat_map(|open| open.due.values());
        all.min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::command::CommandKey;
    use protocol::wire::OutcomeState;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn command() -> Command {
        Command {
            key: CommandKey::new(ClientMessageId::new(NOW_MS, [3; 10]), "s1"),
            epoch: 1,
            issuer: AccountId(1),
            action: "a".into(),
            arguments: "{}".into(),
            digest: [1; 16],
            deadline_ms: NOW_MS + 5000,
            created_at_ms: NOW_MS,
            is_cancelled: false,
            cancel_reason: String::new(),
        }
    }

    fn outcome(account_id: u64, state: OutcomeState) -> TargetOutcome {
        TargetOutcome {
            account_id,
            state: state.into(),
            ..Default::default()
        }
    }

    fn due(ledger: &mut Ledger, at_ms: u64) -> Vec<Due> {
        let mut due: Vec<_> = ledger.due(at_ms).into_iter().map(|(_, due)| due).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn an_order_is_given_again_less_and_less_often_until_its_deadline() {
        let mut ledger = Ledger::default();
        ledger.opened(command(), NOW_MS);
        assert_eq!(ledger.next_wake(), Some(NOW_MS + 2000));
        assert_eq!(due(&mut ledger, NOW_MS + 1999), []);
        assert_eq!(due(&mut ledger, NOW_MS + 2000), [Due::Give]);
        assert_eq!(due(&mut ledger, NOW_MS + 4000), [Due::Give]);
        assert_eq!(due(&mut ledger, NOW_MS + 5000), [Due::Expire]);
        assert_eq!(due(&mut ledger, NOW_MS + 8000), [Due::Give]);
        assert_eq!(due(&mut ledger, NOW_MS + 15_000), [Due::Silence]);
        assert_eq!(due(&mut ledger, NOW_MS + 15_050), [Due::Tell]);
        assert_eq!(ledger.next_wake(), None, "nothing is due of it any more");
    }

    #[test]
    fn changes_are_conflated_and_told_together() {
        let mut ledger = Ledger::default();
        let id = command().id();
        ledger.opened(command(), NOW_MS);
        ledger.changed(id, outcome(7, OutcomeState::Accepted), NOW_MS);
        ledger.changed(id, outcome(8, OutcomeState::Accepted), NOW_MS + 10);
        ledger.changed(id, outcome(7, OutcomeState::Finished), NOW_MS + 20);
        assert_eq!(due(&mut ledger, NOW_MS + 50), [Due::Tell]);
        let (_, changes) = ledger.take_changes(id).unwrap();
        let changes: Vec<_> = changes.iter().map(|c| (c.account_id, c.state())).collect();
        let expected = [(7, OutcomeState::Finished), (8, OutcomeState::Accepted)];
        assert_eq!(changes, expected);
        ledger.closed(id);
        ledger.changed(id, outcome(7, OutcomeState::Failed), NOW_MS);
        assert_eq!(ledger.next_wake(), None);
    }

    #[test]
    fn what_another_store_left_is_given_and_looked_at_once() {
        let mut ledger = Ledger::default();
        ledger.found(command(), NOW_MS);
        ledger.found(command(), NOW_MS + 10);
        assert_eq!(due(&mut ledger, NOW_MS), [Due::Give]);
        assert_eq!(due(&mut ledger, NOW_MS + 50), [Due::Tell]);
    }

    #[test]
    fn what_is_cancelled_is_said_at_once_and_what_failed_is_due_again() {
        let mut ledger = Ledger::default();
        ledger.opened(command(), NOW_MS);
        let cancelled = Command {
            is_cancelled: true,
            ..command()
        };
        ledger.renewed(cancelled, NOW_MS + 10);
        assert_eq!(due(&mut ledger, NOW_MS + 10), [Due::Give]);
        assert!(ledger.command(command().id()).unwrap().is_cancelled);
        ledger.again(command().id(), Due::Tell, NOW_MS + 700);
        assert_eq!(due(&mut ledger, NOW_MS + 700), [Due::Tell]);
    }
}
