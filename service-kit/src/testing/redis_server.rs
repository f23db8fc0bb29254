//! Private Redis servers: Debian's packages, folders and ports of their own, killed on drop.
//!
//! One server, a master with a replica under three Sentinels, and a Redis Cluster of three masters.
//! What goes wrong here is a panic that says what: this is for tests alone.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::clock;

/// How long a server may take to answer, and servers to find each other.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What the Sentinels call the master.
const MASTER: &str = "im";

/// One server. Every start of it has the same port and, unless they were lost, the same data.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    /// Lines of its configuration file.
    settings: Vec<String>,
    is_sentinel: bool,
    process: Option<Child>,
}

impl RedisServer {
    /// A server that keeps everything on disk before it answers.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        Self::on(free_port(), settings)
    }

    fn on(port: u16, settings: &[&str]) -> Self {
        let always = ["appendonly yes", "appendfsync always", "save \"\""];
        Self::new(port, always.iter().chain(settings), false)
    }

    fn sentinel(master: u16) -> Self {
        let settings = [
            format!("sentinel monitor {MASTER} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {MASTER} 500"),
            format!("sentinel failover-timeout {MASTER} 3000"),
        ];
        Self::new(free_port(), &settings, true)
    }

    fn new<S: ToString>(
        port: u16,
        settings: impl IntoIterator<Item = S>,
        is_sentinel: bool,
    ) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().expect("a folder"),
            port,
            settings: settings.into_iter().map(|line| line.to_string()).collect(),
            is_sentinel,
            process: None,
        };
        let folder = server.folder.path().display();
        let mut lines = server.settings.clone();
        lines.push(format!("port {port}"));
        lines.push("bind 127.0.0.1".into());
        lines.push(format!("dir {folder}"));
        lines.push(format!("logfile {folder}/log"));
        std::fs::write(server.file("conf"), lines.join("\n")).expect("a file");
        server.restart();
        server
    }

    /// Its port on this machine.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// For `cluster.redis`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// kill -9, and the process is gone.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("our process");
            process.wait().expect("our process");
        }
    }

    /// SIGSTOP: it is there and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        let id = i32::try_from(process.id()).expect("ids are positive");
        kill(Pid::from_raw(id), signal).expect("our process");
    }

    /// Starts it, after a kill if it runs, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn restart(&mut self) {
        self.kill();
        let program = if self.is_sentinel {
            "redis-sentinel"
        } else {
            "redis-server"
        };
        let process = Command::new(program)
            .arg(self.file("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = process
            .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install -y {program}"));
        self.process = Some(process);
        until(&format!("{program} on {}", self.port), || self.answers());
    }

    /// Starts it with nothing in it.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart_empty(&mut self) {
        self.kill();
        let data = self.file("appendonlydir");
        if data.exists() {
            std::fs::remove_dir_all(data).expect("our folder");
        }
        self.restart();
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        let folder: &Path = self.folder.path();
        folder.join(name)
    }

    fn answers(&mut self) -> bool {
        let ended = self.process.as_mut().map(Child::try_wait);
        if !matches!(ended, Some(Ok(None))) {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            panic!("a Redis ended: {ended:?}\n{log}");
        }
        let asked = || -> std::io::Result<String> {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let mut stream = TcpStream::connect_timeout(&address, LOOK_EVERY)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 64];
            let length = stream.read(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
        };
        // With a password it answers too, that it wants it.
        asked().is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
    }

    /// What `redis-cli` says to this command.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(words);
        let output = command.output().expect("redis-cli");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A master and its replica, and three Sentinels that make the replica the master if need be.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The master at first.
    pub master: RedisServer,
    /// Its replica at first.
    pub replica: RedisServer,
    /// Who decides.
    pub sentinels: [RedisServer; 3],
}

impl RedisSentinels {
    /// Starts them, and waits until each Sentinel knows the others and the replica.
    ///
    /// # Panics
    /// If they do not start or do not find each other.
    #[must_use]
    pub fn start() -> Self {
        let master = RedisServer::start(&["repl-diskless-sync-delay 0"]);
        let of_master = format!("replicaof 127.0.0.1 {}", master.port);
        let replica = RedisServer::start(&[&of_master]);
        // Before the Sentinels, which ask a master for its replicas at once and then each 10 s.
        until("the replica", || {
            replica
                .command(&["info", "replication"])
                .contains("master_link_status:up")
        });
        let sentinels = [(); 3].map(|()| RedisServer::sentinel(master.port));
        for sentinel in &sentinels {
            until("the Sentinels", || {
                let known = sentinel.command(&["sentinel", "master", MASTER]);
                let words: Vec<_> = known.lines().collect();
                let has = |word, value| words.windows(2).any(|pair| *pair == [word, value]);
                has("num-slaves", "1") && has("num-other-sentinels", "2")
            });
        }
        Self {
            master,
            replica,
            sentinels,
        }
    }

    /// For `cluster.redis`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/{MASTER}", hosts(&self.sentinels))
    }
}

/// A Redis Cluster of three masters.
#[derive(Debug)]
pub struct RedisCluster {
    /// Each has a third of the slots.
    pub servers: [RedisServer; 3],
}

impl RedisCluster {
    /// Starts them, and waits until each says that the cluster is whole.
    ///
    /// # Panics
    /// If they do not start or do not find each other.
    #[must_use]
    pub fn start() -> Self {
        let servers = [(); 3].map(|()| {
            let bus = format!("cluster-port {}", free_port());
            RedisServer::start(&["cluster-enabled yes", "cluster-node-timeout 1000", &bus])
        });
        let addresses = hosts(&servers);
        let created = Command::new("redis-cli")
            .args(["--cluster-yes", "--cluster", "create"])
            .args(addresses.split(','))
            .output()
            .expect("redis-cli");
        let said = String::from_utf8_lossy(&created.stdout);
        assert!(created.status.success(), "no cluster: {said}");
        for server in &servers {
            until("the cluster", || {
                server
                    .command(&["cluster", "info"])
                    .contains("cluster_state:ok")
            });
        }
        Self { servers }
    }

    /// For `cluster.redis`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", hosts(&self.servers))
    }
}

fn hosts(servers: &[RedisServer]) -> String {
    let hosts = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port));
    hosts.collect::<Vec<_>>().join(",")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = clock::now() + START_MAX;
    while !holds() {
        assert!(clock::now() < deadline, "waited too long for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A port of this machine that nobody has just now.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
