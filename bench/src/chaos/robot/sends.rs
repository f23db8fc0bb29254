//! What a client of the run sends: chat, commands, telemetry and emergencies, some with a deadline,
//! some ephemeral; and how each send ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_sdk::{Client, Outgoing, Priority, Receipt, SendError, SendHandle};
use rand::RngExt as _;
use service_kit::clock;

use super::Robot;
use crate::chaos::{Stage, layout, message};
use crate::record::{Event, Outcome};

/// Bytes of a message's content, and of one in so many that is long enough to be compressed.
const PAYLOAD_BYTES: (usize, usize) = (16, 400);
const LONG_PAYLOAD_BYTES: (usize, usize) = (2_000, 8_000);
const LONG_ONE_IN: u32 = 50;

/// One in so many sends goes where the client knows that it is no member, if it has drawn that.
const AS_STRANGER_ONE_IN: u32 = 10;

/// One send in so many has a deadline: some pass before the message has come everywhere.
const DEADLINE_ONE_IN: u32 = 10;
const DEADLINE_MS: (u64, u64) = (100, 5_000);

/// One send in so many is ephemeral, under one of a few keys.
const EPHEMERAL_ONE_IN: u32 = 20;
const KEYS: [&str; 3] = ["pose", "battery", "typing"];

/// Of a hundred sends so many are telemetry, and so many commands; of those of a person, who may,
/// so many are emergencies. The others are chat.
const TELEMETRY_PERCENT: u32 = 10;
const COMMAND_PERCENT: u32 = 15;
const EMERGENCY_PERCENT: u32 = 3;

impl Robot {
    /// Sends one. Its end is recorded when it comes.
    pub(super) fn send(&mut self, client: &Client) {
        let Some(conversation) = self.choose() else {
            return;
        };
        let is_outside = self.outside.contains(&conversation);
        if is_outside && !self.random.random_ratio(1, AS_STRANGER_ONE_IN) {
            return;
        }
        let number = self.stage.next_message.fetch_add(1, Ordering::Relaxed);
        let (shortest, longest) = if self.random.random_ratio(1, LONG_ONE_IN) {
            LONG_PAYLOAD_BYTES
        } else {
            PAYLOAD_BYTES
        };
        let bytes = self.random.random_range(shortest..=longest);
        if self.random.random_ratio(1, EPHEMERAL_ONE_IN) {
            return self.send_ephemeral(client, conversation, number, bytes);
        }
        let salt = self.random.random_range(0..=u16::MAX);
        let to = self.stage.conversations[conversation as usize];
        let mut outgoing = Outgoing::new(to, message::content(number, bytes))
            .client_message_id(message::id(clock::unix_ms(), salt, number))
            .priority(self.priority());
        let recorder = &self.stage.recorder;
        let at_us = recorder.now_us();
        let mut deadline_us = 0;
        if self.random.random_ratio(1, DEADLINE_ONE_IN) {
            let within = self.random.random_range(DEADLINE_MS.0..=DEADLINE_MS.1);
            outgoing = outgoing.deliver_before_ms(clock::unix_ms() + within);
            deadline_us = at_us + within * 1_000;
        }
        recorder.record(&Event::Sent {
            at_us,
            client: self.client,
            conversation,
            message: number,
            deadline_us,
        });
        let handle = client.send_nowait(outgoing);
        let (stage, busy) = (Arc::clone(&self.stage), self.busy.clone());
        tokio::spawn(async move {
            let outcome = outcome(handle.await);
            stage.recorder.record(&Event::Ended {
                at_us: stage.recorder.now_us(),
                message: number,
                outcome,
            });
            drop(busy);
        });
    }

    fn send_ephemeral(&mut self, client: &Client, conversation: u32, number: u64, bytes: usize) {
        let key = KEYS[self.random.random_range(0..KEYS.len())];
        let recorder = &self.stage.recorder;
        recorder.record(&Event::EphemeralSent {
            at_us: recorder.now_us(),
            client: self.client,
            conversation,
            message: number,
        });
        let to = self.stage.conversations[conversation as usize];
        let client = client.clone();
        tokio::spawn(async move {
            let content = message::content(number, bytes);
            // Whatever becomes of it: nothing is promised.
            drop(client.send_ephemeral(to, key, content).await);
        });
    }

    /// What its journal has kept is on its way again.
    pub(super) fn recovered(&self, client: &Client) {
        for handle in client.recovered() {
            let number = message::number_of(&handle.client_message_id());
            let resolving = resolve(handle, number, Arc::clone(&self.stage));
            let busy = self.busy.clone();
            tokio::spawn(async move {
                resolving.await;
                drop(busy);
            });
        }
    }

    fn priority(&mut self) -> Priority {
        let emergencies = if layout::is_operator(self.client) {
            EMERGENCY_PERCENT
        } else {
            0
        };
        match self.random.random_range(0..100) {
            drawn if drawn < emergencies => Priority::Emergency,
            drawn if drawn < emergencies + COMMAND_PERCENT => Priority::Command,
            drawn if drawn < emergencies + COMMAND_PERCENT + TELEMETRY_PERCENT => {
                Priority::Telemetry
            }
            _ => Priority::Chat,
        }
    }

    fn choose(&mut self) -> Option<u32> {
        let sum: f64 = self.writes_to.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.random_range(0.0..1.0) * sum;
        for (conversation, weight) in &self.writes_to {
            at -= weight;
            if at <= 0.0 {
                return Some(*conversation);
            }
        }
        self.writes_to.last().map(|(conversation, _)| *conversation)
    }
}

async fn resolve(handle: SendHandle, number: u64, stage: Arc<Stage>) {
    let outcome = outcome(handle.await);
    // A run that ends before it knows leaves it in the journal for the next.
    if outcome != Outcome::Unknown {
        stage.recorder.record(&Event::Resolved {
            at_us: stage.recorder.now_us(),
            message: number,
            outcome,
        });
    }
}

fn outcome(ended: Result<Receipt, SendError>) -> Outcome {
    match ended {
        Ok(receipt) => Outcome::Acked {
            sequence: receipt.sequence.0,
        },
        Err(SendError::Refused(refusal)) => Outcome::Refused {
            code: format!("{:?}", refusal.code),
        },
        Err(SendError::OutcomeUnknown { .. }) => Outcome::Unknown,
        Err(SendError::NotSent { .. } | SendError::QueueFull | SendError::Closed) => {
            Outcome::NotSent
        }
    }
}
