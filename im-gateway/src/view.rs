//! Who of the local accounts is a member of one group, as of which membership entry.
//!
//! Content is pushed only under the very view that it was committed with. Whatever makes a view
//! doubtful makes it *unknown*: then members are told heads, and the view is asked for again.
//!
//! Pure. Not here: the views of all groups ([`crate::registry`]).

use std::collections::BTreeSet;

use protocol::{AccountId, SequenceNumber};

/// A moment in the life of the registry. Answers of logic are compared with it: what was read
/// before a view last changed says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(pub u64);

/// The view of one group.
#[derive(Debug, Default)]
pub struct View {
    /// The membership entry that `members` is as of; `None`: unknown.
    as_of: Option<SequenceNumber>,
    /// Local members as of `as_of`.
    members: BTreeSet<AccountId>,
    /// Local accounts that are members as far as anybody knows: those that are told heads.
    candidates: BTreeSet<AccountId>,
    /// Those that have left, and are still owed the entry by which they did.
    leaving: Vec<(SequenceNumber, AccountId)>,
    /// When a move or an answer last changed it.
    changed_at: Tick,
    /// A question about it is on its way.
    is_asked: bool,
    /// The newest entry that anybody told of.
    heard: SequenceNumber,
}

/// A membership entry, as far as local accounts are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The membership entry before it.
    pub previous: SequenceNumber,
    /// The entry.
    pub sequence: SequenceNumber,
    /// Local accounts that joined.
    pub joined: Vec<AccountId>,
    /// Local accounts that left.
    pub left: Vec<AccountId>,
}

/// Whom entries go to.
#[derive(Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The entries themselves, to these.
    Entries(Vec<AccountId>),
    /// Only their head, to these.
    Heads(Vec<AccountId>),
}

impl View {
    /// A session of this account is a member since the entry `joined`, says an answer that was
    /// asked for at `asked_at`. Returns the newest entry that it may have missed: one that went out
    /// to others while it was being asked about.
    pub fn admit(
        &mut self,
        account: AccountId,
        joined: SequenceNumber,
        asked_at: Tick,
    ) -> SequenceNumber {
        let is_new = self.candidates.insert(account);
        let missed = if is_new {
            self.heard
        } else {
            SequenceNumber::default()
        };
        self.leaving.retain(|(_, leaving)| *leaving != account);
        if self.members.contains(&account) {
            return missed;
        }
        // Whoever was a member when asked, since before the view and with no change of it since,
        // is a member as of the view.
        let holds = self.changed_at <= asked_at;
        match self.as_of {
            Some(as_of) if holds && joined <= as_of => {
                self.members.insert(account);
            }
            Some(_) | None => self.as_of = None,
        }
        missed
    }

    /// The account has no session any more, or turned out not to be a member.
    pub fn dismiss(&mut self, account: AccountId) {
        self.candidates.remove(&account);
        self.members.remove(&account);
        self.leaving.retain(|(_, leaving)| *leaving != account);
    }

    /// A membership entry was committed.
    pub fn moved(&mut self, moved: &Move, now: Tick) {
        self.changed_at = now;
        // Who is back is not told any more that it left.
        self.leaving
            .retain(|(_, leaving)| !moved.joined.contains(leaving));
        if self.as_of.is_some_and(|as_of| as_of >= moved.sequence) {
            // An answer was ahead of it, and is the newer word on all who were asked about.
            self.candidates.extend(&moved.joined);
            if !self.candidates.is_subset(&self.members) {
                self.as_of = None;
            }
            return;
        }
        let follows = self.as_of == Some(moved.previous);
        for account in &moved.left {
            if self.candidates.remove(account) {
                self.leaving.push((moved.sequence, *account));
            }
            self.members.remove(account);
        }
        self.candidates.extend(&moved.joined);
        if follows {
            self.members.extend(&moved.joined);
            self.as_of = Some(moved.sequence);
        } else {
            self.as_of = None;
        }
    }

    /// Whom to ask about, if the view is unknown and nobody asks yet.
    pub fn question(&mut self) -> Option<Vec<AccountId>> {
        if self.as_of.is_some() || self.is_asked || self.candidates.is_empty() {
            return None;
        }
        self.is_asked = true;
        Some(self.candidates.iter().copied().collect())
    }

    /// The answer to a question about `asked` from `asked_at`: those of them who are members as of
    /// an entry. Returns those who were thought to be and are not. An answer that came too late is
    /// no answer; the view is then still unknown.
    pub fn answered(
        &mut self,
        asked: &[AccountId],
        members: BTreeSet<AccountId>,
        as_of: SequenceNumber,
        (asked_at, now): (Tick, Tick),
    ) -> Vec<AccountId> {
        self.is_asked = false;
        let asked: BTreeSet<_> = asked.iter().copied().collect();
        if self.changed_at > asked_at || !self.candidates.is_subset(&asked) {
            return Vec::new();
        }
        self.changed_at = now;
        let gone = self.candidates.difference(&members).copied().collect();
        self.members = members.intersection(&self.candidates).copied().collect();
        self.candidates.clone_from(&self.members);
        self.as_of = Some(as_of);
        gone
    }

    /// The question failed.
    pub const fn not_answered(&mut self) {
        self.is_asked = false;
    }

    /// Changes of members may have been missed.
    pub const fn doubt(&mut self, now: Tick) {
        self.as_of = None;
        self.changed_at = now;
    }

    /// Whom entries up to `last` go to, which were committed under the membership entry
    /// `membership`.
    pub fn recipients(&mut self, membership: SequenceNumber, last: SequenceNumber) -> Recipients {
        self.heard = self.heard.max(last);
        if self.as_of == Some(membership) {
            let mut to: Vec<_> = self.members.iter().copied().collect();
            // The entry by which somebody leaves is the last that it gets.
            to.extend(self.leaving_at(last));
            return Recipients::Entries(to);
        }
        if self.as_of < Some(membership) {
            // A move was lost on the way.
            self.as_of = None;
        }
        let mut to: Vec<_> = self.candidates.iter().copied().collect();
        to.extend(self.leaving_at(last));
        Recipients::Heads(to)
    }

    /// There are entries up to here, which are not pushed. Returns whom that is told: candidates,
    /// and those for whom the log ends there.
    pub fn hear(&mut self, head: SequenceNumber) -> Vec<AccountId> {
        self.heard = self.heard.max(head);
        let leaving = self.leaving.iter().filter(|(at, _)| *at <= head);
        let leaving = leaving.map(|(_, account)| account);
        self.candidates.iter().chain(leaving).copied().collect()
    }

    /// Those for whom the log ends at or before this entry: they are told, and forgotten.
    pub fn take_leavers(&mut self, up_to: SequenceNumber) -> Vec<AccountId> {
        let mut left = Vec::new();
        self.leaving.retain(|(sequence, account)| {
            if *sequence <= up_to {
                left.push(*account);
            }
            *sequence > up_to
        });
        left
    }

    /// Those who may be shown what is not in the log: members of a known view.
    #[must_use]
    pub fn known_members(&self) -> Option<&BTreeSet<AccountId>> {
        self.as_of.map(|_| &self.members)
    }

    /// Whether this account is a member as far as anybody knows.
    #[must_use]
    pub fn has(&self, account: AccountId) -> bool {
        self.candidates.contains(&account)
    }

    /// Local accounts that are members as far as anybody knows.
    #[must_use]
    pub fn candidates(&self) -> Vec<AccountId> {
        self.candidates.iter().copied().collect()
    }

    /// Whether nobody here has anything to do with the group any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.leaving.is_empty()
    }

    fn leaving_at(&self, sequence: SequenceNumber) -> impl Iterator<Item = AccountId> {
        self.leaving
            .iter()
            .filter(move |(at, _)| *at == sequence)
            .map(|(_, account)| *account)
    }
}

#[cfg(test)]
mod tests;
