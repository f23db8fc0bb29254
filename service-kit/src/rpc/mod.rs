//! Links between processes: frames over mutual TLS, multiplexed, pipelined and batched.
//!
//! A frame with a correlation is a request and has one answer; one without is a notice, either way.
//! `deadline_ms` in a request is the time its sender still waits. What the methods mean is not here.

mod connection;
mod link;
mod server;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

pub use link::{Link, LinkConfig, LinkEvent, LinkEvents, connect};
pub use protocol::error::decode_body as decode;
pub use server::{Closed, Handler, NotifyError, Peer, Request, serve};

/// Frames that wait for the socket of one connection. When full: a call is refused as
/// *unavailable*, a notice of the server's is refused to its caller, and all else waits.
const QUEUE_FRAMES_MAX: usize = 8192;

/// Requests of one connection that are being worked on. When full: no more are read.
const REQUESTS_AT_WORK_MAX: usize = 4096;

/// Notices that wait for the reader of a link. When full: no more is read from the socket.
const EVENTS_MAX: usize = 1024;

/// How much is gathered into one write, in bytes.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// How long a TCP connect and a TLS handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The encoded body of a message.
pub fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
