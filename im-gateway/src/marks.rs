//! Marks on their way to the store: newest only, gathered for a moment.
//!
//! Pure. Not here: the task that passes them on ([`crate::gateway`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use protocol::error::decode_body;
use protocol::limits::MARKS_PER_FRAME_MAX;
use protocol::wire::internal::{AccountMark, AccountMarks};
use protocol::wire::{self, Mark};
use protocol::{AccountId, ConversationId, ErrorCode, Refusal};

/// Marks that wait, one for each account and conversation: some 8 MiB. When full: new ones are
/// dropped and counted; marks are cumulative, so that the next one makes up for it.
pub const MARKS_MAX: usize = 64 * 1024;

/// Marks that wait.
#[derive(Debug, Default)]
pub struct Marks {
    newest: HashMap<(AccountId, ConversationId), Values>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Values {
    /// The history generation that they are of; one of another generation takes their place.
    history_generation: u64,
    delivered: u64,
    read: u64,
}

impl Marks {
    /// An account has these. Returns `false` if there is no room.
    pub fn raise(&mut self, account: AccountId, mark: &Mark, history_generation: u64) -> bool {
        let Ok(conversation) = ConversationId::from_slice(&mark.conversation_id) else {
            return false;
        };
        let has_room = self.newest.len() < MARKS_MAX;
        let values = match self.newest.entry((account, conversation)) {
            Entry::Occupied(values) => values.into_mut(),
            Entry::Vacant(place) if has_room => place.insert(Values::default()),
            Entry::Vacant(_) => return false,
        };
        if values.history_generation != history_generation {
            *values = Values {
                history_generation,
                ..Values::default()
            };
        }
        values.delivered = values.delivered.max(mark.delivered);
        values.read = values.read.max(mark.read);
        true
    }

    /// The highest of an account's marks, as far as they are remembered.
    #[must_use]
    pub fn highest(&self, account: AccountId, mark: &Mark, history_generation: u64) -> Mark {
        let found = ConversationId::from_slice(&mark.conversation_id)
            .ok()
            .and_then(|conversation| self.newest.get(&(account, conversation)))
            .filter(|values| values.history_generation == history_generation);
        let found = found.copied().unwrap_or_default();
        Mark {
            conversation_id: mark.conversation_id.clone(),
            delivered: mark.delivered.max(found.delivered),
            read: mark.read.max(found.read),
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.newest.clear();
    }

    /// Whether a mark of another history generation has come meanwhile.
    fn is_overtaken(&self, account: AccountId, mark: &Mark, history_generation: u64) -> bool {
        ConversationId::from_slice(&mark.conversation_id)
            .ok()
            .and_then(|conversation| self.newest.get(&(account, conversation)))
            .is_some_and(|newer| newer.history_generation != history_generation)
    }

    /// Takes as many as travel in one notice; `None` when there are none.
    pub fn take(&mut self) -> Option<AccountMarks> {
        let keys: Vec<_> = self
            .newest
            .keys()
            .take(MARKS_PER_FRAME_MAX)
            .copied()
            .collect();
        let marks: Vec<_> = keys
            .into_iter()
            .filter_map(|(account, conversation)| {
                let values = self.newest.remove(&(account, conversation))?;
                Some(AccountMark {
                    account_id: account.0,
                    mark: Some(Mark {
                        conversation_id: conversation.to_bytes(),
                        delivered: values.delivered,
                        read: values.read,
                    }),
                    history_generation: values.history_generation,
                })
            })
            .collect();
        (!marks.is_empty()).then_some(AccountMarks { marks })
    }

    /// Puts back what could not be passed on. Returns how many found no room.
    pub fn put_back(&mut self, marks: AccountMarks) -> usize {
        marks
            .marks
            .into_iter()
            .filter_map(|of| Some((AccountId(of.account_id), of.mark?, of.history_generation)))
            .filter(|(account, mark, of)| {
                !self.is_overtaken(*account, mark, *of) && !self.raise(*account, mark, *of)
            })
            .count()
    }
}

/// The marks of a client's frame. They have no answer: those that make no sense break the frame.
pub fn parse(body: Bytes) -> Result<wire::Marks, Refusal> {
    let bad_frame = |message| Refusal::new(ErrorCode::BadFrame, message);
    let marks = decode_body::<wire::Marks>(body)?;
    if marks.marks.len() > MARKS_PER_FRAME_MAX {
        return Err(bad_frame(format!("marks: more than {MARKS_PER_FRAME_MAX}")));
    }
    for mark in &marks.marks {
        ConversationId::from_slice(&mark.conversation_id)
            .map_err(|error| bad_frame(format!("marks: {error}")))?;
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(group: u64, delivered: u64, read: u64) -> Mark {
        Mark {
            conversation_id: ConversationId::group(group).to_bytes(),
            delivered,
            read,
        }
    }

    fn taken(marks: &mut Marks) -> Vec<(u64, u64, u64)> {
        let taken = marks.take().unwrap_or_default().marks;
        let values = taken.into_iter().map(|of| {
            let mark = of.mark.unwrap();
            (of.account_id, mark.delivered, mark.read)
        });
        values.collect()
    }

    #[test]
    fn only_the_newest_of_an_account_and_conversation_is_kept() {
        let mut marks = Marks::default();
        for (delivered, read) in [(4, 1), (9, 0), (7, 2)] {
            assert!(marks.raise(AccountId(1), &mark(7, delivered, read), 1));
        }
        assert_eq!(taken(&mut marks), [(1, 9, 2)]);
        assert!(marks.take().is_none());
    }

    #[test]
    fn what_is_put_back_never_lowers_what_came_since() {
        let mut marks = Marks::default();
        marks.raise(AccountId(1), &mark(7, 4, 0), 1);
        let late = marks.take().unwrap();
        marks.raise(AccountId(1), &mark(7, 6, 0), 1);
        assert_eq!(marks.put_back(late), 0);
        assert_eq!(taken(&mut marks), [(1, 6, 0)]);
    }

    #[test]
    fn marks_of_the_history_that_was_heard_of_last_take_the_place_of_others() {
        let mut marks = Marks::default();
        marks.raise(AccountId(1), &mark(7, 40, 40), 1);
        let lost = marks.take().unwrap();
        assert_eq!(lost.marks[0].history_generation, 1);
        marks.raise(AccountId(1), &mark(7, 40, 0), 1);
        marks.raise(AccountId(1), &mark(7, 6, 0), 2);
        assert_eq!(marks.put_back(lost), 0);
        let kept = marks.take().unwrap().marks;
        assert_eq!(kept[0].history_generation, 2);
        assert_eq!(kept[0].mark, Some(mark(7, 6, 0)));
    }

    #[test]
    fn they_travel_in_notices_and_are_bounded() {
        let mut marks = Marks::default();
        for group in 1..=MARKS_MAX as u64 {
            assert!(marks.raise(AccountId(1), &mark(group, 1, 0), 1));
        }
        assert!(!marks.raise(AccountId(2), &mark(1, 1, 0), 1));
        assert!(marks.raise(AccountId(1), &mark(1, 2, 0), 1), "a known one");
        let mut notices = 0;
        while let Some(notice) = marks.take() {
            assert!(notice.marks.len() <= MARKS_PER_FRAME_MAX);
            notices += 1;
        }
        assert_eq!(notices, MARKS_MAX / MARKS_PER_FRAME_MAX);
    }
}
