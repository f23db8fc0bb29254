//! Decides what becomes of each append of a batch: its sequence number, or why it gets none.
//!
//! Pure: the batch, what the engine looked up, and `now_ms` go in; verdicts and rows come out. What
//! is decided here holds only if the engine commits it against the same heads (compare-and-set).
//! Not here: SQL, and the gathering of batches.

mod amend;
mod group;
mod ruled;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol::id::ConversationKind;
use protocol::media::MediaId;
use protocol::wire::{EntryKind, Priority, Role};
use protocol::{
    AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Rights, SequenceNumber,
};

pub use self::amend::{Target, TargetKey};
pub use self::group::{Attributes, GroupChange, MemberChange, Moves};
pub use self::ruled::Ruled;

/// For how long ids are kept, in milliseconds: 30 days. An older id is refused, never stored anew.
pub const ID_HORIZON_MS: u64 = 30 * 24 * 3600 * 1000;

/// How far a client's clock may run ahead in an id, in milliseconds: a day.
pub const ID_AHEAD_MS_MAX: u64 = 24 * 3600 * 1000;

/// One message on its way into a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub conversation: ConversationId,
    /// Who sends it.
    pub sender: AccountId,
    /// Its id, the same for every retry.
    pub message_id: ClientMessageId,
    /// What it is.
    pub kind: EntryKind,
    /// The encoded content.
    pub content: Bytes,
    /// Its lane.
    pub priority: Priority,
    /// Not handed over after this, in Unix milliseconds; 0: no deadline.
    pub deliver_before_ms: u64,
    /// What the sender may do, by its role; the sender's role is found out here.
    pub rights: Rights,
    /// With a membership entry: what it changes.
    pub changes: Vec<MemberChange>,
    /// With an entry by which the group changes otherwise: how.
    pub group: Option<GroupChange>,
    /// With a recall or an edit: the entry that it is about.
    pub target: Option<SequenceNumber>,
    /// What the rules of the fleet say of it.
    pub ruled: Ruled,
    /// The entry that it answers.
    pub reply_to: Option<SequenceNumber>,
}

impl Append {
    /// Whether it changes an earlier entry.
    #[must_use]
    pub const fn amends(&self) -> bool {
        matches!(self.kind, EntryKind::Recall | EntryKind::Edit)
    }

    /// The entry that it changes.
    #[must_use]
    pub fn target_key(&self) -> Option<TargetKey> {
        let target = self.target.filter(|_| self.amends())?;
        Some((self.conversation, target))
    }
}

/// What tells two messages with the same id apart: a SHA-256 of kind and content, cut to 16 bytes.
pub type Digest = [u8; 16];

/// What makes an id unique.
pub type IdKey = (ConversationId, AccountId, ClientMessageId);

/// An id that is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredId {
    /// The number it got.
    pub sequence: SequenceNumber,
    /// What it said.
    pub digest: Digest,
    /// When, in Unix milliseconds.
    pub committed_at_ms: u64,
}

/// A conversation as the owner knows it. Valid as long as the head row still says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationState {
    /// The newest entry.
    pub head: SequenceNumber,
    /// The newest entry by which the group changed: its members, or what else there is to it.
    pub membership: SequenceNumber,
    /// The fencing number of the owner.
    pub owner_epoch: u64,
    /// A group's name; empty for a pair.
    pub name: Arc<str>,
    /// Whether a member may read what was before it joined.
    pub history_open: bool,
    /// Who is in it now, and as what. Shared, because a state is copied for each message and rarely
    /// changed.
    pub members: Arc<BTreeMap<AccountId, Role>>,
    /// What applications note of a group.
    pub attributes: Arc<Attributes>,
    /// The entry by which a group was dissolved; zero while it lives.
    pub dissolved: SequenceNumber,
}

impl ConversationState {
    /// A pair before its first entry. Its members follow from its id.
    #[must_use]
    pub fn new_pair(low: AccountId, high: AccountId) -> Self {
        Self {
            head: SequenceNumber::ZERO,
            membership: SequenceNumber::ZERO,
            owner_epoch: 0,
            name: "".into(),
            history_open: false,
            members: Arc::new(BTreeMap::from(
                [low, high].map(|account| (account, Role::Member)),
            )),
            attributes: Arc::default(),
            dissolved: SequenceNumber::ZERO,
        }
    }
}

/// What becomes of one append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Stored by this batch, if it commits.
    Store(SequenceNumber),
    /// Stored before, or earlier in this batch: the first answer again.
    Duplicate {
        /// The number it got.
        sequence: SequenceNumber,
        /// When, in Unix milliseconds.
        committed_at_ms: u64,
    },
    /// A membership entry that would change nothing: not stored, no number.
    NothingToDo,
    /// Not stored, final.
    Refuse(Refusal),
}

/// One row to insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Which append of the batch.
    pub index: usize,
    /// Its number.
    pub sequence: SequenceNumber,
    /// The digest of what it says.
    pub digest: Digest,
    /// What of its changes has an effect.
    pub changes: Vec<MemberChange>,
    /// The newest entry that changed the group, as of this one (this one, if it is one).
    pub membership: SequenceNumber,
    /// The one before this one, if it is one.
    pub previous_membership: SequenceNumber,
}

impl NewEntry {
    /// Whether it changes the group, its members or not.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.membership == self.sequence
    }
}

/// A head row to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadMove {
    /// What it must still be, in its numbers. A pair has no row before its first entry, unless a
    /// fence has made one: that has an epoch.
    pub from: ConversationState,
    /// What it becomes.
    pub to: ConversationState,
    /// The contents that this batch adds, in bytes.
    pub bytes: u64,
    /// The name, the attributes or the end of the group are to be written.
    pub regroups: bool,
}

impl HeadMove {
    /// Whether it makes the row of a pair, with the pair's first entry.
    #[must_use]
    pub fn is_new_pair(&self, conversation: ConversationId) -> bool {
        self.from.head == SequenceNumber::ZERO
            && self.from.owner_epoch == 0
            && matches!(conversation.kind(), ConversationKind::Pair(..))
    }
}

/// The plan of a batch.
#[derive(Debug, Default)]
pub struct BatchPlan {
    /// One for each append, in order.
    pub verdicts: Vec<Verdict>,
    /// What to insert, in order.
    pub entries: Vec<NewEntry>,
    /// What to move, by conversation.
    pub heads: BTreeMap<ConversationId, HeadMove>,
}

/// What the engine knows of a batch's ids and conversations.
#[derive(Debug, Default)]
pub struct Known {
    /// The ids of the batch that are stored.
    pub ids: HashMap<IdKey, StoredId>,
    /// The conversations of the batch that exist.
    pub conversations: HashMap<ConversationId, ConversationState>,
    /// The entries that its recalls and edits are about, as far as they are there.
    pub targets: HashMap<TargetKey, Target>,
    /// The media that its messages refer to, as far as they are there.
    pub media: HashMap<MediaId, crate::media::Record>,
}

/// Decides a batch.
#[must_use]
pub fn plan(
    batch: &[Append],
    digest: impl Fn(&Append) -> Digest,
    known: &Known,
    now_ms: u64,
) -> BatchPlan {
    let mut planner = Planner {
        known,
        now_ms,
        new_ids: HashMap::new(),
        recalled: HashSet::new(),
        plan: BatchPlan::default(),
    };
    for (index, append) in batch.iter().enumerate() {
        let digest = digest(append);
        let verdict = planner
            .decide(index, append, digest)
            .unwrap_or_else(Verdict::Refuse);
        planner.plan.verdicts.push(verdict);
    }
    planner.plan
}

struct Planner<'a> {
    known: &'a Known,
    now_ms: u64,
    /// Ids that this batch stores: twice the same id within it is one message too.
    new_ids: HashMap<IdKey, StoredId>,
    /// What this batch recalls.
    recalled: HashSet<TargetKey>,
    plan: BatchPlan,
}

impl Planner<'_> {
    fn decide(
        &mut self,
        index: usize,
        append: &Append,
        digest: Digest,
    ) -> Result<Verdict, Refusal> {
        let key = (append.conversation, append.sender, append.message_id);
        if let Some(stored) = self.known.ids.get(&key).or_else(|| self.new_ids.get(&key)) {
            return repeat(stored, digest);
        }
        check_age(append, self.now_ms)?;
        let from = self.before(append.conversation)?;
        let moved = self.plan.heads.get(&append.conversation);
        let now = moved.map_or(&from, |head| &head.to);
        let bytes = moved.map_or(0, |head| head.bytes) + append.content.len() as u64;
        let opens = now.head == SequenceNumber::ZERO && append.kind == EntryKind::Membership;
        let sender = group::sender(now, append, opens)?;
        append.ruled.check()?;
        self.check_target(append)?;
        crate::media::check_reference(append, &self.known.media)?;
        check_reply(append, now.head)?;
        let mut to = now.clone();
        to.head = to.head.next();
        let applied = group::apply(&mut to, append, sender)?;
        if matches!(append.kind, EntryKind::Membership | EntryKind::Group) {
            if applied == Moves::default() {
                return Ok(Verdict::NothingToDo);
            }
            to.membership = to.head;
        }
        let regroups = applied.regroups || moved.is_some_and(|head| head.regroups);
        self.plan.entries.push(NewEntry {
            index,
            sequence: to.head,
            digest,
            changes: applied.changes,
            membership: to.membership,
            previous_membership: now.membership,
        });
        if append.kind == EntryKind::Recall {
            self.recalled.extend(append.target_key());
        }
        let stored = StoredId {
            sequence: to.head,
            digest,
            committed_at_ms: self.now_ms,
        };
        self.new_ids.insert(key, stored);
        let head = HeadMove {
            from,
            to,
            bytes,
            regroups,
        };
        self.plan.heads.insert(append.conversation, head);
        Ok(Verdict::Store(stored.sequence))
    }

    fn check_target(&self, append: &Append) -> Result<(), Refusal> {
        if !append.amends() {
            return Ok(());
        }
        let key = append.target_key();
        let target = key.filter(|key| !self.recalled.contains(key));
        amend::check(append, target.and_then(|key| self.known.targets.get(&key)))
    }

    /// The conversation as it is in the database.
    fn before(&self, conversation: ConversationId) -> Result<ConversationState, Refusal> {
        if let Some(state) = self.known.conversations.get(&conversation) {
            return Ok(state.clone());
        }
        match conversation.kind() {
            ConversationKind::Pair(low, high) => Ok(ConversationState::new_pair(low, high)),
            ConversationKind::Group(_) => Err(Refusal::new(
                ErrorCode::NoSuchConversation,
                format!("there is no conversation {conversation}"),
            )),
        }
    }
}

fn repeat(stored: &StoredId, digest: Digest) -> Result<Verdict, Refusal> {
    if stored.digest == digest {
        let StoredId {
            sequence,
            committed_at_ms,
            ..
        } = *stored;
        return Ok(Verdict::Duplicate {
            sequence,
            committed_at_ms,
        });
    }
    Err(Refusal::new(
        ErrorCode::Conflict,
        format!(
            "the same client_message_id was stored as {} with another body",
            stored.sequence
        ),
    ))
}

/// It may have gone since.
fn check_reply(append: &Append, head: SequenceNumber) -> Result<(), Refusal> {
    match append.reply_to {
        Some(entry) if entry > head => Err(Refusal::new(
            ErrorCode::NoSuchEntry,
            format!("reply_to: there is no entry {entry} yet"),
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_age(append: &Append, now_ms: u64) -> Result<(), Refusal> {
    let made_at_ms = append.message_id.made_at_ms();
    if made_at_ms.saturating_add(ID_HORIZON_MS) < now_ms {
        return Err(Refusal::new(
            ErrorCode::TooOld,
            "the client_message_id is older than ids are kept: the outcome is unknown",
        ));
    }
    if made_at_ms > now_ms.saturating_add(ID_AHEAD_MS_MAX) {
        return Err(Refusal::bad_request(
            "client_message_id: its time is more than a day ahead; set the clock",
        ));
    }
    if append.deliver_before_ms != 0 && append.deliver_before_ms <= now_ms {
        return Err(Refusal::new(
            ErrorCode::Expired,
            "deliver_before_ms has passed",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
