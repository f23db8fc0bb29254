//! What a run is played on: a cluster with a proxy before each listener, a small disk for its
//! history, and the servers that it needs. What is done to them is not here.

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use anyhow::Context as _;
use deploy::tiers::{Counts, Instance, Tier};

use super::disk::Disk;
use super::plan::{Part, Target};
use super::proxy::Proxy;
use super::server::{Engine, Servers};
use crate::cluster::Cluster;

/// The tiers that others connect to, and that are struck.
const STRUCK: [Tier; 4] = [Tier::Gateway, Tier::Logic, Tier::Router, Tier::Store];

/// How long a server that is started again may take in the end.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// What the cluster is like.
#[derive(Debug, Clone, clap::Args)]
pub struct Setup {
    /// How many gateways, logics, routers and stores: so many of each
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub each: u8,
    /// Where history is kept
    #[arg(long, value_enum, default_value_t)]
    pub engine: Engine,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            each: 2,
            engine: Engine::Sqlite,
        }
    }
}

impl Setup {
    fn counts(&self) -> Counts {
        let each = usize::from(self.each);
        Counts {
            gateways: each,
            logics: each,
            routers: each,
            stores: each,
        }
    }
}

/// A cluster, and what stands around it.
#[derive(Debug)]
pub struct Arena {
    /// The disk under its history, unmounted before its folder is deleted.
    pub(super) disk: Option<Disk>,
    /// The cluster.
    pub cluster: Cluster,
    proxies: Vec<Proxy>,
    pub(super) servers: Servers,
    /// What cannot be struck on this machine, and why.
    pub(super) skipped: Vec<(&'static str, String)>,
}

impl Arena {
    /// Starts everything.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(setup: &Setup) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let state = folder.path().join("state");
        let data = state.join("data");
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(&data)?;
        let mut skipped = Vec::new();
        let mut disk = None;
        if setup.engine == Engine::Sqlite {
            match Disk::mount(&data) {
                Ok(mounted) => disk = Some(mounted),
                Err(why) => skipped.push(("disk", why.to_string())),
            }
        }
        let counts = setup.counts();
        let (servers, mut arguments) = Servers::start(setup.engine, counts.need_registry()).await?;
        for (option, count) in [
            ("--gateways", counts.gateways),
            ("--logics", counts.logics),
            ("--routers", counts.routers),
            ("--stores", counts.stores),
        ] {
            arguments.extend([option.to_owned(), count.to_string()]);
        }
        let mut proxies = Vec::new();
        for instance in Instance::all(&STRUCK, counts) {
            let proxy = Proxy::listen(&instance.to_string(), &state).await;
            proxies.push(proxy.context("no port for a proxy")?);
        }
        for proxy in &proxies {
            let advertised = format!("{}={}", proxy.instance(), proxy.address());
            arguments.extend(["--advertise".into(), advertised]);
        }
        Ok(Self {
            cluster: Cluster::start_with(folder, &arguments).await?,
            disk,
            proxies,
            servers,
            skipped,
        })
    }

    /// Everything that can be struck.
    ///
    /// # Errors
    /// When the cluster no longer runs.
    pub fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let run = self.cluster.run_file()?;
        let target = |name: &str, part| Target {
            name: name.to_owned(),
            part,
        };
        let struck = run.tiers.iter().filter(|its| STRUCK.contains(&its.tier));
        let processes = struck.map(|its| target(&its.instance().to_string(), Part::Process));
        let gateways = run.addresses.counts().gateways;
        let links = self.proxies.iter().map(|proxy| {
            let name = proxy.instance();
            let to_gateway = name.starts_with(Tier::Gateway.binary());
            let part = if to_gateway && gateways > 1 {
                Part::ClientLink
            } else {
                Part::Link
            };
            target(name, part)
        });
        let disk = self.disk.iter().map(|_| target("disk", Part::Disk));
        let servers = self.servers.names();
        let servers = servers.map(|name| target(name, Part::Server));
        let all: BTreeSet<_> = processes.chain(links).chain(disk).chain(servers).collect();
        Ok(all.into_iter().collect())
    }

    pub(super) fn proxy(&self, instance: &str) -> Option<&Proxy> {
        self.proxies.iter().find(|its| its.instance() == instance)
    }

    /// Waits until everything is back that was struck.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        self.servers.ready(BACK_WITHIN).await?;
        self.cluster.ready().await
    }

    /// Stops everything as Ctrl-C does.
    ///
    /// # Errors
    /// When the cluster does not end in time.
    pub async fn stop(self) -> anyhow::Result<()> {
        let (_, folder) = self.cluster.stop().await?;
        drop(self.disk);
        drop(folder);
        Ok(())
    }
}
