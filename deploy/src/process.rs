//! One tier's process: started so that it dies with its supervisor, its log passed on line by line,
//! ended politely and then not.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::restart::Exit;
use crate::screen;
use crate::state::TierProcess;
use crate::tiers::Instance;

/// How long a tier has between SIGTERM and SIGKILL: its own drain and a little more.
const STOP_GRACE: Duration = Duration::from_secs(8);

/// How often a process that is not our child is looked at while it ends.
const LEFTOVER_POLL: Duration = Duration::from_millis(20);

/// How a tier is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) instance: Instance,
    pub(crate) executable: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
}

impl Launch {
    /// Starts the process in a process group of its own, so that Ctrl-C reaches `swarm` alone, and
    /// by way of [`become_tier`], so that it does not outlive `swarm`.
    pub(crate) fn start(&self) -> std::io::Result<Child> {
        let mut child = Command::new("/proc/self/exe")
            .arg(BECOME_TIER)
            .arg(std::process::id().to_string())
            .arg(&self.executable)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        if let Some(out) = child.stdout.take() {
            tokio::spawn(pass_on(self.instance, out));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(pass_on(self.instance, err));
        }
        Ok(child)
    }
}

/// The first argument by which `swarm` turns itself into a tier; see [`become_tier`].
pub(crate) const BECOME_TIER: &str = "become-tier";

/// Asks the system to end this process when its parent does, then becomes the tier's binary.
/// Returns only when that is not possible.
///
/// The parent cannot ask for it on the child's behalf without unsafe code, and the request survives
/// becoming another binary.
pub(crate) fn become_tier(parent: i32, executable: &Path) -> std::io::Error {
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGTERM) {
        return error.into();
    }
    if getppid().as_raw() != parent {
        return std::io::Error::other("the supervisor has ended already");
    }
    std::process::Command::new(executable).exec()
}

/// How a process that was waited for ended.
pub(crate) fn exit_of(status: ExitStatus) -> Exit {
    match status.code() {
        Some(code) => Exit::Code(code),
        None => Exit::Signal(status.signal().unwrap_or(0)),
    }
}

/// SIGTERM, the grace, SIGKILL. `hurry` cuts the grace short.
pub(crate) async fn stop(instance: Instance, child: &mut Child, hurry: &CancellationToken) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        signal(pid, Signal::SIGTERM);
    }
    tokio::select! {
        _ = child.wait() => return,
        () = hurry.cancelled() => {}
        () = tokio::time::sleep(STOP_GRACE) => {}
    }
    screen::killed(instance);
    // It fails when the process has ended, which is what is wanted.
    drop(child.kill().await);
}

/// Ends a process that a killed supervisor left behind, if it is still that process.
pub(crate) async fn stop_leftover(left: &TierProcess) {
    if !is_still(left) {
        return;
    }
    screen::leftover(left.instance(), left.pid);
    signal(left.pid, Signal::SIGTERM);
    let ended = async {
        while is_still(left) {
            tokio::time::sleep(LEFTOVER_POLL).await;
        }
    };
    if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
        screen::killed(left.instance());
        signal(left.pid, Signal::SIGKILL);
    }
}

/// Whether the process id is alive and runs the binary that it ran then.
pub(crate) fn is_still(process: &TierProcess) -> bool {
    let Ok(executable) = std::fs::read_link(format!("/proc/{}/exe", process.pid)) else {
        return false;
    };
    let executable = executable.to_string_lossy();
    // The kernel says so when the binary was built anew since.
    let path = executable.strip_suffix(" (deleted)").unwrap_or(&executable);
    Path::new(path) == process.executable
}

fn signal(pid: i32, signal: Signal) {
    match kill(Pid::from_raw(pid), signal) {
        // It has ended in the meantime.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => screen::news(format!("cannot signal process {pid}: {error}")),
    }
}

async fn pass_on(instance: Instance, stream: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        screen::log_line(instance, &String::from_utf8_lossy(&line));
    }
}
