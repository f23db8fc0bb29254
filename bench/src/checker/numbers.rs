//! The rules of numbers: the log is dense, one number is one message and one message one number,
//! what was acknowledged is in the log and what was refused is not, and every send ends in time.

use std::collections::{BTreeMap, HashMap};

use super::collect::{Collected, Conversation, Step};
use super::verdict::{Findings, Kind};
use crate::record::{Outcome, Says};

/// How much later than its send timeout an end may be recorded: the recording side is a process on
/// a busy machine.
const LATE_GRACE_US: u64 = 1_000_000;

/// The log as it was read back.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) says: BTreeMap<u64, Says>,
    pub(super) places: HashMap<u64, u64>,
    /// Numbers that the log lacks, with what acks and hand-overs say is there.
    elsewhere: HashMap<u64, Says>,
}

impl Log {
    pub(super) fn of(conversation: &Conversation, findings: &mut Findings) -> Self {
        let mut log = Self::default();
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
    fn agree(&mut self, told: &str, sequence: u64, says: Says, findings: &mut Findings) {
        let there = self.says.get(&sequence).copied();
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

/// The sends to one conversation.
pub(super) fn judge_sends(
    number: u32,
    collected: &Collected,
    log: &mut Log,
    findings: &mut Findings,
) {
    let Some(conversation) = collected.conversations.get(&number) else {
        return;
    };
    for message in &conversation.sends {
        let Some(send) = collected.sends.get(message) else {
            continue;
        };
        findings.sent += 1;
        let in_time =
            |at: u64| at.saturating_sub(send.at_us) <= collected.send_timeout_us + LATE_GRACE_US;
        if !send.ended.as_ref().is_some_and(|(at, _)| in_time(*at)) {
            findings.broken(Kind::LateSend, || match &send.ended {
                Some((at, _)) => format!(
                    "message {message} of client {} took {} ms",
                    send.client,
                    at.saturating_sub(send.at_us) / 1000
                ),
                None => format!("message {message} of client {} never ended", send.client),
            });
        }
        if let Some((at, _)) = &send.ended {
            let took_ms = at.saturating_sub(send.at_us) / 1000;
            findings.slowest_send_ms = findings.slowest_send_ms.max(took_ms);
        }
        match send.ended.as_ref().map(|(_, outcome)| outcome) {
            Some(Outcome::Acked { sequence }) => {
                findings.acked += 1;
                let told = format!("acknowledged to client {}", send.client);
                log.agree(&told, *sequence, Says::Message(*message), findings);
            }
            Some(outcome @ (Outcome::Refused { .. } | Outcome::NotSent)) => {
                if matches!(outcome, Outcome::NotSent) {
                    findings.unanswered += 1;
                } else {
                    findings.refused += 1;
                }
                if let Some(place) = log.places.get(message) {
                    findings.broken(Kind::StoredThoughRefused, || {
                        format!("message {message} ended in {outcome:?} and is {place}")
                    });
                }
            }
            Some(Outcome::Unknown) | None => findings.unanswered += 1,
        }
    }
    for message in log.places.keys() {
        if !sent_there(collected, *message, number) {
            findings.broken(Kind::Altered, || format!("message {message} in the log"));
        }
    }
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

fn sent_there(collected: &Collected, message: u64, conversation: u32) -> bool {
    let send = collected.sends.get(&message);
    send.is_some_and(|send| send.conversation == conversation)
}
