//! The lines of a record. What they mean is judged elsewhere.

use serde::{Deserialize, Serialize};

/// One line. Times are microseconds since the record began, of a clock that does not step; clients
/// and conversations go by small numbers that [`Event::Client`] and [`Event::Conversation`] give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Began {
        /// Everything that is drawn is drawn from it.
        seed: u64,
        /// Milliseconds since the Unix epoch.
        unix_ms: u64,
        /// How long a send may take.
        send_timeout_ms: u64,
    },
    /// An account whose deliveries are recorded.
    Client {
        /// Its number in this record.
        client: u32,
        /// Its account.
        account: u64,
        /// Its name.
        name: String,
        /// Whether it keeps its sends in a journal.
        #[serde(default, skip_serializing_if = "is_false")]
        journal: bool,
    },
    /// A conversation of the run.
    Conversation {
        /// Its number in this record.
        conversation: u32,
        /// As logs print it.
        id: String,
        /// The two accounts of a pair; empty for a group, whose members its log names.
        pair: Vec<u64>,
    },
    /// A client starts, with no memory but the marks that the server keeps.
    RunBegan {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Its how-manieth, from 1.
        run: u32,
    },
    /// A client has ended; nothing is handed over in this run any more.
    RunEnded {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Which.
        run: u32,
        /// By what.
        by: String,
    },
    /// The *delivered* mark that the server tells a client which starts.
    ServerMark {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where.
        conversation: u32,
        /// Up to here.
        delivered: u64,
    },
    /// A client says that everything up to here was delivered.
    Marked {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where.
        conversation: u32,
        /// Up to here.
        sequence: u64,
    },
    /// A send begins.
    Sent {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where to.
        conversation: u32,
        /// The message; unique in the record.
        message: u64,
        /// After this moment it is worth nothing, and a placeholder; 0: never.
        #[serde(default, skip_serializing_if = "is_zero")]
        deadline_us: u64,
    },
    /// A send ends.
    Ended {
        /// When.
        at_us: u64,
        /// Which.
        message: u64,
        /// How.
        outcome: Outcome,
    },
    /// What a later run of its client learns of a message that its journal kept.
    Resolved {
        /// When.
        at_us: u64,
        /// Which.
        message: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// An ephemeral message is sent: it is not stored, and may be lost.
    EphemeralSent {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where to.
        conversation: u32,
        /// The message; unique in the record, among the others too.
        message: u64,
    },
    /// An ephemeral message is handed to the application.
    EphemeralDelivered {
        /// When.
        at_us: u64,
        /// To whom.
        client: u32,
        /// Where.
        conversation: u32,
        /// What it says.
        says: Says,
    },
    /// A message is handed to the application.
    Delivered {
        /// When.
        at_us: u64,
        /// To whom.
        client: u32,
        /// In which run.
        run: u32,
        /// Where.
        conversation: u32,
        /// Under which number.
        sequence: u64,
        /// What it says.
        says: Says,
        /// Whether it was said to be one that an earlier run may have seen.
        #[serde(default, skip_serializing_if = "is_false")]
        flagged: bool,
    },
    /// A client is told that it is a member from now on, or no longer one.
    Membership {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where.
        conversation: u32,
        /// Whether it is one.
        joined: bool,
    },
    /// A client is told that it is connected, or no longer.
    Link {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Why it no longer is; empty when it is.
        lost: String,
    },
    /// Somebody asked for another membership.
    Change {
        /// When.
        at_us: u64,
        /// Where.
        conversation: u32,
        /// Whose.
        account: u64,
        /// In or out.
        joins: bool,
        /// What came of it.
        outcome: String,
    },
    /// A fault was made.
    Fault {
        /// When it began.
        at_us: u64,
        /// When it ended, as far as its maker ends it.
        until_us: u64,
        /// Where.
        target: String,
        /// What.
        fault: String,
    },
    /// The harness did something so much later than it was due.
    Lag {
        /// When it did.
        at_us: u64,
        /// By how much.
        late_us: u64,
    },
    /// The memory of a process.
    Memory {
        /// When.
        at_us: u64,
        /// Whose.
        target: String,
        /// Its process id: another one is another life.
        pid: i32,
        /// Resident, in bytes.
        rss_bytes: u64,
    },
    /// One entry of the log, as it was read back in the end.
    Entry {
        /// Where.
        conversation: u32,
        /// Its number.
        sequence: u64,
        /// What it says.
        says: Says,
        /// Who came and went by it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<Change>,
    },
    /// All entries of the log were read back.
    History {
        /// Where.
        conversation: u32,
        /// The highest number.
        head: u64,
    },
    /// The last line: a record without it is cut off.
    Finished {
        /// When.
        at_us: u64,
    },
}

/// How a send ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Committed under this number.
    Acked {
        /// The number.
        sequence: u64,
    },
    /// Not stored, for good.
    Refused {
        /// The error's code.
        code: String,
    },
    /// It may be stored.
    Unknown,
    /// Certainly not stored.
    NotSent,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// A message of the run.
    Message(u64),
    /// The server's own word of who came and went.
    Membership,
    /// Nothing: a placeholder.
    Nothing,
    /// Something that nobody of the run has sent.
    Altered,
}

/// One who came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who.
    pub account: u64,
    /// In or out.
    pub joined: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}
