//! A Galera cluster of three on this machine: synchronous replicas, each of which takes writes.
//!
//! A node that was killed comes back with what it lacks alone (an incremental transfer); when the
//! others no longer have that, with a whole copy, for which `rsync` has to be installed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Connection as _, MySqlConnection, Row as _};
use tokio::time::Instant;

use super::server::{self, Server, free_port, installed, keep, kept};

/// How many servers a cluster has: the fewest of which one may be lost.
pub const NODES: usize = 3;

const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// The line by which a node says that it has what the others have.
const SYNCED: &str = "Synchronized with group";

/// What goes before the position in the data of a node that was killed.
const RECOVERED: &str = "Recovered position: ";

/// A node that is not part of the cluster after this long never will be.
const SYNCED_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at a node that is not synced.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A node that answers nothing for this long is counted out by the others, which until then commit
/// nothing. Galera's own value is 5 s.
const SUSPECT: &str = "PT2S";

/// A running cluster, with an empty database `im`.
pub struct Galera {
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    place: Place,
}

/// The address and the ports of a node. An address of its own, so that no connection of others
/// takes a port of it while it is down.
#[derive(Clone, Copy)]
struct Place {
    address: Ipv4Addr,
    port: u16,
    group: u16,
    increments: u16,
    copies: u16,
}

impl Place {
    fn free(node: u8) -> io::Result<Self> {
        let address = Ipv4Addr::new(127, 0, 0, 10 + node);
        Ok(Self {
            address,
            port: free_port(address)?,
            group: free_port(address)?,
            increments: free_port(address)?,
            copies: free_port(address)?,
        })
    }

    fn settings(&self, members: &str) -> Vec<String> {
        let Self {
            address,
            port,
            group,
            increments,
            copies,
        } = self;
        let provider = format!(
            "gmcast.listen_addr=tcp://{address}:{group};ist.recv_addr={address}:{increments};\
             gcache.size=32M;evs.suspect_timeout={SUSPECT};evs.inactive_timeout=PT4S;\
             evs.inactive_check_period=PT0.25S;evs.keepalive_period=PT0.5S;gmcast.time_wait=PT1S"
        );
        vec![
            format!("--port={port}"),
            format!("--bind-address={address}"),
            "--binlog-format=ROW".to_owned(),
            "--default-storage-engine=InnoDB".to_owned(),
            "--innodb-autoinc-lock-mode=2".to_owned(),
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={PROVIDER}"),
            "--wsrep-cluster-name=im".to_owned(),
            format!("--wsrep-cluster-address=gcomm://{members}"),
            format!("--wsrep-node-address={address}"),
            format!("--wsrep-node-name={address}"),
            format!("--wsrep-node-incoming-address={address}:{port}"),
            "--wsrep-sst-method=rsync".to_owned(),
            format!("--wsrep-sst-receive-address={address}:{copies}"),
            format!("--wsrep-provider-options={provider}"),
        ]
    }

    fn url(&self, database: &str) -> String {
        format!("mysql://root@{}:{}/{database}", self.address, self.port)
    }
}

impl Galera {
    /// Starts one.
    ///
    /// # Errors
    /// When Debian's `galera-4` is not installed, or a node does not start.
    pub async fn start() -> io::Result<Self> {
        let data = founded().await?;
        let places: Vec<_> = (0..)
            .take(NODES)
            .map(Place::free)
            .collect::<io::Result<_>>()?;
        let members: Vec<_> = places
            .iter()
            .map(|place| format!("{}:{}", place.address, place.group))
            .collect();
        let members = members.join(",");
        let mut nodes = Vec::new();
        for place in places {
            let server = Server::new(&data, place.settings(&members))?;
            nodes.push(Node { server, place });
        }
        let mut cluster = Self { nodes };
        let [first, second, third] = &mut cluster.nodes[..] else {
            return Err(io::Error::other("a cluster of another size"));
        };
        first.server.start(&["--wsrep-new-cluster"], SYNCED).await?;
        tokio::try_join!(
            second.server.start(&[], SYNCED),
            third.server.start(&[], SYNCED)
        )?;
        for node in 0..NODES {
            cluster.synced(node, NODES).await?;
        }
        Ok(cluster)
    }

    /// The address of a database on all nodes, this one first.
    #[must_use]
    pub fn url_from(&self, first: usize, database: &str) -> String {
        let hosts: Vec<_> = (0..NODES)
            .map(|offset| self.nodes[(first + offset) % NODES].place)
            .map(|place| format!("{}:{}", place.address, place.port))
            .collect();
        format!("mysql://root@{}/{database}", hosts.join(","))
    }

    /// The address of a database on one node.
    #[must_use]
    pub fn url_of(&self, node: usize, database: &str) -> String {
        self.nodes[node].place.url(database)
    }

    /// Where a node takes connections.
    #[must_use]
    pub fn address(&self, node: usize) -> SocketAddr {
        let place = self.nodes[node].place;
        (place.address, place.port).into()
    }

    /// Runs statements in a session of its own, as an administrator would, on all that was committed
    /// on any node.
    ///
    /// # Errors
    /// When one of them fails.
    pub async fn execute_on(&self, node: usize, sql: &str) -> Result<(), sqlx::Error> {
        let causal = format!("SET SESSION wsrep_sync_wait = 15; {sql}");
        server::execute(&self.url_of(node, "im"), &causal).await
    }

    /// kill -9.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self, node: usize) -> io::Result<()> {
        self.nodes[node].server.kill().await
    }

    /// Ends it in order: it says farewell to the others.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self, node: usize) -> io::Result<()> {
        self.nodes[node].server.stop().await
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, node: usize) -> io::Result<()> {
        self.nodes[node].server.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn go_on(&self, node: usize) -> io::Result<()> {
        self.nodes[node].server.signal(Signal::SIGCONT)
    }

    /// Starts a node that was killed or stopped, and waits until it has what the others have.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, node: usize) -> io::Result<()> {
        let server = &mut self.nodes[node].server;
        server.kill().await?;
        let said = server.run(&["--wsrep-recover"]).await?;
        let found = said.lines().find_map(|line| line.split_once(RECOVERED));
        let (_, position) = found.ok_or_else(|| io::Error::other(said.clone()))?;
        let start = format!("--wsrep-start-position={}", position.trim());
        server.start(&[&start], SYNCED).await
    }

    /// Waits until this node is one of `members` that may commit.
    ///
    /// # Errors
    /// When it is not after a long time.
    pub async fn synced(&self, node: usize, members: usize) -> io::Result<()> {
        let url = self.url_of(node, "im");
        let until = Instant::now() + SYNCED_TIMEOUT;
        let wanted = ["Primary", &members.to_string(), "Synced", "ON"].map(str::to_owned);
        loop {
            let found = status(&url).await;
            if found.as_ref().is_ok_and(|found| *found == wanted) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("{url}: {found:?}")));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Component, members, state, readiness.
async fn status(url: &str) -> Result<Vec<String>, sqlx::Error> {
    let looking = async {
        let mut session = MySqlConnection::connect(url).await?;
        let rows = sqlx::raw_sql(
            "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', \
             'wsrep_cluster_size', 'wsrep_local_state_comment', 'wsrep_ready')",
        )
        .fetch_all(&mut session)
        .await?;
        session.close().await?;
        let mut found: Vec<(String, String)> = Vec::new();
        for row in rows {
            found.push((row.try_get(0)?, row.try_get(1)?));
        }
        let order = ["cluster_status", "cluster_size", "state_comment", "ready"];
        found.sort_by_key(|(name, _)| order.iter().position(|end| name.ends_with(end)));
        Ok(found.into_iter().map(|(_, value)| value).collect())
    };
    match tokio::time::timeout(Duration::from_secs(2), looking).await {
        Ok(found) => found,
        Err(_) => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())),
    }
}

/// A data folder of a cluster that was founded once, so that all nodes begin with the same data and
/// none has to copy another's.
async fn founded() -> io::Result<PathBuf> {
    if !Path::new(PROVIDER).exists() {
        let missing = format!("no {PROVIDER}: apt-get install -y galera-4 rsync");
        return Err(io::Error::other(missing));
    }
    let kept = kept("cluster").await?;
    if !kept.exists() {
        let place = Place::free(0)?;
        let mut founder = Server::new(&installed().await?, place.settings(""))?;
        founder.start(&["--wsrep-new-cluster"], SYNCED).await?;
        let made = server::execute(&place.url("mysql"), "CREATE DATABASE im").await;
        made.map_err(io::Error::other)?;
        founder.stop().await?;
        std::fs::remove_file(founder.data().join("galera.cache"))?;
        keep(&founder.data(), &kept)?;
    }
    Ok(kept)
}
