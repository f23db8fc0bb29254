//! Links between processes: frames over mutual TLS, multiplexed, pipelined and batched.
//!
//! A frame with a correlation is a request and has one answer; one without is a notice, either way.
//! `deadline_ms` in a request is the time its sender still waits. The first frame that a server
//! sends is `ADMITTED`: before it, a client does not count itself as connected. What the methods
//! mean is not here.

mod admission;
mod connection;
mod keeper;
mod link;
mod queue;
mod server;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

pub use link::{Link, LinkConfig, LinkEvent, LinkEvents, Urgent, connect, connect_urgently};
pub use protocol::error::decode_body as decode;
pub use server::{Closed, Handler, NotifyError, Peer, Request, serve};

/// The server's first frame, beside `kind::method::OK` and `FAILED`: the peer is let in.
const ADMITTED: u16 = 3;

/// Frames that wait for the socket of one connection. When full: a call is refused as
/// *unavailable*, `Peer::notify` is refused as full, and all else waits.
const QUEUE_FRAMES_MAX: usize = 8192;

/// Of the urgent lane, apart from those. When full: a notice is refused, and whoever sends urgent
/// notices says them again.
const URGENT_FRAMES_MAX: usize = 1024;

/// Calls of one link that wait for their answer. Beyond: refused as *rate limited*.
const CALLS_WAITING_MAX: usize = 16 * 1024;

/// Requests of one connection that are being worked on. When full: no more are read.
const REQUESTS_AT_WORK_MAX: u32 = 4096;

/// Connections of one listener, those in their handshake included. When full: the rest wait in
/// the backlog of the socket.
const PEERS_MAX: usize = 1024;

/// Notices that wait for the reader of a link. When full: no more is read from the socket.
const EVENTS_MAX: usize = 1024;

/// How much is gathered into one write, in bytes: large enough for the system call not to show,
/// small enough for the first frame not to wait.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// How much is asked of the socket in one read, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// How long a TCP connect, a TLS handshake and the admission may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection is left before its other end is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// How long between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How many probes may stay unanswered before the connection counts as lost.
const KEEPALIVE_PROBES: u32 = 3;

/// How long the other end may take nothing of what is written before the connection counts as
/// lost. It covers a host that vanished and a peer that stopped reading.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// The encoded body of a message.
pub fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
