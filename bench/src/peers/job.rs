//! What the process of the load is told and what it answers: one JSON object a line.

use serde::{Deserialize, Serialize};

use super::{Shape, Target};

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// How the clients reach the server.
    pub target: Target,
    /// Who is there.
    pub shape: Shape,
    /// What they publish.
    pub load: Load,
    /// Threads of the load, each with its share of the clients.
    pub threads: usize,
    /// Whose CPU is the server's.
    pub server_pids: Vec<i32>,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// How many members of each group publish: the first ones.
    pub publishers: usize,
    /// Messages of one publisher that are in flight at once at most: not received by every member
    /// yet, or not acknowledged by a system that does. 0: as many as the rate brings.
    pub window: usize,
    /// Messages a second of all publishers together; 0: as many as the window lets through.
    pub rate_per_s: u64,
    /// Bytes of a message.
    pub payload_bytes: usize,
    /// For how long load is offered before anything is counted, in milliseconds.
    pub warm_up_ms: u64,
    /// For how long it is counted, in milliseconds.
    pub measured_ms: u64,
}

/// What the process of the load says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Every client is in its group. The load begins with the next line that comes, whatever it
    /// says, and when none comes the process ends.
    Ready,
    /// The run is over.
    Done(Outcome),
    /// The run has failed.
    Failed(String),
}

/// What was counted. All but `lost`, `duplicated` and `out_of_order` is of the measured time alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How long was measured, in microseconds.
    pub measured_us: u64,
    /// Messages published.
    pub sent: u64,
    /// Acknowledgements received.
    pub acked: u64,
    /// Messages received by members, the publishers among them.
    pub delivered: u64,
    /// From the send to the delivery at each member; with a rate from the moment it was due.
    pub delivery: Quantiles,
    /// From the send to its acknowledgement; where there is none, to its delivery at the publisher.
    pub ack: Quantiles,
    /// With a rate: how long after its schedule a message was sent.
    pub late: Quantiles,
    /// Published and not received, summed over members.
    pub lost: u64,
    /// Received again.
    pub duplicated: u64,
    /// Received after a later one of the same publisher.
    pub out_of_order: u64,
    /// CPU of the server's processes, in microseconds.
    pub server_cpu_us: u64,
    /// CPU of the load, in microseconds.
    pub load_cpu_us: u64,
}

/// Where a distribution lies, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50_us: u64,
    /// One in a hundred is above.
    pub p99_us: u64,
    /// One in a thousand is above.
    pub p999_us: u64,
}
