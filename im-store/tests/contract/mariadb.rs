//! A private MariaDB server: Debian's package, a data folder and a port of its own, killed on drop.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};
use tempfile::TempDir;

/// Where Debian puts the server; it may be missing in a user's PATH.
const SERVER: &str = "/usr/sbin/mariadbd";

/// The line by which the server says that it takes connections.
const READY: &str = "ready for connections";

/// A running server. Every start with the same folder and port is the same database.
pub(crate) struct MariaDb {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

impl MariaDb {
    /// Starts one with an empty database `im`.
    pub(crate) async fn start() -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "no {SERVER}: apt-get install -y mariadb-server"
        );
        let folder = tempfile::tempdir().unwrap();
        copy(&installed(), &folder.path().join("data"));
        let mut server = Self {
            folder,
            port: free_port(),
            server: None,
        };
        server.restart(&[]);
        server.execute_on("mysql", "CREATE DATABASE im").await;
        server
    }

    /// The address of a database on it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements in a session of its own, as an administrator would.
    pub(crate) async fn execute_on(&self, database: &str, sql: &str) {
        let mut session = self.session(database).await;
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    pub(crate) async fn session(&self, database: &str) -> MySqlConnection {
        MySqlConnection::connect(&self.url(database)).await.unwrap()
    }

    /// kill -9, and the process is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it on the same data, and waits until it is ready.
    pub(crate) fn restart(&mut self, settings: &[&str]) {
        self.kill();
        let folder = self.folder.path().display();
        let mut server = Command::new(SERVER)
            .arg("--no-defaults")
            .arg(format!("--datadir={folder}/data"))
            .arg(format!("--tmpdir={folder}"))
            .arg(format!("--socket={folder}/socket"))
            .arg(format!("--pid-file={folder}/pid"))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--skip-networking=0"])
            .args(["--skip-name-resolve", "--skip-log-bin"])
            .args([
                "--innodb-log-file-size=16M",
                "--innodb-buffer-pool-size=64M",
            ])
            .args([
                "--innodb-flush-log-at-trx-commit=1",
                "--performance-schema=OFF",
            ])
            .args(as_user())
            .args(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let ready = log.by_ref().map_while(Result::ok).any(|line| {
            said.push_str(&line);
            said.push('\n');
            line.contains(READY)
        });
        self.server = Some(server);
        assert!(ready, "mariadbd ended:\n{said}");
        // Read on, so that it never waits for room in the pipe.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An empty data folder, installed once for each version of the server and copied from then on.
fn installed() -> PathBuf {
    let version = Command::new(SERVER).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout);
    let name = version.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let installed = all.join(name);
    if !installed.exists() {
        let folder = tempfile::tempdir_in(all).unwrap();
        let data = folder.path().join("data");
        let install = Command::new("mariadb-install-db")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", folder.path().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--innodb-log-file-size=16M", "--skip-name-resolve"])
            .args(as_user())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&install.stderr);
        assert!(install.status.success(), "mariadb-install-db: {said}");
        // Whole or not at all. Another test may have been faster: its folder is as good.
        let moved = std::fs::rename(&data, &installed);
        assert!(moved.is_ok() || installed.exists(), "{moved:?}");
    }
    installed
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The server refuses to run as root unless told so.
fn as_user() -> Option<&'static str> {
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    root.then_some("--user=root")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
