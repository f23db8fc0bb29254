//! One server process over a data folder: started, killed, paused, and started again.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// Where Debian puts the server; it may be missing in a user's PATH.
pub(super) const SERVER: &str = "/usr/sbin/mariadbd";

/// The line by which the server says that it takes connections.
pub(super) const READY: &str = "ready for connections";

/// A server that is not ready after this long never will be.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The user that Debian's package makes. A server refuses to run as root.
const USER: &str = "mysql";

/// A server's folder, and its process while it runs.
pub(super) struct Server {
    folder: TempDir,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Over a copy of the data folder `from`, with these settings at every start.
    pub(super) fn new(from: &Path, settings: Vec<String>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        copy(from, &folder.path().join("data"))?;
        if let Some(owner) = other_user()? {
            give(folder.path(), owner)?;
        }
        Ok(Self {
            folder,
            settings,
            process: None,
        })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, more: &[&str]) -> io::Result<Command> {
        let folder = self.folder.path().display();
        let mut command = Command::new(SERVER);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={folder}/data"))
            .arg(format!("--tmpdir={folder}"))
            .arg(format!("--socket={folder}/socket"))
            .arg(format!("--pid-file={folder}/pid"))
            .args(["--skip-networking=0", "--skip-name-resolve"])
            .args(["--skip-log-bin", "--performance-schema=OFF"])
            .args(LOG_FILE_SIZE)
            .arg("--innodb-buffer-pool-size=64M")
            .arg("--innodb-flush-log-at-trx-commit=1")
            .args(other_user()?.map(|_| format!("--user={USER}")))
            .args(&self.settings)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Starts it, and waits until it says so.
    pub(super) async fn start(&mut self, more: &[&str], ready: &str) -> io::Result<()> {
        self.kill().await?;
        let mut process = self.command(more)?.spawn()?;
        let log = process.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        self.process = Some(process);
        let mut log = BufReader::new(log).lines();
        tokio::time::timeout(READY_TIMEOUT, until(&mut log, ready)).await??;
        // Read on, so that it never waits for room in the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Ok(())
    }

    /// Starts it for one task, and returns what it said until its end.
    pub(super) async fn run(&self, more: &[&str]) -> io::Result<String> {
        let running = self.command(more)?.output();
        let said = tokio::time::timeout(READY_TIMEOUT, running).await??;
        Ok(String::from_utf8_lossy(&said.stderr).into_owned())
    }

    /// kill -9, and the process is gone.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn stop(&mut self) -> io::Result<()> {
        self.signal(Signal::SIGTERM)?;
        if let Some(mut process) = self.process.take() {
            tokio::time::timeout(READY_TIMEOUT, process.wait()).await??;
        }
        Ok(())
    }

    /// Its process, while it runs.
    pub(super) fn pid(&self) -> Option<i32> {
        let pid = self.process.as_ref().and_then(Child::id);
        pid.and_then(|pid| i32::try_from(pid).ok())
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self
            .pid()
            .ok_or_else(|| io::Error::other("the server does not run"))?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }
}

async fn until(log: &mut Lines<BufReader<ChildStderr>>, ready: &str) -> io::Result<()> {
    let mut said = String::new();
    while let Some(line) = log.next_line().await? {
        if line.contains(ready) {
            return Ok(());
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(io::Error::other(format!("mariadbd ended:\n{said}")))
}

/// The same for the installation and every start: the server refuses files of another size.
const LOG_FILE_SIZE: [&str; 1] = ["--innodb-log-file-size=16M"];

/// An empty data folder, installed once for each version of the server and copied from then on.
pub(super) async fn installed() -> io::Result<PathBuf> {
    let kept = kept("alone").await?;
    if !kept.exists() {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let install = Command::new("mariadb-install-db")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", folder.path().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(LOG_FILE_SIZE)
            .arg("--skip-name-resolve")
            .args(other_user()?.map(|_| "--user=root"))
            .output()
            .await?;
        if !install.status.success() {
            let said = String::from_utf8_lossy(&install.stderr);
            return Err(io::Error::other(format!("mariadb-install-db: {said}")));
        }
        keep(&data, &kept)?;
    }
    Ok(kept)
}

/// Where a data folder is kept from one test to the next.
pub(super) async fn kept(kind: &str) -> io::Result<PathBuf> {
    let version = Command::new(SERVER).arg("--version").output().await;
    let version = version.map_err(|error| {
        io::Error::other(format!(
            "{SERVER}: {error}; apt-get install -y mariadb-server"
        ))
    })?;
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let all = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tmp"));
    std::fs::create_dir_all(all)?;
    Ok(all.join(format!("{kind}-{version}")))
}

/// Whole or not at all. Another test may have been faster: its folder is as good.
pub(super) fn keep(data: &Path, kept: &Path) -> io::Result<()> {
    let beside = kept.parent().unwrap_or(kept);
    let folder = tempfile::tempdir_in(beside)?;
    let whole = folder.path().join("data");
    copy(data, &whole)?;
    match std::fs::rename(&whole, kept) {
        Err(error) if !kept.exists() => Err(error),
        _ => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The user and group that a server runs as when its tests run as root.
fn other_user() -> io::Result<Option<(u32, u32)>> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = |field: Option<&str>| field.and_then(|field| field.parse().ok());
        (fields.next() == Some(USER)).then(|| Some((id(fields.nth(1))?, id(fields.next())?)))
    });
    let found = found.flatten();
    found
        .map(Some)
        .ok_or_else(|| io::Error::other(format!("no user {USER}: apt-get install mariadb-server")))
}

fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    chown(path, Some(user), Some(group))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), (user, group))?;
        }
    }
    Ok(())
}

pub(super) fn free_port(address: Ipv4Addr) -> io::Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

/// Runs statements in a session of its own, as an administrator would.
pub(super) async fn execute(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let mut session = MySqlConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut session)
        .await?;
    session.close().await
}
