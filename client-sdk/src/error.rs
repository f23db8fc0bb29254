//! What can go wrong, as the application sees it.

use std::path::PathBuf;

use protocol::{ClientMessageId, Refusal};
use thiserror::Error;

use crate::journal::JournalError;

/// A configuration that no connection can be made with.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no token.
    #[error("{} holds no token", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// Not a PEM certificate or key.
    #[error("the {what} is not usable PEM")]
    Pem {
        /// "authority", "certificate" or "key".
        what: &'static str,
    },
    /// The certificate and the key do not work.
    #[error("the certificate and its key do not work together")]
    Certificate(#[source] rustls::Error),
    /// An address is not `HOST:PORT`.
    #[error("{address:?} is not an address: write HOST:PORT")]
    Address {
        /// What was given.
        address: String,
    },
    /// No address at all.
    #[error("no address of a server is given")]
    NoAddress,
    /// The journal cannot be used, or not by this account.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why connecting, or a request other than a send, failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration is not usable.
    #[error("the client's configuration is not usable")]
    Config(#[from] ConfigError),
    /// The server refused, for good.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// The two sides do not trust each other's certificates.
    #[error("the certificates do not match: {0}")]
    Certificate(rustls::Error),
    /// No server could be reached in time.
    #[error("no server could be reached; last: {last}")]
    Unreachable {
        /// What the last attempt ended in.
        last: String,
    },
    /// No answer in time. The request may or may not have taken effect.
    #[error("no answer in time{}", because(last.as_ref()))]
    TimedOut {
        /// The last retryable refusal, if there was one.
        last: Option<Refusal>,
    },
    /// There is no connection at the moment, and this request does not wait for one.
    #[error("not connected")]
    NotConnected,
    /// Too many requests wait already. Wait for some of them.
    #[error("too many requests are waiting")]
    QueueFull,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
    /// The server answered with something that makes no sense.
    #[error("the server's answer makes no sense: {0}")]
    Protocol(String),
}

impl Error {
    /// What the server said, when it is what decided.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::TimedOut { last } => last.as_ref(),
            Self::Config(_)
            | Self::Certificate(_)
            | Self::Unreachable { .. }
            | Self::NotConnected
            | Self::QueueFull
            | Self::Closed
            | Self::Protocol(_) => None,
        }
    }
}

/// How a send ended when it did not end in an ack.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// Not stored, for good.
    #[error("the server refused the message: {0}")]
    Refused(Refusal),
    /// It may or may not be stored. Sending again with this id finds out and never stores twice.
    #[error("no outcome of message {client_message_id} in time{}", because(last.as_ref()))]
    OutcomeUnknown {
        /// The message's id.
        client_message_id: ClientMessageId,
        /// The last retryable refusal, if there was one.
        last: Option<Refusal>,
    },
    /// Certainly not stored: it was never on its way, or each attempt was answered with a refusal.
    #[error(
        "message {client_message_id} was not sent{}{}",
        if journal.is_some() { "" } else { " in time" },
        because_of(last.as_ref(), journal.as_ref())
    )]
    NotSent {
        /// The message's id.
        client_message_id: ClientMessageId,
        /// The last retryable refusal, if there was one.
        last: Option<Refusal>,
        /// The journal could not take it, and so it did not leave: it is full
        /// ([`JournalError::Full`]), or its disk is ([`JournalError::DiskFull`]), or cannot be
        /// written.
        journal: Option<JournalError>,
    },
    /// The outbox holds as many messages, or bytes, as it may. Not sent.
    #[error("the outbox is full")]
    QueueFull,
    /// The client is closed, and the message was never on its way.
    #[error("the client is closed")]
    Closed,
}

fn because_of(refusal: Option<&Refusal>, journal: Option<&JournalError>) -> String {
    journal.map_or_else(|| because(refusal), |error| format!(": {error}"))
}

fn because(refusal: Option<&Refusal>) -> String {
    refusal.map_or_else(String::new, |refusal| format!("; last: {refusal}"))
}
