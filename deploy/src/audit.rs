//! Counts what was said from two independent witnesses: what clients were handed, and the history
//! read back. Pure. No counter of a server has a part in it.

use std::collections::{BTreeMap, BTreeSet};

use client_sdk::{AccountId, ClientMessageId, ConversationId, SequenceNumber};
use serde::Serialize;

/// One entry of a log that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub sequence: SequenceNumber,
    /// Who sent it.
    pub sender: AccountId,
    /// Its id, if it has one.
    pub id: Option<ClientMessageId>,
    /// Whether members are handed it: a placeholder is not.
    pub is_handed_over: bool,
    /// Whether a client sent it: news of the membership comes from the server.
    pub is_sent: bool,
}

/// A message as a client was handed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its place.
    pub sequence: SequenceNumber,
    /// Its id.
    pub id: ClientMessageId,
    /// When, in microseconds since the recording began.
    pub at_us: u64,
}

/// All that one client was handed of one conversation that it could read from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The conversation.
    pub conversation: ConversationId,
    /// In the order in which it was.
    pub heard: Vec<Heard>,
}

/// What one client sent, in its own count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The client's account, of which it is the only client.
    pub account: AccountId,
    /// Messages.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acked: u64,
}

/// An ack that is known in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The conversation.
    pub conversation: ConversationId,
    /// The place that the ack named.
    pub sequence: SequenceNumber,
    /// The message.
    pub id: ClientMessageId,
}

/// What the two witnesses say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The history of each conversation from its beginning, read after everything else.
    pub logs: BTreeMap<ConversationId, Vec<Stored>>,
    /// What was handed over: a stream for each client and conversation that it is in.
    pub streams: Vec<Stream>,
    /// Who sent how much.
    pub senders: Vec<Sender>,
    /// The acks that are known in full.
    pub acks: Vec<Acked>,
    /// When messages were sent, in microseconds since the recording began, where that is known.
    pub said_at_us: BTreeMap<ClientMessageId, u64>,
}

/// The counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Messages that the clients sent.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acked: u64,
    /// Messages handed over, to all clients together.
    pub delivered: u64,
    /// Messages handed over again, or stored twice.
    pub duplicates: u64,
    /// Messages missing when the next one was handed over, or at the end.
    pub gaps: u64,
    /// Messages acknowledged or handed over, and not in the history as they were.
    pub lost: u64,
    /// Half of the messages were handed over within this time, in microseconds.
    pub p50_us: u64,
    /// All but one in a hundred.
    pub p99_us: u64,
}

impl Evidence {
    /// Weighs it.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for log in self.logs.values() {
            stored_as_it_should(log, &mut audit);
        }
        let mut latencies_us = Vec::new();
        for stream in &self.streams {
            let log = self.logs.get(&stream.conversation);
            stream.compare(log.map_or(&[], Vec::as_slice), &mut audit);
            latencies_us.extend(stream.heard.iter().filter_map(|heard| {
                let said_at_us = self.said_at_us.get(&heard.id)?;
                Some(heard.at_us.saturating_sub(*said_at_us))
            }));
        }
        for sender in &self.senders {
            audit.sent += sender.sent;
            audit.acked += sender.acked;
            audit.lost += sender.acked.saturating_sub(self.stored_of(sender.account));
        }
        let is_missing = |ack: &&Acked| !self.is_stored(ack);
        audit.lost += count(self.acks.iter().filter(is_missing));
        latencies_us.sort_unstable();
        audit.p50_us = percentile(&latencies_us, 50);
        audit.p99_us = percentile(&latencies_us, 99);
        audit
    }

    /// Different messages of one sender in all histories.
    fn stored_of(&self, account: AccountId) -> u64 {
        let entries = self.logs.values().flatten();
        let own = entries.filter(|entry| entry.is_sent && entry.sender == account);
        let ids: BTreeSet<_> = own.filter_map(|entry| entry.id).collect();
        count(ids.into_iter())
    }

    fn is_stored(&self, ack: &Acked) -> bool {
        let mut log = self.logs.get(&ack.conversation).into_iter().flatten();
        log.any(|entry| entry.sequence == ack.sequence && entry.id == Some(ack.id))
    }
}

/// A log has every number once and every message once.
fn stored_as_it_should(log: &[Stored], audit: &mut Audit) {
    let mut ids = BTreeSet::new();
    let mut next = 1;
    for entry in log {
        let number = entry.sequence.0;
        audit.gaps += number.saturating_sub(next);
        audit.duplicates += u64::from(number < next);
        next = next.max(number + 1);
        let is_new = entry.id.is_none_or(|id| ids.insert((entry.sender, id)));
        audit.duplicates += u64::from(entry.is_sent && !is_new);
    }
}

impl Stream {
    fn compare(&self, log: &[Stored], audit: &mut Audit) {
        let head = log.last().map_or(SequenceNumber(0), |last| last.sequence);
        let by_number: BTreeMap<_, _> = log.iter().map(|entry| (entry.sequence, entry)).collect();
        let expected = log.iter().filter(|entry| entry.is_handed_over);
        let mut missing: BTreeSet<_> = expected.map(|entry| entry.sequence).collect();
        let mut seen = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for heard in &self.heard {
            audit.delivered += 1;
            let is_new = ids.insert(heard.id);
            if !seen.insert(heard.sequence) || !is_new {
                audit.duplicates += 1;
                continue;
            }
            missing.remove(&heard.sequence);
            // What is missing now was passed over; when it comes later it was still a gap.
            let later = missing.split_off(&heard.sequence);
            audit.gaps += count(std::mem::replace(&mut missing, later).into_iter());
            let stored = by_number.get(&heard.sequence);
            let is_as_stored = stored.is_some_and(|entry| entry.id == Some(heard.id));
            // What came after the history was read cannot be in it.
            audit.lost += u64::from(heard.sequence <= head && !is_as_stored);
        }
        audit.gaps += count(missing.into_iter());
    }
}

fn count<T>(all: impl Iterator<Item = T>) -> u64 {
    u64::try_from(all.count()).unwrap_or(u64::MAX)
}

/// The nearest rank; 0 of nothing.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: AccountId = AccountId(1);
    const ROBOT: AccountId = AccountId(2);

    fn group() -> ConversationId {
        ConversationId::group(7)
    }

    fn id(n: u64) -> ClientMessageId {
        ClientMessageId::new(n, [0; 10])
    }

    fn stored(n: u64) -> Stored {
        Stored {
            sequence: SequenceNumber(n),
            sender: ANA,
            id: Some(id(n)),
            is_handed_over: true,
            is_sent: true,
        }
    }

    fn heard(numbers: &[u64]) -> Stream {
        let heard = |n: &u64| Heard {
            sequence: SequenceNumber(*n),
            id: id(*n),
            at_us: 100 + 10 * n,
        };
        Stream {
            conversation: group(),
            heard: numbers.iter().map(heard).collect(),
        }
    }

    /// Four messages of Ana, all acknowledged, heard by two.
    fn clean() -> Evidence {
        let ack = |n| Acked {
            conversation: group(),
            sequence: SequenceNumber(n),
            id: id(n),
        };
        Evidence {
            logs: BTreeMap::from([(group(), (1..=4).map(stored).collect())]),
            streams: vec![heard(&[1, 2, 3, 4]), heard(&[1, 2, 3, 4])],
            senders: vec![Sender {
                account: ANA,
                sent: 4,
                acked: 4,
            }],
            acks: (1..=4).map(ack).collect(),
            said_at_us: (1..=4).map(|n| (id(n), 100)).collect(),
        }
    }

    fn faults(evidence: &Evidence) -> (u64, u64, u64) {
        let audit = evidence.audit();
        (audit.duplicates, audit.gaps, audit.lost)
    }

    #[test]
    fn what_is_clean_is_counted_and_has_no_fault() {
        let audit = clean().audit();
        assert_eq!(
            audit,
            Audit {
                sent: 4,
                acked: 4,
                delivered: 8,
                p50_us: 20,
                p99_us: 40,
                ..Audit::default()
            }
        );
    }

    #[test]
    fn a_message_that_comes_twice_is_a_duplicate() {
        let mut evidence = clean();
        evidence.streams[0] = heard(&[1, 2, 2, 3, 4]);
        assert_eq!(faults(&evidence), (1, 0, 0));
        let mut evidence = clean();
        evidence.streams[0] = heard(&[1, 2, 3, 4, 2]);
        assert_eq!(faults(&evidence), (1, 0, 0));
    }

    #[test]
    fn a_message_under_two_numbers_is_a_duplicate_wherever_it_is_seen() {
        let mut evidence = clean();
        let again = Stored {
            sequence: SequenceNumber(5),
            ..stored(4)
        };
        evidence.logs.get_mut(&group()).unwrap().push(again);
        for stream in &mut evidence.streams {
            stream.heard.push(Heard {
                sequence: SequenceNumber(5),
                id: id(4),
                at_us: 0,
            });
        }
        let (duplicates, _, lost) = faults(&evidence);
        assert_eq!((duplicates, lost), (3, 0));
    }

    #[test]
    fn a_message_that_is_missing_or_late_is_a_gap() {
        for (numbers, gaps) in [
            (&[1, 2, 4][..], 1),
            (&[1, 4], 2),
            (&[2, 3, 4], 1),
            (&[1, 2], 2),
            (&[], 4),
            (&[1, 3, 2, 4], 1),
        ] {
            let mut evidence = clean();
            evidence.streams[1] = heard(numbers);
            assert_eq!(faults(&evidence), (0, gaps, 0), "{numbers:?}");
        }
    }

    #[test]
    fn a_placeholder_is_no_gap_and_a_hole_in_history_is() {
        let mut evidence = clean();
        evidence.logs.get_mut(&group()).unwrap()[1].is_handed_over = false;
        evidence.streams = vec![heard(&[1, 3, 4])];
        assert_eq!(faults(&evidence), (0, 0, 0));
        let mut evidence = clean();
        evidence.logs.get_mut(&group()).unwrap()[1] = stored(2);
        evidence.logs.get_mut(&group()).unwrap().remove(1);
        let (_, gaps, lost) = faults(&evidence);
        assert_eq!(gaps, 1, "number 2 is not there");
        assert!(lost > 0);
    }

    #[test]
    fn what_was_acknowledged_and_is_not_in_history_is_lost() {
        let mut evidence = clean();
        evidence.senders.push(Sender {
            account: ROBOT,
            sent: 2,
            acked: 2,
        });
        assert_eq!(faults(&evidence), (0, 0, 2), "by the count alone");
        let mut evidence = clean();
        evidence.acks[2].id = id(99);
        assert_eq!(faults(&evidence), (0, 0, 1), "another is in its place");
        let mut evidence = clean();
        evidence.logs.get_mut(&group()).unwrap().pop();
        let (_, _, lost) = faults(&evidence);
        assert!(lost >= 2, "by the count and by the ack");
    }

    #[test]
    fn what_was_handed_over_is_in_history_as_it_was() {
        let mut evidence = clean();
        evidence.streams[0].heard[1].id = id(42);
        assert_eq!(faults(&evidence), (0, 0, 1));
        let mut evidence = clean();
        evidence.streams[0] = heard(&[1, 2, 3, 4, 5]);
        assert_eq!(faults(&evidence), (0, 0, 0), "5 came after the reading");
    }

    #[test]
    fn membership_news_are_nobodys_message() {
        let mut evidence = clean();
        let log = evidence.logs.get_mut(&group()).unwrap();
        log[0].is_sent = false;
        evidence.senders[0].acked = 4;
        assert_eq!(faults(&evidence), (0, 0, 1));
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(percentile(&[], 99), 0);
        assert_eq!(percentile(&[5], 50), 5);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), 50);
        assert_eq!(percentile(&hundred, 99), 99);
        assert_eq!(percentile(&[1, 2, 3], 99), 3);
    }
}
