//! The record sorted by conversation, with what the rules need of it. Memory grows with the
//! deliveries: some forty bytes each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::record::{Change, Event, Outcome, Says};

/// Everything of a record that is judged.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) send_timeout_us: u64,
    pub(super) clients: BTreeMap<u32, u64>,
    /// The last run of each client.
    pub(super) last_runs: BTreeMap<u32, u32>,
    /// The clients that keep their sends in a journal.
    pub(super) journals: BTreeSet<u32>,
    pub(super) conversations: BTreeMap<u32, Conversation>,
    pub(super) sends: HashMap<u64, Send>,
    /// When the harness was late, and by how much.
    pub(super) lags: Vec<(u64, u64)>,
    /// The end of the record.
    pub(super) finished_at_us: Option<u64>,
    began: bool,
    ends_of_nothing: u64,
}

/// One conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) id: String,
    pub(super) pair: Vec<u64>,
    pub(super) entries: Vec<Entry>,
    pub(super) head: Option<u64>,
    /// What each client was handed and told, in its order.
    pub(super) handed: BTreeMap<u32, Vec<Step>>,
    /// The sends to it, in the order of the record.
    pub(super) sends: Vec<u64>,
    /// The ephemeral messages to it.
    pub(super) ephemeral: BTreeSet<u64>,
    /// What was handed over of these, and to whom.
    pub(super) passing: Vec<(u32, Says)>,
}

/// One entry of a log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) says: Says,
    pub(super) changes: Vec<Change>,
}

/// What happened to a client in a conversation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Delivered(Delivered),
    /// It starts, and the server's mark stands here.
    ServerMark(u64),
    /// It is told that it is no longer a member.
    Left,
}

/// One hand-over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) run: u32,
    pub(super) sequence: u64,
    pub(super) says: Says,
    pub(super) flagged: bool,
}

/// One send.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) at_us: u64,
    pub(super) client: u32,
    pub(super) conversation: u32,
    /// In which run of the client.
    pub(super) run: u32,
    /// 0: it is worth the same at any time.
    pub(super) deadline_us: u64,
    pub(super) ended: Option<(u64, Outcome)>,
    /// What a later run has learnt of it.
    pub(super) resolved: Option<Outcome>,
}

impl Collected {
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Began {
                send_timeout_ms, ..
            } => {
                self.began = true;
                self.send_timeout_us = send_timeout_ms.saturating_mul(1000);
            }
            Event::Client {
                client,
                account,
                journal,
                ..
            } => {
                self.clients.insert(client, account);
                if journal {
                    self.journals.insert(client);
                }
            }
            Event::Conversation {
                conversation,
                id,
                pair,
            } => {
                let known = self.conversations.entry(conversation).or_default();
                (known.id, known.pair) = (id, pair);
            }
            Event::Sent { .. }
            | Event::Ended { .. }
            | Event::Resolved { .. }
            | Event::EphemeralSent { .. }
            | Event::EphemeralDelivered { .. } => self.take_send(event),
            Event::Entry {
                conversation,
                sequence,
                says,
                changes,
            } => self.of(conversation).entries.push(Entry {
                sequence,
                says,
                changes,
            }),
            Event::History { conversation, head } => self.of(conversation).head = Some(head),
            Event::Lag { at_us, late_us } => self.lags.push((at_us, late_us)),
            Event::Finished { at_us } => self.finished_at_us = Some(at_us),
            Event::Delivered { .. } | Event::ServerMark { .. } | Event::Membership { .. } => {
                self.take_step(&event);
            }
            Event::RunBegan { client, run, .. } => {
                self.last_runs.insert(client, run);
            }
            // For people, and for whoever looks for a cause.
            Event::RunEnded { .. }
            | Event::Marked { .. }
            | Event::Link { .. }
            | Event::Change { .. }
            | Event::Fault { .. }
            | Event::Memory { .. } => {}
        }
    }

    /// What belongs to one message.
    fn take_send(&mut self, event: Event) {
        if let Event::Sent {
            at_us,
            client,
            conversation,
            message,
            deadline_us,
        } = event
        {
            self.of(conversation).sends.push(message);
            let send = Send {
                at_us,
                client,
                conversation,
                run: self.last_runs.get(&client).copied().unwrap_or(1),
                deadline_us,
                ended: None,
                resolved: None,
            };
            self.sends.insert(message, send);
        } else if let Event::Ended {
            at_us,
            message,
            outcome,
        } = event
        {
            match self.sends.get_mut(&message) {
                Some(send) => send.ended = Some((at_us, outcome)),
                None => self.ends_of_nothing += 1,
            }
        } else if let Event::Resolved {
            message, outcome, ..
        } = event
        {
            match self.sends.get_mut(&message) {
                Some(send) => send.resolved = Some(outcome),
                None => self.ends_of_nothing += 1,
            }
        } else if let Event::EphemeralSent {
            conversation,
            message,
            ..
        } = event
        {
            self.of(conversation).ephemeral.insert(message);
        } else if let Event::EphemeralDelivered {
            client,
            conversation,
            says,
            ..
        } = event
        {
            self.of(conversation).passing.push((client, says));
        }
    }

    /// What belongs to one client in one conversation.
    fn take_step(&mut self, event: &Event) {
        if let Event::Delivered {
            client,
            run,
            conversation,
            sequence,
            says,
            flagged,
            ..
        } = *event
        {
            let delivered = Delivered {
                run,
                sequence,
                says,
                flagged,
            };
            self.step(client, conversation, Step::Delivered(delivered));
        } else if let Event::ServerMark {
            client,
            conversation,
            delivered,
            ..
        } = *event
        {
            self.step(client, conversation, Step::ServerMark(delivered));
        } else if let Event::Membership {
            client,
            conversation,
            joined: false,
            ..
        } = *event
        {
            self.step(client, conversation, Step::Left);
        }
    }

    fn step(&mut self, client: u32, conversation: u32, step: Step) {
        let handed = &mut self.of(conversation).handed;
        handed.entry(client).or_default().push(step);
    }

    fn of(&mut self, conversation: u32) -> &mut Conversation {
        self.conversations.entry(conversation).or_default()
    }

    /// The most that the harness was late by in between.
    pub(super) fn lag(&self, from_us: u64, to_us: u64) -> u64 {
        let overlap =
            |(at, late): &&(u64, u64)| *at >= from_us && at.saturating_sub(*late) <= to_us;
        let lags = self.lags.iter().filter(overlap);
        lags.map(|(_, late)| *late).max().unwrap_or_default()
    }

    /// What keeps the record from being judged as a whole.
    pub(super) fn incomplete(&self) -> Vec<String> {
        let mut why = Vec::new();
        if !self.began {
            why.push("the record has no beginning".to_owned());
        }
        if self.finished_at_us.is_none() {
            why.push("the record is cut off".to_owned());
        }
        if self.ends_of_nothing > 0 {
            why.push(format!("{} ends of no send", self.ends_of_nothing));
        }
        if self.sends.is_empty() {
            why.push("nothing was sent".to_owned());
        }
        let unread = self.conversations.values().filter(|c| c.head.is_none());
        why.extend(unread.map(|c| format!("the history of {} was not read", c.id)));
        why
    }
}
