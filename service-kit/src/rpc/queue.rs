//! What waits for the socket of one connection, in two lanes.

use bytes::Bytes;
use protocol::kind::method;
use tokio::sync::mpsc;

use super::connection::Outgoing;
use super::{QUEUE_FRAMES_MAX, URGENT_FRAMES_MAX};

/// The frames that wait for one connection. Those of the urgent lane go first, and are so few that
/// the others are not kept waiting by them.
#[derive(Debug)]
pub(super) struct Frames {
    urgent: mpsc::Receiver<Outgoing>,
    others: mpsc::Receiver<Outgoing>,
}

/// The way into them. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    urgent: mpsc::Sender<Outgoing>,
    pub(super) others: mpsc::Sender<Outgoing>,
}

impl Queue {
    pub(super) fn new() -> (Self, Frames) {
        let (urgent, urgent_frames) = mpsc::channel(URGENT_FRAMES_MAX);
        let (others, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
        let frames = Frames {
            urgent: urgent_frames,
            others: frames,
        };
        (Self { urgent, others }, frames)
    }

    /// Queues a notice, urgent or not by its method, if there is room.
    pub(super) fn try_notice(
        &self,
        method: u16,
        body: Bytes,
    ) -> Result<(), mpsc::error::TrySendError<Outgoing>> {
        let lane = if method::is_urgent(method) {
            &self.urgent
        } else {
            &self.others
        };
        lane.try_send(Outgoing::notice(method, body))
    }

    /// Frames that nobody will write, when the connection is lost.
    pub(super) fn len(&self) -> usize {
        let waiting = |lane: &mpsc::Sender<Outgoing>| lane.max_capacity() - lane.capacity();
        waiting(&self.urgent) + waiting(&self.others)
    }
}

impl Frames {
    /// Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Outgoing> {
        tokio::select! {
            biased;
            Some(urgent) = self.urgent.recv() => Some(urgent),
            other = self.others.recv() => other,
        }
    }

    pub(super) fn try_recv(&mut self) -> Option<Outgoing> {
        let urgent = self.urgent.try_recv().ok();
        urgent.or_else(|| self.others.try_recv().ok())
    }

    pub(super) fn close(&mut self) {
        self.urgent.close();
        self.others.close();
    }
}
