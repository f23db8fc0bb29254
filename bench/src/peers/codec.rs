//! The protocol of one client, as a pure codec: bytes in, events and bytes out.
//!
//! Not here: sockets, TLS, time, what is published and what is counted: that is the driver's, and
//! the same for every system.

/// What a codec tells its driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The session stands and is in its group: from now on it gets everything that is published
    /// there. Told once.
    Ready,
    /// The server has taken this send, as durably as the system promises. Never told by a system
    /// that does not acknowledge.
    Acked {
        /// As given to [`Codec::publish`].
        ticket: u64,
    },
    /// A message of the group has come, in the log's order, once; one's own comes too.
    Delivered {
        /// As it was published.
        payload: &'a [u8],
    },
}

/// One client of one system, in one group. Every method appends to `out` what the client says.
///
/// `read` is the path that millions of deliveries take: it parses in place, hands payloads over
/// where they lie, and allocates nothing for a delivery.
pub trait Codec: Send {
    /// TLS stands: what the client says first. It goes on by itself to [`Event::Ready`].
    fn open(&mut self, now_us: u64, out: &mut Vec<u8>);

    /// Takes as many whole frames as there are and returns how many bytes that was; the rest comes
    /// again, with more behind it. `input` may end within a frame, at any byte.
    ///
    /// # Errors
    /// When the server refuses the client, or says what is not understood. The run fails.
    fn read(
        &mut self,
        input: &[u8],
        now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<usize>;

    /// Publishes to the group. Tickets rise by one from 1.
    fn publish(&mut self, ticket: u64, payload: &[u8], now_us: u64, out: &mut Vec<u8>);

    /// When [`Codec::tick`] is wanted next, in microseconds since the Unix epoch.
    fn due_at_us(&self) -> Option<u64> {
        None
    }

    /// What is due: heartbeats, marks.
    fn tick(&mut self, _now_us: u64, _out: &mut Vec<u8>) {}
}
