//! Orders that wait for one client, and news for those who gave them: before all conversations, each
//! with the time that it has left when it is written.
//!
//! Pure.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use protocol::limits::FRAME_HEADER_BYTES;

use super::Outbox;
use crate::events;
use crate::shared_frame::SharedFrame;

/// Orders that wait for one session. When full: one more is dropped and counted; the store gives it
/// again, and a robot that comes asks.
const ORDERS_MAX: usize = 256;

/// The same, in bytes.
const ORDER_BYTES_MAX: usize = 1024 * 1024;

/// Where the time that is left stands in a frame's header.
const REMAINING_AT: std::ops::Range<usize> = FRAME_HEADER_BYTES - 4..FRAME_HEADER_BYTES;

/// A frame for a robot, or for whoever commands it.
#[derive(Debug, Clone)]
pub struct Order {
    /// A whole frame.
    pub frame: SharedFrame,
    /// Not written after this, in milliseconds since the epoch; 0: no deadline.
    pub deliver_before_ms: u64,
}

impl Outbox {
    /// An order, or news of one. `false`: there is no room, and it is given again or asked for.
    #[must_use]
    pub fn order(&mut self, order: Order) -> bool {
        self.orders.push(order)
    }
}

#[derive(Debug, Default)]
pub(super) struct Orders {
    waiting: VecDeque<Order>,
    bytes: usize,
}

impl Orders {
    /// Whether there is room.
    pub(super) fn push(&mut self, order: Order) -> bool {
        let bytes = self.bytes + order.frame.len();
        if self.waiting.len() >= ORDERS_MAX || bytes > ORDER_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.waiting.push_back(order);
        true
    }

    /// The next one that is not late, as it travels.
    pub(super) fn pop(&mut self, now_ms: u64, zstd: bool) -> Option<Bytes> {
        while let Some(order) = self.waiting.pop_front() {
            self.bytes -= order.frame.len();
            if order.deliver_before_ms == 0 {
                return Some(order.frame.bytes(zstd).clone());
            }
            let left_ms = order.deliver_before_ms.saturating_sub(now_ms);
            if left_ms > 0 {
                return Some(with_time_left(order.frame.bytes(zstd), left_ms));
            }
            events::order_expired();
        }
        None
    }

    /// Gives back the room of what does not wait.
    pub(super) fn rest(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }

    /// Forgets all, and says how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).len()
    }
}

/// A copy with the time that is left in its header, in milliseconds.
fn with_time_left(frame: &Bytes, left_ms: u64) -> Bytes {
    let left_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
    let mut frame = BytesMut::from(&frame[..]);
    if let Some(field) = frame.get_mut(REMAINING_AT) {
        field.copy_from_slice(&left_ms.to_be_bytes());
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::kind::client;
    use protocol::limits::FRAME_BYTES_MAX;
    use protocol::{Frame, FrameCodec};
    use tokio_util::codec::Decoder as _;

    fn order(bytes: usize, deliver_before_ms: u64) -> Order {
        let frame = Frame {
            kind: client::ORDER_PAGE,
            correlation: 0,
            deadline_ms: 0,
            body: vec![b'a'; bytes].into(),
        };
        Order {
            frame: SharedFrame::from(&frame),
            deliver_before_ms,
        }
    }

    fn opened(bytes: Bytes, zstd: bool) -> Frame {
        let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
        codec.set_zstd(zstd);
        let mut bytes = BytesMut::from(&bytes[..]);
        codec.decode(&mut bytes).unwrap().unwrap()
    }

    #[test]
    fn an_order_leaves_with_the_time_that_it_has_left() {
        let mut orders = Orders::default();
        let long = order(8 * 1024, 5000);
        for _ in 0..2 {
            assert!(orders.push(long.clone()));
        }
        let plain = opened(orders.pop(1000, false).unwrap(), false);
        assert_eq!((plain.deadline_ms, plain.body.len()), (4000, 8 * 1024));
        let small = orders.pop(4999, true).unwrap();
        assert!(small.len() < 1024);
        let small = opened(small, true);
        assert_eq!((small.deadline_ms, small.body), (1, plain.body));
        let shared = opened(long.frame.bytes(false).clone(), false);
        assert_eq!(shared.deadline_ms, 0, "what others get is left alone");
    }

    #[test]
    fn what_is_late_is_not_handed_over() {
        let mut orders = Orders::default();
        for deliver_before_ms in [1000, 1001, 0] {
            assert!(orders.push(order(10, deliver_before_ms)));
        }
        let left = [(); 3].map(|()| orders.pop(1000, false).map(|it| opened(it, false)));
        let left = left.map(|frame| frame.map(|frame| frame.deadline_ms));
        assert_eq!(left, [Some(1), Some(0), None]);
        assert_eq!(orders.bytes, 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut orders = Orders::default();
        for _ in 0..ORDERS_MAX {
            assert!(orders.push(order(10, 0)));
        }
        assert!(!orders.push(order(10, 0)));
        assert_eq!(orders.clear(), ORDERS_MAX);
        let mut orders = Orders::default();
        let fitting = (0..).take_while(|_| orders.push(order(200 * 1024, 0)));
        assert_eq!(fitting.count(), 5);
    }
}
