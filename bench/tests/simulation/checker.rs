//! What must hold, told from the log and from what applications saw; shares no code with the tiers.
//!
//! Continuously: nothing is shown, or even pushed, to one who is not entitled to it; each
//! application sees a conversation in order, once, without holes; every send ends in time. In the
//! end: what was acknowledged is in the log, once, under that number; numbers are dense; nothing that
//! was refused is stored; every member has seen all that it must.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use client_sdk::{Message, Receipt, SendError};
use prost::Message as _;
use protocol::content::{self, Content};
use protocol::id::ConversationKind;
use protocol::kind::client as kind;
use protocol::wire::{Entry, EntryKind, Push};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode};

use crate::log::{Conversation, Log};
use crate::net::ConnId;

/// After the fact, a send's outcome may be learnt this much later: the clock's grain.
const GRAIN: Duration = Duration::from_millis(2);

type IdKey = (ConversationId, AccountId, ClientMessageId);

/// What was counted, so that a run which tests nothing shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) acked: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) not_sent: u64,
    pub(crate) shown: u64,
    pub(crate) again: u64,
    pub(crate) pulls: u64,
    pub(crate) heads: u64,
    pub(crate) lists: u64,
}

#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    /// What each application has seen, over all its lives.
    seen: BTreeMap<(AccountId, ConversationId), BTreeSet<u64>>,
    /// The last of each life.
    last: BTreeMap<(usize, u32, ConversationId), u64>,
    /// Of these, what an application has written down: it is never shown again.
    persisted: BTreeMap<(usize, ConversationId), u64>,
    /// The last push of each session.
    pushed: BTreeMap<(ConnId, ConversationId), u64>,
    acked: BTreeMap<IdKey, u64>,
    /// Certainly not stored, and why.
    never: BTreeMap<IdKey, &'static str>,
    repeated: BTreeSet<IdKey>,
    /// When something other than a sign of life or a mark was last asked.
    pub(crate) last_asked: Duration,
}

/// One stay, from the membership entries alone.
#[derive(Debug, Clone, Copy)]
struct Stay {
    from: u64,
    to: Option<u64>,
}

impl Stay {
    fn has(&self, number: u64, history_open: bool) -> bool {
        (history_open || self.from <= number) && self.to.is_none_or(|to| number <= to)
    }
}

impl Checker {
    pub(crate) fn violation(&mut self, violation: String) {
        self.violations.push(violation);
    }

    pub(crate) fn asked(&mut self, asked: u16, at: Duration) {
        self.counts.pulls += u64::from(asked == kind::PULL);
        if ![kind::PING, kind::PONG, kind::MARKS].contains(&asked) {
            self.last_asked = at;
        }
    }

    /// A push has reached a client, over this connection.
    pub(crate) fn pushed(&mut self, log: &Log, (account, conn): (AccountId, ConnId), body: Bytes) {
        for entry in Push::decode(body).unwrap().entries {
            let at = ConversationId::from_slice(&entry.conversation_id).unwrap();
            let number = entry.sequence;
            if let Some(before) = self.pushed.insert((conn, at), number)
                && before >= number
            {
                self.violation(format!(
                    "{number} of {at} was pushed after {before} to {account}"
                ));
            }
            let is_entitled = may_see(log, at, account, entry.sequence);
            if !is_entitled && entry.kind() != EntryKind::Placeholder {
                self.violation(format!("{number} of {at} was pushed to {account}"));
            }
        }
    }

    /// An application has taken a message.
    pub(crate) fn shown(
        &mut self,
        log: &Log,
        (client, life, account): (usize, u32, AccountId),
        message: &Message,
        now_ms: u64,
    ) {
        let (at, number) = (message.conversation, message.sequence.0);
        self.counts.shown += 1;
        let Some(conversation) = log.conversations.get(&at) else {
            return self.violation(format!("{client} saw {at}, which is nowhere"));
        };
        if !may_see(log, at, account, number) {
            self.violation(format!("{number} of {at} was shown to {account}"));
        }
        let is_it = |entry: &&Entry| {
            entry.sequence == number
                && entry.client_message_id == message.client_message_id.to_bytes()
                && entry.sender == message.sender.0
                && content::decode(&entry.content).ok().as_ref() == Some(&message.content)
        };
        if !conversation.entries.iter().any(|entry| is_it(&entry)) {
            self.violation(format!("{number} of {at} is another in the log"));
        }
        let before = self.last.insert((client, life, at), number);
        if before.is_some_and(|before| before >= number) {
            self.violation(format!(
                "{account} saw {number} of {at} after {before:?} in life {life}"
            ));
        }
        if self
            .persisted
            .get(&(client, at))
            .is_some_and(|to| number <= *to)
        {
            self.violation(format!(
                "{account} saw {number} of {at} again in life {life}, which it had written down"
            ));
        }
        let seen = self.seen.entry((account, at)).or_default();
        let hole = holes(conversation, at, account, number, now_ms, |n| {
            before.map_or_else(|| seen.contains(&n), |before| n <= before)
        });
        let is_again = !seen.insert(number);
        self.counts.again += u64::from(is_again);
        if let Some(hole) = hole {
            self.violation(format!(
                "{account} saw {number} of {at} before {hole} in life {life}, after {before:?}"
            ));
        }
        if is_again && !message.redelivered && !message.backlog {
            self.violation(format!(
                "{account} saw {number} of {at} again in life {life}, and was not told so"
            ));
        }
    }

    /// The application uses an id again.
    pub(crate) fn repeated(&mut self, key: IdKey) {
        self.repeated.insert(key);
    }

    /// An application has written down how far it is.
    pub(crate) fn persisted(&mut self, client: usize, life: u32) {
        for ((of, in_life, at), number) in &self.last {
            if (*of, *in_life) == (client, life) {
                self.persisted.insert((client, *at), *number);
            }
        }
    }

    /// A send has its outcome.
    pub(crate) fn ended(
        &mut self,
        log: &Log,
        key: IdKey,
        is_repeat: bool,
        outcome: &Result<Receipt, SendError>,
        (took, timeout): (Duration, Duration),
    ) {
        if took > timeout + GRAIN {
            self.violation(format!("a send took {took:?}, and had {timeout:?}"));
        }
        match outcome {
            Ok(receipt) => {
                self.counts.acked += 1;
                let number = receipt.sequence.0;
                if place(log, &key) != [number] {
                    self.violation(format!(
                        "acked as {number}: {key:?}: {:?}",
                        place(log, &key)
                    ));
                }
                if let Some(before) = self.acked.insert(key, number)
                    && before != number
                {
                    self.violation(format!("{key:?} acked as {before} and {number}"));
                }
            }
            Err(SendError::OutcomeUnknown { .. }) => self.counts.unknown += 1,
            // What became of one use of an id says nothing of its others.
            Err(_) if is_repeat => self.counts.refused += 1,
            Err(SendError::Refused(refusal)) => {
                self.counts.refused += 1;
                if refusal.code != ErrorCode::TooOld {
                    self.never.insert(key, "refused");
                }
            }
            Err(SendError::NotSent { .. }) => {
                self.counts.not_sent += 1;
                self.never.insert(key, "not sent");
            }
            Err(SendError::QueueFull | SendError::Closed) => {
                self.violation("a send was not taken".to_owned());
            }
        }
    }

    /// The end of a seed, when all is quiet.
    pub(crate) fn finish(&mut self, log: &Log, accounts: &[AccountId]) {
        for (at, conversation) in &log.conversations {
            let numbers = conversation.entries.iter().map(|entry| entry.sequence);
            if !numbers.eq(1..=conversation.entries.len() as u64) {
                self.violation(format!("the numbers of {at} are not dense"));
            }
            let ids = conversation.entries.iter();
            let ids: BTreeSet<_> = ids
                .map(|entry| (entry.sender, &entry.client_message_id))
                .collect();
            if ids.len() != conversation.entries.len() {
                self.violation(format!("an id is in {at} twice"));
            }
            for account in accounts {
                self.finish_member(log, (*at, conversation), *account);
            }
        }
        let lost = self.acked.iter();
        let mut wrong: Vec<_> = lost
            .filter(|(key, number)| place(log, key) != [**number])
            .map(|(key, number)| format!("acked as {number} and not there: {key:?}"))
            .collect();
        let stored = self.never.iter();
        wrong.extend(
            stored
                .filter(|(key, _)| !self.repeated.contains(key) && !place(log, key).is_empty())
                .map(|(key, why)| format!("{why}, and stored: {key:?}")),
        );
        self.violations.extend(wrong);
    }

    fn finish_member(
        &mut self,
        log: &Log,
        (at, conversation): (ConversationId, &Conversation),
        account: AccountId,
    ) {
        let stays = stays(conversation, at, account);
        let Some(stay) = stays.last().filter(|stay| stay.to.is_none()) else {
            return;
        };
        let seen = self.seen.get(&(account, at)).cloned().unwrap_or_default();
        let history_open = conversation.state.history_open;
        let must = |entry: &&Entry| {
            let is_shown = must_be_shown(&stays, stay, entry.sequence, history_open);
            is_shown && entry.deliver_before_ms == 0
        };
        let must: Vec<_> = conversation.entries.iter().filter(must).collect();
        let missing: Vec<_> = must
            .iter()
            .map(|entry| entry.sequence)
            .filter(|number| !seen.contains(number))
            .collect();
        if !missing.is_empty() {
            let head = conversation.entries.len();
            self.violation(format!("{account} never saw {missing:?} of {at} to {head}"));
        }
        let (delivered, _) = log.marks.get(&(at, account)).copied().unwrap_or((0, 0));
        let ahead = must.iter().map(|entry| entry.sequence);
        if let Some(unseen) = ahead
            .filter(|number| *number <= delivered)
            .find(|number| !seen.contains(number))
        {
            self.violation(format!(
                "{account} has marked {delivered} of {at} and not seen {unseen}"
            ));
        }
    }
}

/// The first number below this one, of the same stay, that should have been seen before.
fn holes(
    conversation: &Conversation,
    at: ConversationId,
    account: AccountId,
    number: u64,
    now_ms: u64,
    was_seen: impl Fn(u64) -> bool,
) -> Option<u64> {
    let history_open = conversation.state.history_open;
    let stays = stays(conversation, at, account);
    let stay = stays.iter().rev().find(|stay| stay.has(number, false))?;
    let is_hole = |entry: &&Entry| {
        let is_expired = entry.deliver_before_ms != 0 && entry.deliver_before_ms <= now_ms;
        entry.sequence < number
            && must_be_shown(&stays, stay, entry.sequence, history_open)
            && !is_expired
            && !was_seen(entry.sequence)
    };
    let mut entries = conversation.entries.iter();
    entries.find(is_hole).map(|entry| entry.sequence)
}

/// What is handed over to a member in this stay: the stay itself, and where the history is open, its
/// earlier stays and what was before the first. What was between two stays it may read, but when its
/// number came the account may have been out, and then it came as a placeholder.
fn must_be_shown(stays: &[Stay], stay: &Stay, number: u64, history_open: bool) -> bool {
    let between = || !stays.iter().any(|stay| stay.has(number, false));
    let before_all = stays.first().is_some_and(|first| number < first.from);
    stay.has(number, history_open) && (before_all || !between())
}

fn may_see(log: &Log, at: ConversationId, account: AccountId, number: u64) -> bool {
    let Some(conversation) = log.conversations.get(&at) else {
        return false;
    };
    let history_open = conversation.state.history_open;
    let stays = stays(conversation, at, account);
    stays.iter().any(|stay| stay.has(number, history_open))
}

/// All stays of an account, from what the log itself says.
fn stays(conversation: &Conversation, at: ConversationId, account: AccountId) -> Vec<Stay> {
    if let ConversationKind::Pair(low, high) = at.kind() {
        let is_in = low == account || high == account;
        let always = Stay { from: 1, to: None };
        return is_in.then_some(always).into_iter().collect();
    }
    let mut stays = Vec::<Stay>::new();
    let entries = conversation.entries.iter();
    for entry in entries.filter(|entry| entry.kind() == EntryKind::Membership) {
        let Ok(Content::Membership(said)) = content::decode(&entry.content) else {
            panic!("a membership entry that says something else");
        };
        for change in said.changes.iter().filter(|c| c.account_id == account.0) {
            let is_in = stays.last().is_some_and(|stay| stay.to.is_none());
            if change.joined && !is_in {
                let from = entry.sequence;
                stays.push(Stay { from, to: None });
            } else if let Some(stay) = stays.last_mut().filter(|_| !change.joined && is_in) {
                stay.to = Some(entry.sequence);
            }
        }
    }
    stays
}

/// Where in the log this message is.
fn place(log: &Log, (at, sender, id): &IdKey) -> Vec<u64> {
    let entries = log.conversations.get(at).map(|one| one.entries.iter());
    let its = entries.into_iter().flatten().filter(|entry| {
        entry.sender == sender.0 && entry.client_message_id[..] == id.as_bytes()[..]
    });
    its.map(|entry| entry.sequence).collect()
}
