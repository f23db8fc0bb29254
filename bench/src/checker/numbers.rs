//! The rules of numbers: the log is dense, one number is one message and one message one number,
//! what was acknowledged is in the log and what was refused is not. A message is a placeholder from
//! its deadline on: what stood there is known from acks and hand-overs alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::collect::{Collected, Conversation, Send, Step};
use super::verdict::{Findings, Kind};
use crate::record::{Outcome, Says};

/// The log as it was read back.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) says: BTreeMap<u64, Says>,
    pub(super) places: HashMap<u64, u64>,
    /// Numbers that the log lacks or that have expired, with what acks and hand-overs say is there.
    elsewhere: HashMap<u64, Says>,
    /// The messages whose deadline had passed when the log was read.
    expired: HashSet<u64>,
}

impl Log {
    pub(super) fn of(
        conversation: &Conversation,
        collected: &Collected,
        findings: &mut Findings,
    ) -> Self {
        let mut log = Self::default();
        let read_at = collected.finished_at_us.unwrap_or(u64::MAX);
        let sends = conversation.sends.iter();
        log.expired.extend(sends.filter(|message| {
            let send = collected.sends.get(message);
            send.is_some_and(|send| (1..=read_at).contains(&send.deadline_us))
        }));
        findings.entries = conversation.entries.len() as u64;
        for entry in &conversation.entries {
            let (sequence, says) = (entry.sequence, entry.says);
            if let Some(other) = log.says.insert(sequence, says) {
                findings.broken(Kind::SequenceReuse, || {
                    format!("the log has {sequence} twice: {other:?} and {says:?}")
                });
            }
            match says {
                Says::Message(message) => {
                    if let Some(other) = log.places.insert(message, sequence) {
                        findings.broken(Kind::StoredTwice, || {
                            format!("message {message} is {other} and {sequence} of the log")
                        });
                    }
                }
                Says::Altered => {
                    findings.broken(Kind::Altered, || format!("{sequence} in the log"))
                }
                Says::Membership | Says::Nothing => {}
            }
        }
        let head = conversation.head.unwrap_or(0);
        let last = log.says.last_key_value().map_or(0, |(last, _)| *last);
        for number in 1..=head.max(last) {
            if !log.says.contains_key(&number) {
                findings.broken(Kind::Hole, || {
                    format!("the log up to {} lacks {number}", head.max(last))
                });
            }
        }
        log
    }

    /// Somebody was told that this is under this number.
    pub(super) fn agree(&mut self, told: &str, sequence: u64, says: Says, findings: &mut Findings) {
        let mut there = self.says.get(&sequence).copied();
        if let Says::Message(message) = says
            && there == Some(Says::Nothing)
            && self.expired.contains(&message)
        {
            there = None;
            self.places.entry(message).or_insert(sequence);
        }
        let there = there.unwrap_or_else(|| *self.elsewhere.entry(sequence).or_insert(says));
        if there != says {
            findings.broken(Kind::SequenceReuse, || {
                format!("{told}: {sequence} is {says:?}, elsewhere it is {there:?}")
            });
        }
        let Says::Message(message) = says else {
            if !self.says.contains_key(&sequence) {
                findings.broken(Kind::Missing, || format!("{told}: {sequence} {says:?}"));
            }
            return;
        };
        match self.places.get(&message) {
            None => findings.broken(Kind::Missing, || {
                format!("{told}: message {message} under {sequence}")
            }),
            Some(place) if *place != sequence => findings.broken(Kind::StoredTwice, || {
                format!("{told}: message {message} under {sequence}, in the log it is {place}")
            }),
            Some(_) => {}
        }
    }
}

/// What is ephemeral is passed on as it was sent, and never stored; of a placeholder is known what it
/// was, unless it can be one whose sender got no answer.
pub(super) fn judge_the_rest(
    collected: &Collected,
    conversation: &Conversation,
    log: &Log,
    findings: &mut Findings,
) {
    findings.ephemeral.0 = conversation.ephemeral.len() as u64;
    for (client, says) in &conversation.passing {
        findings.ephemeral.1 += 1;
        let was_sent =
            matches!(says, Says::Message(message) if conversation.ephemeral.contains(message));
        if !was_sent {
            findings.broken(Kind::Altered, || {
                format!("handed to client {client}: {says:?}, ephemeral")
            });
        }
    }
    let placeholders = log.says.iter().filter(|(_, says)| **says == Says::Nothing);
    let placeholders: Vec<_> = placeholders.map(|(sequence, _)| sequence).collect();
    let known = |sequence: &&&u64| log.elsewhere.contains_key(*sequence);
    findings.expired = placeholders.iter().filter(known).count() as u64;
    let unplaced = log.expired.iter().filter(|m| !log.places.contains_key(m));
    let possible = unplaced.filter_map(|message| collected.sends.get(message));
    let possible = possible.filter(|send| may_be_stored(send)).count() as u64;
    let unknown = placeholders.len() as u64 - findings.expired;
    if unknown > possible {
        findings.broken(Kind::Altered, || {
            format!("{unknown} placeholders that were no message, and at most {possible} could be")
        });
    }
}

fn may_be_stored(send: &Send) -> bool {
    let open = |outcome: &Outcome| matches!(outcome, Outcome::Unknown);
    send.resolved.is_none() && send.ended.as_ref().is_none_or(|(_, outcome)| open(outcome))
}

/// The numbers under which a client was handed its messages.
pub(super) fn judge_numbers(
    client: u32,
    number: u32,
    handed: &[Step],
    collected: &Collected,
    log: &mut Log,
    findings: &mut Findings,
) {
    let told = format!("handed to client {client}");
    for step in handed {
        let Step::Delivered(delivered) = step else {
            continue;
        };
        findings.delivered += 1;
        let nobodys = match delivered.says {
            Says::Message(message) => !sent_there(collected, message, number),
            Says::Altered => true,
            Says::Membership | Says::Nothing => false,
        };
        if nobodys {
            findings.broken(Kind::Altered, || {
                format!("{told}: {:?} under {}", delivered.says, delivered.sequence)
            });
        } else {
            log.agree(&told, delivered.sequence, delivered.says, findings);
        }
    }
}

pub(super) fn sent_there(collected: &Collected, message: u64, conversation: u32) -> bool {
    let send = collected.sends.get(&message);
    send.is_some_and(|send| send.conversation == conversation)
}
