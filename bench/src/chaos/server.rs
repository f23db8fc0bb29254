//! The servers that are not ours and that a run starts for itself, from Debian's packages: the
//! database, and Redis. They are private, and end when this is dropped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_store::testing::{Galera, MariaDb, NODES};
use service_kit::testing::RedisServer;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::plan::{Kind, Measure};

/// The database of a run.
const DATABASE: &str = "im";

/// Where history is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// In a file, on a small disk of its own.
    #[default]
    Sqlite,
    /// On one MariaDB server.
    Mariadb,
    /// On a Galera cluster of three.
    Galera,
}

enum Server {
    MariaDb(MariaDb),
    Galera(Galera),
    Redis(RedisServer),
}

/// All of them, by the names of their processes. A cluster is under one lock: the loss of one node
/// at a time is what it is made for.
#[derive(Default)]
pub(super) struct Servers(Vec<(String, usize, Arc<Mutex<Server>>)>);

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Servers {
    /// Starts what a cluster needs. Returns what `swarm up` is told of it.
    pub(super) async fn start(
        engine: Engine,
        with_redis: bool,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let mut servers = Self::default();
        let mut arguments = Vec::new();
        match engine {
            Engine::Sqlite => {}
            Engine::Mariadb => {
                let server = MariaDb::start().await?;
                arguments.extend(["--store".to_owned(), server.url(DATABASE)]);
                servers.add(["mariadb".into()], Server::MariaDb(server));
            }
            Engine::Galera => {
                let server = Galera::start().await?;
                arguments.extend(["--store".to_owned(), server.url_from(0, DATABASE)]);
                let names = (1..=NODES).map(|node| format!("mariadb-{node}"));
                servers.add(names, Server::Galera(server));
            }
        }
        if with_redis {
            let server = tokio::task::spawn_blocking(|| RedisServer::start(&[])).await?;
            arguments.extend(["--redis".to_owned(), server.url()]);
            servers.add(["redis".into()], Server::Redis(server));
        }
        Ok((servers, arguments))
    }

    fn add(&mut self, names: impl IntoIterator<Item = String>, server: Server) {
        let server = Arc::new(Mutex::new(server));
        let nodes = names.into_iter().enumerate();
        let nodes = nodes.map(|(node, name)| (name, node, Arc::clone(&server)));
        self.0.extend(nodes);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, ..)| name.as_str())
    }

    /// Strikes one of them. It is missed while it, or another of its cluster, is away.
    pub(super) async fn strike(
        &self,
        name: &str,
        kind: Kind,
        measure: &Measure,
    ) -> anyhow::Result<()> {
        let found = self.0.iter().find(|(its, ..)| its == name);
        let (_, node, server) = found.context("it has not started")?;
        let server = Arc::clone(server).try_lock_owned();
        let mut server = server.context("it, or another of its cluster, is away")?;
        if kind == Kind::Pause {
            server.pause(*node)?;
            tokio::time::sleep(measure.lasts).await;
            return server.go_on(*node);
        }
        server.kill(*node).await?;
        tokio::time::sleep(measure.lasts).await;
        start_again(server, *node, measure.forgets).await
    }

    /// Waits until all that was struck is back.
    pub(super) async fn ready(&self, within: Duration) -> anyhow::Result<()> {
        for (name, _, server) in &self.0 {
            let back = tokio::time::timeout(within, server.lock()).await;
            drop(back.with_context(|| format!("{name} stays away"))?);
        }
        Ok(())
    }
}

impl Server {
    fn pause(&self, node: usize) -> anyhow::Result<()> {
        match self {
            Self::MariaDb(server) => server.pause()?,
            Self::Galera(cluster) => cluster.pause(node)?,
            Self::Redis(server) => server.pause(),
        }
        Ok(())
    }

    fn go_on(&self, node: usize) -> anyhow::Result<()> {
        match self {
            Self::MariaDb(server) => server.go_on()?,
            Self::Galera(cluster) => cluster.go_on(node)?,
            Self::Redis(server) => server.resume(),
        }
        Ok(())
    }

    async fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        match self {
            Self::MariaDb(server) => server.kill().await?,
            Self::Galera(cluster) => cluster.kill(node).await?,
            Self::Redis(server) => server.kill(),
        }
        Ok(())
    }
}

async fn start_again(
    mut server: OwnedMutexGuard<Server>,
    node: usize,
    forgets: bool,
) -> anyhow::Result<()> {
    match &mut *server {
        Server::MariaDb(server) => server.restart(&[]).await?,
        Server::Galera(cluster) => cluster.restart(node).await?,
        Server::Redis(_) => {
            let start = move || match &mut *server {
                Server::Redis(redis) if forgets => redis.restart_empty(),
                Server::Redis(redis) => redis.restart(),
                Server::MariaDb(_) | Server::Galera(_) => {}
            };
            tokio::task::spawn_blocking(start).await?;
        }
    }
    Ok(())
}
