//! Who was a member from where to where, by the membership entries of the log.

use std::collections::BTreeMap;

use super::collect::Conversation;

/// From the entry by which an account joined to the one by which it left, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) from: u64,
    /// `None`: it is still a member.
    pub(super) to: Option<u64>,
}

impl Stay {
    pub(super) fn covers(self, sequence: u64) -> bool {
        sequence >= self.from && self.to.is_none_or(|to| sequence <= to)
    }
}

/// The stays of each account, in order.
pub(super) fn of_log(conversation: &Conversation) -> BTreeMap<u64, Vec<Stay>> {
    let mut stays: BTreeMap<u64, Vec<Stay>> = BTreeMap::new();
    for account in &conversation.pair {
        stays.insert(*account, vec![Stay { from: 1, to: None }]);
    }
    for entry in &conversation.entries {
        for change in &entry.changes {
            let of_account = stays.entry(change.account).or_default();
            let open = of_account.last_mut().filter(|stay| stay.to.is_none());
            match (change.joined, open) {
                (true, None) => of_account.push(Stay {
                    from: entry.sequence,
                    to: None,
                }),
                (false, Some(open)) => open.to = Some(entry.sequence),
                // Who is in cannot join, and who is out cannot leave: it changes nothing.
                (true, Some(_)) | (false, None) => {}
            }
        }
    }
    stays
}

#[cfg(test)]
mod tests {
    use super::super::collect::Entry;
    use super::*;
    use crate::record::{Change, Says};

    #[test]
    fn stays_are_derived_from_the_entries() {
        let entry = |sequence, joined| Entry {
            sequence,
            says: Says::Membership,
            changes: vec![Change { account: 7, joined }],
        };
        let log = Conversation {
            entries: vec![
                entry(2, true),
                entry(4, true),
                entry(5, false),
                entry(9, true),
            ],
            ..Conversation::default()
        };
        let stays = of_log(&log).remove(&7).unwrap();
        let expected = [(2, Some(5)), (9, None)].map(|(from, to)| Stay { from, to });
        assert_eq!(stays, expected);
        let seen: Vec<_> = (1..=10)
            .filter(|n| stays.iter().any(|stay| stay.covers(*n)))
            .collect();
        assert_eq!(seen, [2, 3, 4, 5, 9, 10]);
    }
}
