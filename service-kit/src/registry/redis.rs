//! The connection to Redis: one server, the master that a Sentinel names, or a Redis Cluster. The
//! one file that names the client crate.
//!
//! It knows scripts of one key and nothing of what they do. A connection that failed in any way is
//! thrown away, and the next call makes another: after a fail-over that finds the new master.

use std::fmt::Display;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client as SingleClient, Cmd, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
    TlsMode,
};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a connection may take to be made, asking the Sentinels included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long Redis may take to answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a request to a cluster follows the slots to where they have gone.
const CLUSTER_RETRIES: u32 = 3;

/// What scripts begin with: the time in milliseconds by the clock of Redis, the only one that all
/// processes share.
pub(super) const NOW: &str = "local t = redis.call('TIME') \
     local now = t[1] * 1000 + math.floor(t[2] / 1000) ";

/// Why a call has no result.
#[derive(Debug, Error)]
pub(super) enum CallError {
    /// The server does not take the user and the password.
    #[error("the user or the password is refused: {0}")]
    Refused(RedisError),
    /// It said something else than a result.
    #[error("{0}")]
    Failed(RedisError),
    /// It said nothing in time.
    #[error("no answer in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

impl From<RedisError> for CallError {
    fn from(error: RedisError) -> Self {
        let unauthenticated = matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
        if unauthenticated || error.kind() == ErrorKind::AuthenticationFailed {
            Self::Refused(error)
        } else {
            Self::Failed(error)
        }
    }
}

/// Makes connections, and keeps the last one.
pub(super) struct Client {
    target: Mutex<Target>,
    current: Mutex<Current>,
}

enum Target {
    Single(SingleClient),
    Sentinel(SentinelClient),
    Cluster(ClusterClient),
}

#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    /// Of the connection, so that a late failure of an old one does not end a new one.
    serial: u64,
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Client {
    /// For an address in one of three forms; see the section `[cluster]`. Over TLS the servers'
    /// authority is this PEM, else one of the system's. Connects to nothing.
    ///
    /// # Errors
    /// What is wrong with the address, without repeating it: it may have a password.
    pub(super) fn new(url: &str, ca: Option<Vec<u8>>) -> Result<Self, String> {
        let target = Target::parse(url, ca)?;
        Ok(Self {
            target: Mutex::new(target),
            current: Mutex::default(),
        })
    }

    /// Whether the server is there and lets us in.
    pub(super) async fn ping(&self) -> Result<(), CallError> {
        let _: String = self.query(&redis::cmd("PING")).await?;
        Ok(())
    }

    /// Runs a script that touches this one key; its result is a list of texts.
    pub(super) async fn eval(
        &self,
        script: &str,
        key: &str,
        arguments: &[String],
    ) -> Result<Vec<String>, CallError> {
        // With its text each time: the server keeps it by its hash, also after a fail-over.
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(1).arg(key).arg(arguments);
        self.query(&command).await
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CallError> {
        let (connection, serial) = timeout(CONNECT_TIMEOUT, self.connection()).await??;
        let asked = timeout(RESPONSE_TIMEOUT, async {
            match connection {
                Connection::Server(mut server) => command.query_async(&mut server).await,
                Connection::Cluster(mut cluster) => command.query_async(&mut cluster).await,
            }
        });
        let answer = match asked.await {
            Ok(answer) => answer.map_err(CallError::from),
            Err(elapsed) => Err(elapsed.into()),
        };
        if answer.is_err() {
            let mut current = self.current.lock().await;
            if current.serial == serial {
                current.connection = None;
            }
        }
        answer
    }

    async fn connection(&self) -> RedisResult<(Connection, u64)> {
        let mut current = self.current.lock().await;
        if current.connection.is_none() {
            current.connection = Some(self.target.lock().await.connect().await?);
            current.serial += 1;
        }
        let connection = current.connection.clone().expect("it was just made");
        Ok((connection, current.serial))
    }
}

impl Target {
    fn parse(url: &str, ca: Option<Vec<u8>>) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("not of the form redis://…")?;
        let (base, kind) = match scheme.split_once('+') {
            Some((base, kind)) => (base, Some(kind)),
            None => (scheme, None),
        };
        if !matches!(base, "redis" | "rediss") {
            return Err(format!("`{base}` is neither redis nor rediss"));
        }
        let (who, rest) = match rest.rsplit_once('@') {
            Some((who, rest)) => (format!("{who}@"), rest),
            None => (String::new(), rest),
        };
        let (hosts, path) = match rest.split_once('/') {
            Some((hosts, path)) => (hosts, path),
            None => (rest, ""),
        };
        let server = |host: &str, path: &str| {
            format!("{base}://{who}{host}/{path}")
                .into_connection_info()
                .map_err(|error| said(&error))
        };
        let servers = |path| hosts.split(',').map(move |host| server(host, path));
        let certificates = (base == "rediss").then_some(TlsCertificates {
            client_tls: None,
            root_cert: ca,
        });
        let target = match kind {
            None => single(server(hosts, path)?, certificates).map(Self::Single),
            Some("sentinel") if path.is_empty() => {
                return Err("no name of a master after the Sentinels: …/NAME".into());
            }
            Some("sentinel") => {
                let sentinels: Vec<_> = servers("").collect::<Result<_, _>>()?;
                sentinel(&sentinels, path, certificates).map(Self::Sentinel)
            }
            Some("cluster") => {
                let servers = servers(path).collect::<Result<_, _>>()?;
                cluster(servers, certificates).map(Self::Cluster)
            }
            Some(other) => return Err(format!("`{other}` is neither sentinel nor cluster")),
        };
        target.map_err(|error| said(&error))
    }

    async fn connect(&mut self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        match self {
            Self::Single(client) => client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map(Connection::Server),
            Self::Sentinel(client) => client
                .get_async_connection_with_config(&config)
                .await
                .map(Connection::Server),
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

fn single(
    server: ConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> RedisResult<SingleClient> {
    match certificates {
        Some(certificates) => SingleClient::build_with_tls(server, certificates),
        None => SingleClient::open(server),
    }
}

/// User and password are for the servers; Sentinels are asked without.
fn sentinel(
    sentinels: &[ConnectionInfo],
    master: &str,
    certificates: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let addresses = sentinels.iter().map(|sentinel| sentinel.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
    let server = sentinels.first().map(ConnectionInfo::redis_settings);
    if let Some(user) = server.and_then(RedisConnectionInfo::username) {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = server.and_then(RedisConnectionInfo::password) {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build()
}

fn cluster(
    servers: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
) -> RedisResult<ClusterClient> {
    let mut builder = ClusterClient::builder(servers)
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(RESPONSE_TIMEOUT)
        .retries(CLUSTER_RETRIES);
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    builder.build()
}

fn said(error: &impl Display) -> String {
    error.to_string()
}
