//! The store's log, in memory: what a plan of the real `im_store::shard` is committed to, and what
//! is read from it. It outlives every crash of the store.
//!
//! Not a model of an engine: that each engine keeps its word is the contract suite's business.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use im_store::read::{self, Entitlement, Stay};
use im_store::shard::{
    Append, BatchPlan, ConversationState, Digest, IdKey, Known, NewEntry, StoredId,
};
use protocol::wire::internal::{Commit, MembershipsPage};
use protocol::wire::{Account, AccountKind, Entry, Head, MemberChange, Membership, Pull, PullPage};
use protocol::{AccountId, ConversationId, ErrorCode, Refusal, SequenceNumber};

use crate::Fault;

/// Entries before the store that is broken on purpose gives a number twice.
const BROKEN_AFTER: usize = 40;

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) conversations: BTreeMap<ConversationId, Conversation>,
    pub(crate) ids: HashMap<IdKey, StoredId>,
    /// Delivered and read.
    pub(crate) marks: BTreeMap<(ConversationId, AccountId), (u64, u64)>,
    pub(crate) accounts: BTreeMap<AccountId, AccountKind>,
    pub(crate) fault: Fault,
    stored: usize,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) state: ConversationState,
    pub(crate) entries: Vec<Entry>,
    stays: BTreeMap<AccountId, Vec<Stay>>,
}

impl Log {
    /// A group without entries.
    pub(crate) fn group(&mut self, id: ConversationId, history_open: bool) {
        let mut state = ConversationState::new_pair(AccountId(0), AccountId(0));
        state.history_open = history_open;
        state.name = "group".into();
        state.members = std::sync::Arc::default();
        self.insert(id, state);
    }

    fn insert(&mut self, id: ConversationId, state: ConversationState) {
        let stay = Stay {
            joined: SequenceNumber::ZERO,
            left: None,
        };
        let stays = state.members.keys().map(|member| (*member, vec![stay]));
        let conversation = Conversation {
            stays: stays.collect(),
            entries: Vec::new(),
            state,
        };
        self.conversations.insert(id, conversation);
    }

    pub(crate) fn known(&self, batch: &[Append]) -> Known {
        let mut known = Known::default();
        for append in batch {
            let key = (append.conversation, append.sender, append.message_id);
            if let Some(stored) = self.ids.get(&key) {
                known.ids.insert(key, *stored);
            }
            if let Some(conversation) = self.conversations.get(&append.conversation) {
                let state = conversation.state.clone();
                known.conversations.insert(append.conversation, state);
            }
        }
        known
    }

    pub(crate) fn commit(&mut self, batch: &[Append], plan: &BatchPlan, now_ms: u64) {
        for (id, head) in &plan.heads {
            if !self.conversations.contains_key(id) {
                self.insert(*id, head.from.clone());
            }
        }
        for entry in &plan.entries {
            let append = &batch[entry.index];
            let key = (append.conversation, append.sender, append.message_id);
            let stored = StoredId {
                sequence: entry.sequence,
                digest: entry.digest,
                committed_at_ms: now_ms,
            };
            self.ids.insert(key, stored);
            let conversation = self.conversations.get_mut(&append.conversation).unwrap();
            conversation.entries.push(wire_entry(append, entry, now_ms));
            conversation.move_members(entry);
            self.stored += 1;
        }
        for (id, head) in &plan.heads {
            self.conversations.get_mut(id).unwrap().state = head.to.clone();
        }
        if self.fault == Fault::NumberTwice && self.stored > BROKEN_AFTER {
            for id in plan.heads.keys() {
                let head = &mut self.conversations.get_mut(id).unwrap().state.head;
                *head = SequenceNumber(head.0 - 1);
            }
            self.fault = Fault::None;
        }
    }

    pub(crate) fn commits(batch: &[Append], plan: &BatchPlan, now_ms: u64) -> Vec<Commit> {
        let commit = |entry: &NewEntry| {
            let append = &batch[entry.index];
            let state = &plan.heads[&append.conversation].to;
            let changes = entry.changes.iter().map(|change| MemberChange {
                account_id: change.account().0,
                joined: matches!(change, im_store::shard::MemberChange::Joins(..)),
                ..MemberChange::default()
            });
            Commit {
                entry: Some(wire_entry(append, entry, now_ms)),
                membership_sequence: entry.membership.0,
                changes: changes.collect(),
                previous_membership_sequence: entry.previous_membership.0,
                history_open: state.history_open,
                name: state.name.to_string(),
                moves: entry.moves(),
            }
        };
        plan.entries.iter().map(commit).collect()
    }

    pub(crate) fn pull(
        &self,
        account: AccountId,
        pull: Pull,
        now_ms: u64,
    ) -> Result<PullPage, Refusal> {
        let id = ConversationId::from_slice(&pull.conversation_id)?;
        let Some(conversation) = self.conversations.get(&id) else {
            let is_unwritten = id.is_pair_of(account);
            let page = PullPage {
                conversation_id: pull.conversation_id,
                ..PullPage::default()
            };
            let refusal = Refusal::new(ErrorCode::NoSuchConversation, "no such conversation");
            return is_unwritten.then_some(page).ok_or(refusal);
        };
        let stays = conversation
            .stays
            .get(&account)
            .cloned()
            .unwrap_or_default();
        let entitlement = Entitlement::new(stays, conversation.state.history_open)?;
        let after = |entry: &&Entry| entry.sequence > pull.after_sequence;
        let entries = conversation.entries.iter().filter(after);
        let limit = read::page_limit(pull.limit) as usize;
        let entries: Vec<_> = entries.take(limit).cloned().collect();
        let page = if self.fault == Fault::NoVeil {
            entries
        } else {
            read::page(entries, &entitlement, now_ms)
        };
        Ok(PullPage {
            conversation_id: pull.conversation_id,
            entries: page,
            head: conversation.state.head.0,
            trimmed_up_to: 0,
        })
    }

    /// All of them, a page of so many.
    pub(crate) fn memberships(
        &self,
        account: AccountId,
        after: &[u8],
        limit: usize,
    ) -> MembershipsPage {
        let its = self.conversations.iter().filter(|(id, conversation)| {
            &id.as_bytes()[..] > after && conversation.state.members.contains_key(&account)
        });
        let mut memberships: Vec<_> = its
            .filter_map(|(id, conversation)| {
                let joined = conversation.stays.get(&account)?.last()?.joined.0;
                let (delivered, read) = self.marks.get(&(*id, account)).copied().unwrap_or((0, 0));
                let history_open = conversation.state.history_open;
                Some(Membership {
                    conversation_id: id.to_bytes(),
                    name: conversation.state.name.to_string(),
                    head: conversation.state.head.0,
                    joined_sequence: joined,
                    readable_from: if history_open { 1 } else { joined.max(1) },
                    delivered,
                    read,
                    unread: 0,
                    role: 0,
                    parted_at: 0,
                })
            })
            .collect();
        let more = memberships.len() > limit;
        memberships.truncate(limit);
        MembershipsPage {
            memberships,
            more,
            history_generation: 0,
        }
    }

    pub(crate) fn heads(&self) -> Vec<Head> {
        let head = |(id, conversation): (&ConversationId, &Conversation)| Head {
            conversation_id: id.to_bytes(),
            head: conversation.state.head.0,
        };
        let with_entries = self.conversations.iter();
        let with_entries = with_entries.filter(|(_, one)| one.state.head > SequenceNumber::ZERO);
        with_entries.map(head).collect()
    }

    /// They only rise, belong to members, and never pass the head.
    pub(crate) fn raise_mark(
        &mut self,
        id: ConversationId,
        account: AccountId,
        (delivered, read): (u64, u64),
    ) {
        let Some(conversation) = self.conversations.get(&id) else {
            return;
        };
        if conversation.state.members.contains_key(&account) {
            let head = conversation.state.head.0;
            let marks = self.marks.entry((id, account)).or_default();
            marks.0 = marks.0.max(delivered.min(head));
            marks.1 = marks.1.max(read.min(head));
        }
    }

    pub(crate) fn account(&self, account: AccountId) -> Account {
        let kind = self.accounts.get(&account).copied().unwrap_or_default();
        Account {
            account_id: account.0,
            kind: kind.into(),
            name: format!("account-{account}"),
            capabilities: None,
        }
    }
}

impl Conversation {
    fn move_members(&mut self, entry: &NewEntry) {
        for change in &entry.changes {
            let stays = self.stays.entry(change.account()).or_default();
            if matches!(change, im_store::shard::MemberChange::Joins(..)) {
                stays.push(Stay {
                    joined: entry.sequence,
                    left: None,
                });
            } else if let Some(stay) = stays.last_mut() {
                stay.left = Some(entry.sequence);
            }
        }
    }
}

fn wire_entry(append: &Append, entry: &NewEntry, committed_at_ms: u64) -> Entry {
    Entry {
        conversation_id: append.conversation.to_bytes(),
        sequence: entry.sequence.0,
        sender: append.sender.0,
        client_message_id: append.message_id.to_bytes(),
        kind: append.kind.into(),
        content: append.content.clone(),
        committed_at_ms,
        priority: append.priority.into(),
        deliver_before_ms: append.deliver_before_ms,
    }
}

/// Tells bodies apart, and no more.
pub(crate) fn digest(append: &Append) -> Digest {
    let mut hasher = DefaultHasher::new();
    (i32::from(append.kind), &append.content).hash(&mut hasher);
    let half = hasher.finish().to_be_bytes();
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&half);
    digest
}
