//! What a member says when: the loops of its streams.

use bytes::Bytes;
use protocol::ConversationId;
use protocol::content::{self, Content};
use protocol::wire::{Data, EntryKind, Priority, Send};

use super::{Books, Round, STAMP_BYTES, Waiting};
use crate::lean::{Lean, SCHEMA};
use crate::scenarios::meter::Meter;
use crate::scenarios::pacing::Schedule;
use crate::scenarios::workload::{Class, Pace};

/// Sends of one member that wait for their answer at once: the server allows 256 requests, and some
/// are for pulls. Beyond it the member is held up.
pub(super) const WAITING_MAX: usize = 240;

/// The key of a robot's telemetry: the newest replaces those before it.
const TELEMETRY_KEY: &str = "position";

impl Books {
    /// Says what is due, and when more will be.
    pub(in crate::scenarios) fn act(
        &mut self,
        lean: &mut Lean,
        now_us: u64,
        meter: &mut Meter,
        out: &mut Vec<u8>,
    ) -> u64 {
        let Some(round) = self.round else {
            return u64::MAX;
        };
        if now_us >= round.timing.until_us() || self.flows.is_empty() {
            return u64::MAX;
        }
        let mut next_us = u64::MAX;
        for flow in 0..self.flows.len() {
            let due_us = match round.pace {
                Pace::Closed { window } => {
                    self.fill(lean, flow, (round, window), now_us, meter, out)
                }
                Pace::Open { per_s } => {
                    self.catch_up(lean, flow, (round, per_s), now_us, meter, out)
                }
            };
            next_us = next_us.min(due_us);
        }
        next_us.min(round.timing.until_us())
    }

    /// A closed loop: as many under way as its window has room for.
    fn fill(
        &mut self,
        lean: &mut Lean,
        flow: usize,
        (round, window): (Round, u32),
        now_us: u64,
        meter: &mut Meter,
        out: &mut Vec<u8>,
    ) -> u64 {
        // They begin one after the other while the load rises.
        let begins_us = round.timing.start_us + share(round.timing.ramp_us, self.flows[flow].phase);
        if now_us < begins_us {
            return begins_us;
        }
        while self.flows[flow].under_way < window && self.waiting.len() < WAITING_MAX {
            self.send(lean, flow, now_us, now_us, meter, out);
        }
        u64::MAX
    }

    /// An open loop: everything that is due.
    fn catch_up(
        &mut self,
        lean: &mut Lean,
        flow: usize,
        (round, per_s): (Round, f64),
        now_us: u64,
        meter: &mut Meter,
        out: &mut Vec<u8>,
    ) -> u64 {
        let schedule = Schedule {
            start_us: round.timing.start_us,
            ramp_us: round.timing.ramp_us,
            per_s: per_s * self.flows[flow].stream.share,
            phase: self.flows[flow].phase,
        };
        loop {
            let due_us = schedule.due_us(self.flows[flow].begun);
            if due_us > now_us || due_us >= round.timing.until_us() {
                return due_us;
            }
            if self.waiting.len() >= WAITING_MAX {
                // An answer wakes the member.
                self.held_until_us = u64::MAX;
                return u64::MAX;
            }
            if due_us >= self.held_until_us {
                meter.late(due_us, now_us - due_us);
            } else {
                meter.held_up += 1;
            }
            self.send(lean, flow, due_us, now_us, meter, out);
        }
    }

    fn send(
        &mut self,
        lean: &mut Lean,
        flow: usize,
        due_us: u64,
        now_us: u64,
        meter: &mut Meter,
        out: &mut Vec<u8>,
    ) {
        self.ticket += 1;
        let of = &mut self.flows[flow];
        of.begun += 1;
        of.under_way += 1;
        let (class, room) = (of.stream.class, self.rooms[of.room].id);
        self.payload[..STAMP_BYTES].copy_from_slice(&due_us.to_be_bytes());
        match class {
            Class::Chat => lean.publish(self.ticket, &room, &self.payload, now_us, out),
            Class::Command => {
                let send = self.message(room, Priority::Command, "");
                lean.send(self.ticket, send, now_us, out);
            }
            Class::Telemetry => {
                let send = self.message(room, Priority::Telemetry, TELEMETRY_KEY);
                lean.send(self.ticket, send, now_us, out);
            }
        }
        self.waiting.insert(self.ticket, Waiting { flow, due_us });
        meter.sent(class, due_us);
    }

    fn message(&self, room: ConversationId, priority: Priority, key: &str) -> Send {
        Send {
            conversation_id: room.to_bytes(),
            kind: EntryKind::Data.into(),
            content: content::encode(Content::Data(Data {
                schema: SCHEMA.to_owned(),
                payload: Bytes::copy_from_slice(&self.payload),
            })),
            priority: priority.into(),
            ephemeral_key: key.to_owned(),
            ..Send::default()
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of some seconds"
)]
fn share(us: u64, part: f64) -> u64 {
    (us as f64 * part) as u64
}
