//! How a client of the run connects: with its credential, and some with a journal that outlives
//! their restarts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use client_sdk::journal::{DiskJournal, JournalError};
use client_sdk::{Client, ClientConfig, ConfigError, Error, Events, MarkPolicy};

use super::layout;
use crate::cluster::Cluster;

/// One client in so many keeps a journal: machines, for a person's emergencies do not wait for it.
const JOURNAL_EVERY: u32 = 4;
const JOURNAL_AT: u32 = 2;

/// How often is looked whether the run before has let go of the journal.
const JOURNAL_POLL: Duration = Duration::from_millis(50);

/// How often a client says that it is there: often enough to learn of a last push that was lost, in
/// the time that it waits for what it lacks.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// A client, and what tells of it.
pub(super) type Session = (Client, Events);

/// Of one client, for all of its runs.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) config: ClientConfig,
    pub(super) journal: Option<PathBuf>,
}

impl Access {
    /// Every second client says itself what was delivered.
    pub(super) fn new(cluster: &Cluster, client: u32, journals: &Path) -> anyhow::Result<Self> {
        let name = layout::name(client);
        let mut config = if layout::is_operator(client) {
            cluster.operator(&name)?
        } else {
            cluster.robot(&name)?
        };
        if client % 2 == 1 {
            config.mark_policy = MarkPolicy::Manual;
        }
        config.heartbeat_interval = Some(HEARTBEAT_INTERVAL);
        let keeps = client % JOURNAL_EVERY == JOURNAL_AT;
        Ok(Self {
            config,
            journal: keeps.then(|| journals.join(name)),
        })
    }

    /// Tries until there is a session: the cluster may be away for longer than one attempt waits.
    pub(super) async fn connect(&self) -> Result<Session, Error> {
        loop {
            let config = self.config.clone();
            let connected = match &self.journal {
                Some(path) => {
                    let journal = Box::new(DiskJournal::new(path));
                    Client::connect_with_journal(config, journal).await
                }
                None => Client::connect(config).await,
            };
            match connected {
                Err(Error::Unreachable { .. }) => {}
                // Whoever went without a farewell closes it in a moment.
                Err(Error::Config(ConfigError::Journal(JournalError::InUse { .. }))) => {
                    tokio::time::sleep(JOURNAL_POLL).await;
                }
                other => return other,
            }
        }
    }
}
