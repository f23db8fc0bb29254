//! Our cluster beside its peers: the same load through each, by the same driver, in one run.
//!
//! A *system* is a server that runs as processes of its own ([`Server`]) and a client protocol as a
//! pure [`Codec`]. Everything between them is the same for every system and for the limit probe:
//! TLS, threads, buffers, pacing and counting.

pub mod codec;
pub mod process;

pub mod flight;
pub mod job;

pub mod driver;

pub mod limit;
pub mod ours;

pub mod ejabberd;
pub mod mosquitto;
pub mod mqtt;
pub mod nats;
pub mod nats_codec;
mod place;
pub mod xmpp;

#[cfg(test)]
mod cuts;

pub mod load;
pub mod run;
pub mod table;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use codec::{Codec, Event};

/// What is compared.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// A bare fan-out over TLS that stores nothing.
    Limit,
    /// Our own cluster.
    Ours,
    /// NATS core: at most once, stores nothing.
    Nats,
    /// NATS with a stream in files.
    Jetstream,
    /// Mosquitto, QoS 1.
    Mosquitto,
    /// ejabberd, rooms with an archive.
    Ejabberd,
}

impl System {
    /// The settings that it is shown with.
    #[must_use]
    pub const fn settings(self) -> &'static [Settings] {
        match self {
            Self::Jetstream => &[Settings::Default, Settings::SyncAlways],
            Self::Limit | Self::Ours | Self::Nats | Self::Mosquitto | Self::Ejabberd => {
                &[Settings::Default]
            }
        }
    }
}

/// How a system is set where its manual leaves a choice that decides what an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settings {
    /// As `bench/peers` has it, or, for us, as it comes.
    Default,
    /// JetStream: synced before every acknowledgement.
    SyncAlways,
}

/// Who is there: `groups` groups of `members`, every member in one of them, over one connection.
/// The member at place `p` of group `g` is the client with the index `g * members + p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Groups, with members of their own.
    pub groups: usize,
    /// Members of each.
    pub members: usize,
}

impl Shape {
    /// How many clients there are.
    #[must_use]
    pub const fn clients(&self) -> usize {
        self.groups * self.members
    }

    /// The group that a client is in.
    #[must_use]
    pub const fn group_of(&self, client: usize) -> usize {
        client / self.members
    }
}

/// A server that runs and is ready for the clients of a shape: accounts, rooms and streams are made.
/// Dropped, it is gone, with its processes and its folder.
pub struct Server {
    /// Whether a message is on disk, synced, before it is acknowledged.
    pub durable: bool,
    /// The processes whose CPU and memory count as the server's: the broker, and its database if it
    /// has one.
    pub pids: Vec<i32>,
    /// How clients reach it.
    pub target: Target,
    /// What ends with it.
    pub keeps: Box<dyn Send>,
}

/// How the clients of a system reach it: everything that the process of the load is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// The port of TLS.
    pub address: SocketAddr,
    /// The name in the server's certificate.
    pub server_name: String,
    /// The authority that signed it, in PEM.
    pub ca: PathBuf,
    /// What is spoken within TLS; empty: it is not said.
    pub alpn: Option<String>,
    /// The server says one line in clear before TLS begins (NATS).
    pub line_before_tls: bool,
    /// Whether the system acknowledges a send; else the sender's own delivery stands for it.
    pub acknowledges: bool,
    /// What the clients speak, and as whom.
    pub clients: Clients,
}

/// What the clients speak, and as whom. [`Clients::codec`] makes the codec of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clients {
    /// The limit probe: the group is the whole address.
    Limit,
    /// Our own protocol.
    Ours(ours::Accounts),
    /// MQTT, with no account.
    Mqtt,
    /// NATS, with no account and no stream.
    Nats,
    /// NATS with a stream for each group, which its first member makes.
    Jetstream,
    /// XMPP. Accounts have their names from the index, and all the same password.
    Xmpp {
        /// That password.
        password: String,
    },
}

impl Clients {
    /// The protocol of the client with this index.
    ///
    /// # Errors
    /// When it has no account.
    pub fn codec(&self, shape: &Shape, client: usize) -> anyhow::Result<Box<dyn Codec>> {
        let group = shape.group_of(client);
        Ok(match self {
            Self::Limit => Box::new(limit::Client::new(group)?),
            Self::Ours(accounts) => Box::new(accounts.client(shape, client)?),
            Self::Mqtt => Box::new(mqtt::Mqtt::new(client, group)),
            Self::Nats => Box::new(nats_codec::Nats::core(client, group)),
            Self::Jetstream => {
                let creates = client.is_multiple_of(shape.members);
                Box::new(nats_codec::Nats::jetstream(client, group, creates))
            }
            Self::Xmpp { password } => Box::new(xmpp::Xmpp::new(client, group, password)),
        })
    }
}

/// Starts a system on free ports of this machine and makes what the clients of `shape` need. Each
/// system's module has a function like this one.
///
/// # Errors
/// When it is not installed, or does not come up; the message says what to do.
pub async fn start(system: System, settings: Settings, shape: &Shape) -> anyhow::Result<Server> {
    match system {
        System::Limit => limit::start().await,
        System::Ours => ours::start(shape).await,
        System::Nats | System::Jetstream => nats::start(system, settings).await,
        System::Mosquitto => mosquitto::start(settings).await,
        System::Ejabberd => ejabberd::start(settings, shape).await,
    }
}

/// The binary of this crate, which has the limit probe and the load as commands of its own.
pub(crate) fn im_bench() -> anyhow::Result<PathBuf> {
    let binary = crate::cluster::binaries()?.join("im-bench");
    anyhow::ensure!(
        binary.is_file(),
        "{} is not built: cargo build --workspace --bins",
        binary.display()
    );
    Ok(binary)
}
