//! Private database servers for tests: MariaDB alone, and a Galera cluster of three. From Debian's
//! packages, each with folders and ports of its own, and killed on drop. And what both engines are
//! filled with when a measurement needs a long history.
//!
//! Behind the feature `testing`, so that no process carries it. Not here: what is tested.

mod galera;
mod mariadb;
mod server;

use bytes::Bytes;
use protocol::wire::EntryKind;
use protocol::{AccountId, ConversationId};

pub use galera::{Galera, NODES};
pub use mariadb::MariaDb;

/// A long history that is put into a database directly, without the time that sending it takes.
#[derive(Debug, Clone)]
pub struct Filling {
    /// Where to; it exists.
    pub conversation: ConversationId,
    /// Whose entries.
    pub sender: AccountId,
    /// How many.
    pub entries: u64,
    /// What each of them is.
    pub kind: EntryKind,
    /// The encoded content of each.
    pub content: Bytes,
    /// When the last of them was committed, in Unix milliseconds.
    pub now_ms: u64,
}
