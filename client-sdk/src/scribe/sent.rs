//! The messages that the server has acknowledged last: kept for a while, because a restore of the
//! server's database may lose what it had acknowledged since its backup.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::shelf::Key;

/// Messages kept. When full: the oldest is dropped, as a restore is hoped to be of a newer backup.
pub(super) const MESSAGES_MAX: usize = 1024;

/// Their bodies together, in bytes. When full: as above.
pub(super) const BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much older than the newest one is kept, in milliseconds by the server's clock: a week, so
/// that a nightly backup may fail for some days.
pub(super) const AGE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

#[derive(Debug)]
struct Kept {
    key: Key,
    send: Bytes,
    committed_at_ms: u64,
}

/// In the order of their acks.
#[derive(Debug, Default)]
pub(super) struct Sent {
    kept: BTreeMap<u64, Kept>,
    places: HashMap<Key, u64>,
    last: u64,
    bytes: usize,
}

impl Sent {
    /// Keeps one, and returns those that are dropped for it.
    pub(super) fn keep(&mut self, key: Key, send: Bytes, committed_at_ms: u64) -> Vec<Key> {
        self.forget(&key);
        self.last += 1;
        self.bytes += send.len();
        self.places.insert(key, self.last);
        let kept = Kept {
            key,
            send,
            committed_at_ms,
        };
        self.kept.insert(self.last, kept);
        let mut dropped = Vec::new();
        while let Some((_, oldest)) = self.kept.first_key_value()
            && (self.kept.len() > MESSAGES_MAX
                || self.bytes > BYTES_MAX
                || committed_at_ms.saturating_sub(oldest.committed_at_ms) > AGE_MS_MAX)
        {
            let key = oldest.key;
            self.forget(&key);
            dropped.push(key);
        }
        dropped
    }

    /// It is on its way again.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            let kept = self.kept.remove(&place);
            self.bytes -= kept.map_or(0, |kept| kept.send.len());
        }
    }

    /// All of them; none is kept any more.
    pub(super) fn take(&mut self) -> Vec<(Key, Bytes)> {
        let all = std::mem::take(self).kept;
        all.into_values()
            .map(|kept| (kept.key, kept.send))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ClientMessageId, ConversationId};

    use super::*;

    fn key(n: u64) -> Key {
        (ConversationId::group(1), ClientMessageId::new(n, [1; 10]))
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_too_large_or_too_old() {
        let mut sent = Sent::default();
        let one = || Bytes::from_static(b"x");
        for n in 0..MESSAGES_MAX as u64 {
            assert!(sent.keep(key(n), one(), n).is_empty());
        }
        assert_eq!(sent.keep(key(5000), one(), 5000), [key(0)]);
        // The same again takes no more room than it did.
        assert!(sent.keep(key(1), one(), 5000).is_empty());
        let large = Bytes::from(vec![0; BYTES_MAX - 2]);
        let dropped = sent.keep(key(5001), large, 5001);
        assert_eq!(
            dropped.len(),
            MESSAGES_MAX - 2,
            "two and the large one stay"
        );
        assert_eq!(sent.bytes, BYTES_MAX);
        let late = 5001 + AGE_MS_MAX;
        assert_eq!(sent.keep(key(5002), one(), late).first(), Some(&key(5000)));
        let kept: Vec<_> = sent.take().into_iter().map(|(key, _)| key).collect();
        assert!(kept.ends_with(&[key(5002)]), "in the order of their acks");
        assert_eq!((sent.bytes, sent.places.len()), (0, 0));
    }
}
