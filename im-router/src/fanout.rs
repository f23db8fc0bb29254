//! Makes the notices to gateways: entries of one conversation become one client frame, encoded
//! once, however many gateways and sessions it goes to.
//!
//! Pure. Not here: whom they go to.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use protocol::kind::client;
use protocol::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use protocol::wire::internal::{Commit, Fanout, FanoutEphemeral, MembershipMoved};
use protocol::wire::{self, Entry, Ephemeral, Push};
use protocol::{AccountId, ConversationId, Frame, Refusal, SequenceNumber};
use service_kit::rpc;

/// What an entry costs in a push beyond itself, in bytes: its tag and its length.
const ENTRY_ENVELOPE_BYTES: usize = 5;

/// The longest body of a client frame, in bytes.
const PUSH_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;

/// Consecutive entries of one conversation that travel in one frame.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where they are.
    pub conversation: ConversationId,
    /// The first.
    pub first: SequenceNumber,
    /// The last.
    pub last: SequenceNumber,
    /// Set if this is a membership entry, which is always alone.
    pub moves: Option<Moves>,
    /// The encoded `Fanout`; `None` if no client frame holds the entry: it has to be pulled.
    pub fanout: Option<Bytes>,
}

/// Whom a membership entry moves.
#[derive(Debug, Clone)]
pub struct Moves {
    /// Who joins.
    pub joined: Vec<AccountId>,
    /// Who leaves.
    pub left: Vec<AccountId>,
    /// The encoded `MembershipMoved`.
    pub notice: Bytes,
}

/// Sorts commits into runs. Runs of one conversation are in its order; a commit that makes no
/// sense is its own error.
pub fn runs(commits: Vec<Commit>) -> Vec<Result<Run, Refusal>> {
    let mut drafts = Vec::<Result<Draft, Refusal>>::new();
    let mut newest = HashMap::<ConversationId, usize>::new();
    for commit in commits {
        let draft = match Draft::new(commit) {
            Ok(draft) => draft,
            Err(refusal) => {
                drafts.push(Err(refusal));
                continue;
            }
        };
        let before = newest.get(&draft.conversation).copied();
        let before = before.and_then(|at| drafts.get_mut(at)?.as_mut().ok());
        match before {
            Some(before) if before.is_continued_by(&draft) => before.append(draft),
            Some(_) | None => {
                newest.insert(draft.conversation, drafts.len());
                drafts.push(Ok(draft));
            }
        }
    }
    drafts
        .into_iter()
        .map(|draft| draft.map(Draft::seal))
        .collect()
}

/// A run that may still grow.
struct Draft {
    conversation: ConversationId,
    membership: u64,
    priority: i32,
    entries: Vec<Entry>,
    push_bytes: usize,
    moved: Option<MembershipMoved>,
}

impl Draft {
    fn new(commit: Commit) -> Result<Self, Refusal> {
        let entry = commit
            .entry
            .ok_or_else(|| Refusal::bad_request("commit: without its entry"))?;
        let conversation = ConversationId::from_slice(&entry.conversation_id)?;
        let moved = (commit.moves || !commit.changes.is_empty()).then(|| MembershipMoved {
            conversation_id: entry.conversation_id.clone(),
            previous_membership_sequence: commit.previous_membership_sequence,
            membership_sequence: commit.membership_sequence,
            changes: commit.changes,
            history_open: commit.history_open,
            name: commit.name,
        });
        Ok(Self {
            conversation,
            membership: commit.membership_sequence,
            priority: entry.priority,
            push_bytes: entry.encoded_len() + ENTRY_ENVELOPE_BYTES,
            entries: vec![entry],
            moved,
        })
    }

    /// A membership entry stays alone: those who leave get it, and not what follows.
    fn is_continued_by(&self, next: &Self) -> bool {
        self.moved.is_none()
            && next.moved.is_none()
            && self.membership == next.membership
            && self.priority == next.priority
            && self.last() + 1 == next.first()
            && self.push_bytes + next.push_bytes <= PUSH_BYTES_MAX
    }

    fn append(&mut self, next: Self) {
        self.push_bytes += next.push_bytes;
        self.entries.extend(next.entries);
    }

    fn first(&self) -> u64 {
        self.entries.first().map_or(0, |entry| entry.sequence)
    }

    fn last(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.sequence)
    }

    fn seal(self) -> Run {
        let (first, last) = (self.first(), self.last());
        let deadlines = self.entries.iter().map(|entry| entry.deliver_before_ms);
        let deliver_before_ms = deadlines.filter(|ms| *ms > 0).min().unwrap_or(0);
        let fanout = (self.push_bytes <= PUSH_BYTES_MAX).then(|| {
            let push = Push {
                entries: self.entries,
            };
            rpc::encode(&Fanout {
                conversation_id: self.conversation.to_bytes(),
                membership_sequence: self.membership,
                first_sequence: first,
                last_sequence: last,
                priority: self.priority,
                deliver_before_ms,
                frame: Frame::notice(client::PUSH, &push).to_bytes(),
            })
        });
        Run {
            conversation: self.conversation,
            first: SequenceNumber(first),
            last: SequenceNumber(last),
            moves: self.moved.map(|moved| moves(&moved)),
            fanout,
        }
    }
}

fn moves(moved: &MembershipMoved) -> Moves {
    let of = |joined: bool| {
        let changes = moved
            .changes
            .iter()
            .filter(move |change| change.joined == joined);
        changes.map(|change| AccountId(change.account_id)).collect()
    };
    Moves {
        joined: of(true),
        left: of(false),
        notice: rpc::encode(moved),
    }
}

/// The conversation of an ephemeral message, and its encoded `FanoutEphemeral`.
pub fn ephemeral(message: Ephemeral) -> Result<(ConversationId, Bytes), Refusal> {
    let conversation = ConversationId::from_slice(&message.conversation_id)?;
    if message.encoded_len() > PUSH_BYTES_MAX {
        return Err(Refusal::bad_request("ephemeral: longer than a frame"));
    }
    let frame = Frame::notice(client::EPHEMERAL, &message).to_bytes();
    let notice = rpc::encode(&FanoutEphemeral {
        conversation_id: message.conversation_id,
        sender: message.sender,
        key: message.key,
        frame,
    });
    Ok((conversation, notice))
}

/// The wire form of a head.
#[must_use]
pub fn head(conversation: ConversationId, head: SequenceNumber) -> wire::Head {
    wire::Head {
        conversation_id: conversation.to_bytes(),
        head: head.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::FrameCodec;
    use protocol::limits::CONTENT_BYTES_MAX;
    use protocol::wire::{MemberChange, Priority};
    use tokio_util::codec::Decoder as _;

    fn commit(group: u64, sequence: u64, membership: u64) -> Commit {
        Commit {
            entry: Some(Entry {
                conversation_id: ConversationId::group(group).to_bytes(),
                sequence,
                content: format!("内容{sequence}").into_bytes().into(),
                priority: Priority::Chat.into(),
                ..Entry::default()
            }),
            membership_sequence: membership,
            ..Commit::default()
        }
    }

    fn with(mut commit: Commit, change: impl FnOnce(&mut Entry)) -> Commit {
        change(commit.entry.as_mut().unwrap());
        commit
    }

    fn moving(sequence: u64, previous: u64) -> Commit {
        let change = |account_id, joined| MemberChange {
            account_id,
            joined,
            ..MemberChange::default()
        };
        Commit {
            changes: vec![change(5, true), change(6, false)],
            previous_membership_sequence: previous,
            name: "仓库".into(),
            ..commit(7, sequence, sequence)
        }
    }

    /// The runs as (group, first, last).
    fn check(commits: Vec<Commit>, expected: &[(u64, u64, u64)]) -> Vec<Run> {
        let runs: Vec<_> = runs(commits).into_iter().map(Result::unwrap).collect();
        let told: Vec<_> = runs
            .iter()
            .map(|run| (run.conversation.to_string(), run.first.0, run.last.0))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(group, first, last)| (format!("g{group}"), *first, *last))
            .collect();
        assert_eq!(told, expected);
        runs
    }

    fn opened(run: &Run) -> (Fanout, Push) {
        let fanout = Fanout::decode(run.fanout.clone().unwrap()).unwrap();
        let mut frame = fanout.frame[..].into();
        let frame = FrameCodec::new(FRAME_BYTES_MAX)
            .decode(&mut frame)
            .unwrap()
            .unwrap();
        assert_eq!((frame.kind, frame.correlation), (client::PUSH, 0));
        (fanout, Push::decode(frame.body).unwrap())
    }

    #[test]
    fn interleaved_conversations_become_one_run_each() {
        let mixed = [(7, 4), (8, 1), (7, 5), (8, 2), (7, 6)];
        let commits = mixed.map(|(group, sequence)| commit(group, sequence, 1));
        let runs = check(commits.into(), &[(7, 4, 6), (8, 1, 2)]);
        let (fanout, push) = opened(&runs[0]);
        let numbers: Vec<_> = push.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(numbers, [4, 5, 6]);
        assert_eq!(push.entries[0].content, "内容4".as_bytes());
        assert_eq!((fanout.first_sequence, fanout.last_sequence), (4, 6));
        assert_eq!(fanout.membership_sequence, 1);
        assert_eq!(fanout.priority(), Priority::Chat);
    }

    #[test]
    fn a_membership_entry_travels_alone_and_says_whom_it_moves() {
        let commits = vec![
            commit(7, 4, 1),
            moving(5, 1),
            commit(7, 6, 5),
            commit(7, 7, 5),
        ];
        let runs = check(commits, &[(7, 4, 4), (7, 5, 5), (7, 6, 7)]);
        let moves = runs[1].moves.as_ref().unwrap();
        assert_eq!(
            (&moves.joined[..], &moves.left[..]),
            (&[AccountId(5)][..], &[AccountId(6)][..])
        );
        let moved = MembershipMoved::decode(moves.notice.clone()).unwrap();
        assert_eq!(
            (
                moved.previous_membership_sequence,
                moved.membership_sequence
            ),
            (1, 5)
        );
        assert_eq!(moved.name, "仓库");
        assert_eq!(opened(&runs[1]).0.membership_sequence, 5);
    }

    #[test]
    fn runs_break_at_gaps_and_between_priorities() {
        let urgent = with(commit(7, 5, 1), |entry| {
            entry.priority = Priority::Emergency.into();
        });
        let commits = vec![commit(7, 4, 1), urgent, commit(7, 6, 1), commit(7, 9, 1)];
        check(commits, &[(7, 4, 4), (7, 5, 5), (7, 6, 6), (7, 9, 9)]);
    }

    #[test]
    fn a_run_has_the_earliest_deadline() {
        let until =
            |sequence, ms| with(commit(7, sequence, 1), |entry| entry.deliver_before_ms = ms);
        let commits = vec![until(1, 0), until(2, 900), until(3, 500)];
        let runs = check(commits, &[(7, 1, 3)]);
        assert_eq!(opened(&runs[0]).0.deliver_before_ms, 500);
    }

    #[test]
    fn frames_stay_under_their_limit() {
        let large = |sequence, bytes| {
            with(commit(7, sequence, 1), |entry| {
                entry.content = vec![1; bytes].into()
            })
        };
        let commits = (1..=20).map(|n| large(n, FRAME_BYTES_MAX / 8)).collect();
        let runs = check(commits, &[(7, 1, 7), (7, 8, 14), (7, 15, 20)]);
        for run in &runs {
            assert!(opened(run).0.frame.len() <= FRAME_BYTES_MAX);
        }
        let runs = check(vec![large(1, CONTENT_BYTES_MAX)], &[(7, 1, 1)]);
        opened(&runs[0]);
        let runs = check(vec![large(1, FRAME_BYTES_MAX)], &[(7, 1, 1)]);
        assert!(runs[0].fanout.is_none());
    }

    #[test]
    fn nonsense_costs_only_itself() {
        let bad = with(commit(7, 2, 1), |entry| {
            entry.conversation_id = Bytes::new()
        });
        let results = runs(vec![
            commit(7, 1, 1),
            bad,
            Commit::default(),
            commit(7, 2, 1),
        ]);
        let good: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false]);
        assert_eq!(results[0].as_ref().unwrap().last, SequenceNumber(2));
    }
}
