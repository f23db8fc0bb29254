//! Words of emergency stops: what the server says, what the application is told, what is confirmed.

use bytes::Bytes;
use protocol::content::Content;
use protocol::kind::client as kind;
use protocol::limits::ESTOPS_PER_FRAME_MAX;
use protocol::{ClientMessageId, Frame, Refusal, wire};

use super::Engine;
use crate::estop::{Heard, Sent, Stop};
use crate::events;
use crate::incoming::Event;
use crate::message::Message;

impl Engine {
    /// The stops that a client holds for being in force, for its next hello. Beyond what fits the
    /// oldest are named: the others are in the welcome if they still are in force.
    pub(crate) fn latched(&self) -> Vec<Bytes> {
        let in_force = self.shared.latch.lock().in_force();
        let ids = in_force.iter().take(ESTOPS_PER_FRAME_MAX);
        ids.map(|stop| stop.id.to_bytes()).collect()
    }

    /// Those that the server knows of come with the welcome, and so before everything.
    pub(super) fn welcomed_stops(&mut self, welcome: &wire::Welcome) {
        for stop in &welcome.estops {
            if let Err(refusal) = self.hear_of_stop(stop.clone()) {
                events::malformed(kind::WELCOME, &refusal);
            }
        }
    }

    pub(super) fn estop_notice(&mut self, notice: wire::EstopNotice) -> Result<(), Refusal> {
        let heard = |stop| self.hear_of_stop(stop);
        notice.stops.into_iter().try_for_each(heard)
    }

    fn hear_of_stop(&mut self, said: wire::EmergencyStop) -> Result<(), Refusal> {
        let heard = self.shared.latch.lock().hear(Stop::from_wire(said)?);
        match heard {
            Heard::Stop(stop) => {
                self.shared.stops_wait();
                self.news(Event::EmergencyStop(stop));
            }
            Heard::Released(stop) => self.news(Event::EmergencyReleased(stop)),
            Heard::Nothing => {}
        }
        Ok(())
    }

    pub(super) fn estop_sent(&mut self, sent: &wire::EstopSent) -> Result<(), Refusal> {
        self.shared.estop_sent(Sent {
            id: ClientMessageId::from_slice(&sent.stop_id)?,
            sessions: sent.sessions,
            routers: sent.routers,
            rights_age_ms: sent.rights_age_ms,
        });
        Ok(())
    }

    /// Whether the next letter is a stop, for which there is always room.
    pub(super) fn is_stop_next(&self) -> bool {
        let is_here = self.session.as_ref().is_some_and(|its| !its.is_leaving());
        let first = self.outbox.first().filter(|_| is_here);
        first.is_some_and(|letter| frame_kind(&letter.body) == kind::ESTOP)
    }

    /// What was acted on.
    pub(super) fn next_confirmation(&self) -> Option<Frame> {
        let ids = self.shared.latch.lock().take_confirmations();
        let confirm = wire::EstopConfirm {
            stop_ids: ids.iter().map(|id| id.to_bytes()).collect(),
        };
        (!ids.is_empty()).then(|| Frame::notice(kind::ESTOP_CONFIRM, &confirm))
    }

    /// Whether the application was told of this at once, so that its entry in the log, which comes
    /// in its order, says nothing new.
    pub(super) fn was_told(&self, message: &Message) -> bool {
        let knows = |id| self.shared.latch.lock().knows(id);
        match &message.content {
            Content::Estop(_) => knows(message.client_message_id),
            Content::EstopRelease(release) => {
                let ids = release.stop_ids.iter();
                ids.map(|id| ClientMessageId::from_slice(id))
                    .all(|id| id.is_ok_and(knows))
            }
            Content::Text(_)
            | Content::Data(_)
            | Content::Instruction(_)
            | Content::Plan(_)
            | Content::Command(_)
            | Content::StepUpdate(_)
            | Content::Summary(_)
            | Content::Membership(_)
            | Content::Recall(_)
            | Content::Edit(_)
            | Content::Group(_)
            | Content::Media(_)
            | Content::Pose(_) => false,
        }
    }
}

/// The kind of frame that a letter travels in.
pub(super) fn frame_kind(send: &Bytes) -> u16 {
    match protocol::error::decode_body::<wire::Send>(send.clone()).map(|send| send.kind()) {
        Ok(wire::EntryKind::Estop | wire::EntryKind::EstopRelease) => kind::ESTOP,
        Ok(_) | Err(_) => kind::SEND,
    }
}
