//! Servers as child processes: a free port, a log, an end with us.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long a server may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);

/// How often is looked whether it does.
const POLL: Duration = Duration::from_millis(25);

/// How much of its log is shown when it does not.
const LOG_LINES_SHOWN: usize = 20;

/// A port that nobody has now.
///
/// # Errors
/// When the machine has none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Lets this process, and those that it starts from now on, have as many files open as the system
/// allows: each connection is one at either end, and the usual limit is 1,024.
///
/// # Errors
/// When the system refuses.
pub fn allow_many_files() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// A server process, killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: i32,
    log: PathBuf,
}

impl Process {
    /// Starts it, with what it prints in `log`.
    ///
    /// # Errors
    /// When there is no such program; the message says which package has it.
    pub fn start(mut command: Command, package: &str, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log)?;
        let program = command.as_std().get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let program = program.display();
                format!("cannot start {program}: apt-get install {package}")
            })?;
        let pid = child.id().context("it has ended already")?;
        Ok(Self {
            child,
            pid: i32::try_from(pid)?,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it takes connections at this address.
    ///
    /// # Errors
    /// When it ends, or takes too long; the message has the end of its log.
    pub async fn listens(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + LISTENS_WITHIN;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the server ended with {status}:\n{}", self.log());
            }
            ensure!(
                Instant::now() < deadline,
                "nothing listens at {address}:\n{}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The end of what it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}
