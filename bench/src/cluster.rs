//! A cluster to put load on: one that runs already, or one of its own, started as an operator
//! would, by `swarm up` on a state folder that goes away with it.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use client_sdk::{ClientConfig, Credential};
use deploy::authority::{Authority, TokenKind};
use deploy::probe::{self, Readiness};
use deploy::state::{RunFile, State, TierProcess};
use deploy::tiers::{Instance, Tier};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use service_kit::clock;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long a cluster may take to be ready, and a killed tier to be back.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often is looked whether it is.
const READY_POLL: Duration = Duration::from_millis(25);

/// How long a cluster may take to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// A running cluster and the authority to make its credentials.
#[derive(Debug)]
pub struct Cluster {
    state: State,
    authority: Authority,
    own: Option<Own>,
}

/// What goes away with the cluster that we started.
#[derive(Debug)]
struct Own {
    supervisor: Child,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// The cluster that runs on this state folder.
    ///
    /// # Errors
    /// When none does.
    pub fn attach(state: &Path) -> anyhow::Result<Self> {
        let state = State::new(Some(state.to_owned()));
        state.running()?;
        let authority = Authority::open(state.folder(), clock::unix_ms())?;
        Ok(Self {
            state,
            authority,
            own: None,
        })
    }

    /// One of its own, with the binaries beside this one. What it logs is in its folder.
    ///
    /// # Errors
    /// When the binaries are not built, or it does not become ready in time.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, 1).await
    }

    /// The same on a folder that may have been used before, with so many gateways.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_in(folder: tempfile::TempDir, gateways: usize) -> anyhow::Result<Self> {
        Self::start_with(folder, &["--gateways".into(), gateways.to_string()]).await
    }

    /// The same with what else `swarm up` is told. The state is in the folder `state` of this one.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_with(
        folder: tempfile::TempDir,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        Self::start_told(folder, arguments, &[]).await
    }

    /// The same with these variables in its environment, which its tiers have too.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_told(
        folder: tempfile::TempDir,
        arguments: &[String],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let state = State::new(Some(folder.path().join("state")));
        let log = std::fs::File::create(folder.path().join("log"))?;
        let supervisor = swarm()?
            .args(["up", "--free-ports"])
            .args(arguments)
            .arg("--state")
            .arg(state.folder())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let own = Own { supervisor, folder };
        let mut cluster = Self {
            authority: Authority::open(state.folder(), clock::unix_ms())?,
            state,
            own: Some(own),
        };
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Waits until every tier says that it is ready.
    ///
    /// # Errors
    /// When that takes too long, or the supervisor has ended.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let waits_for = match self.state.running() {
                Ok(run) => first_unready(&run).await,
                Err(error) => Some(error.to_string()),
            };
            let Some(waits_for) = waits_for else {
                return Ok(());
            };
            if let Some(own) = &mut self.own
                && let Some(status) = own.supervisor.try_wait()?
            {
                anyhow::bail!("the cluster ended with {status}: {}", self.log());
            }
            ensure!(Instant::now() < deadline, "{waits_for}: {}", self.log());
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// What runs where.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn run_file(&self) -> anyhow::Result<RunFile> {
        Ok(self.state.running()?)
    }

    /// Where its state is.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.state.folder()
    }

    /// Its credentials.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The token of an operator of this name.
    ///
    /// # Errors
    /// When the name is none.
    pub fn token(&self, operator: &str) -> anyhow::Result<String> {
        let now_ms = clock::unix_ms();
        let file = self
            .authority
            .token(TokenKind::Operator, operator, now_ms)?;
        Ok(std::fs::read_to_string(file)?.trim().to_owned())
    }

    /// Whether it was started for us, and goes away with us.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// A person of this name.
    ///
    /// # Errors
    /// When the cluster no longer runs, or the name is none.
    pub fn operator(&self, name: &str) -> anyhow::Result<ClientConfig> {
        let token = self
            .authority
            .token(TokenKind::Operator, name, clock::unix_ms())?;
        self.client(Credential::token_file(token)?)
    }

    /// A planner of this name.
    ///
    /// # Errors
    /// As [`Cluster::operator`].
    pub fn planner(&self, name: &str) -> anyhow::Result<ClientConfig> {
        let now_ms = clock::unix_ms();
        let token = self.authority.token(TokenKind::Planner, name, now_ms)?;
        self.client(Credential::token_file(token)?)
    }

    /// A robot of this name.
    ///
    /// # Errors
    /// As [`Cluster::operator`].
    pub fn robot(&self, name: &str) -> anyhow::Result<ClientConfig> {
        let files = self.authority.robot(name, clock::unix_ms())?;
        self.client(Credential::from_files(files.certificate, files.key)?)
    }

    fn client(&self, credential: Credential) -> anyhow::Result<ClientConfig> {
        Ok(ClientConfig::new(
            self.run_file()?.addresses.all_clients(),
            self.authority.fleet_ca(),
            credential,
        ))
    }

    /// Kills a tier's first process as a failing machine would, and waits until another has its
    /// place.
    ///
    /// # Errors
    /// When it does not come back in time.
    pub async fn kill(&mut self, tier: Tier) -> anyhow::Result<()> {
        self.kill_one(Instance { tier, number: 0 }).await
    }

    /// The same with any process.
    ///
    /// # Errors
    /// As [`Cluster::kill`].
    pub async fn kill_one(&mut self, instance: Instance) -> anyhow::Result<()> {
        let gone = self.signal_one(instance, Signal::SIGKILL)?;
        self.replaced(gone).await?;
        self.ready().await
    }

    /// Signals a tier's first process, which is returned.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, tier: Tier, signal: Signal) -> anyhow::Result<TierProcess> {
        self.signal_one(Instance { tier, number: 0 }, signal)
    }

    /// Signals any process, which is returned.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal_one(&self, instance: Instance, signal: Signal) -> anyhow::Result<TierProcess> {
        let tiers = self.run_file()?.tiers.into_iter();
        let mut those = tiers.filter(|process| process.instance() == instance);
        let process = those.next().context("it does not run")?;
        kill(Pid::from_raw(process.pid), signal)?;
        Ok(process)
    }

    /// Waits until another process has the place of this one.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn replaced(&self, gone: TierProcess) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while self.run_file()?.tiers.contains(&gone) {
            let instance = gone.instance();
            ensure!(
                Instant::now() < deadline,
                "{instance} stays away: {}",
                self.log()
            );
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Stops as Ctrl-C does. Returns how the supervisor ended, and the folder.
    ///
    /// # Errors
    /// When it does not end in time, or the cluster is not ours.
    pub async fn stop(mut self) -> anyhow::Result<(ExitStatus, tempfile::TempDir)> {
        let mut own = self.own.take().context("the cluster is not ours to stop")?;
        let pid = own.supervisor.id().context("it has ended already")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGINT)?;
        let status = tokio::time::timeout(STOPPED_WITHIN, own.supervisor.wait()).await??;
        Ok((status, own.folder))
    }

    /// All that it has printed and logged; nothing when it is not ours.
    #[must_use]
    pub fn whole_log(&self) -> String {
        let read = |own: &Own| std::fs::read_to_string(own.folder.path().join("log")).ok();
        self.own.as_ref().and_then(read).unwrap_or_default()
    }

    /// The first line with this in it that it has printed, or prints soon.
    ///
    /// # Errors
    /// When it does not.
    pub async fn printed(&self, part: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let log = self.whole_log();
            if let Some(line) = log.lines().find(|line| line.contains(part)) {
                return Ok(line.trim().to_owned());
            }
            ensure!(Instant::now() < deadline, "no line with {part} in:\n{log}");
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// The end of it.
    #[must_use]
    pub fn log(&self) -> String {
        let text = self.whole_log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Cluster {
    /// The tiers end with their supervisor.
    fn drop(&mut self) {
        if let Some(own) = &mut self.own
            && let Some(pid) = own.supervisor.id().and_then(|pid| i32::try_from(pid).ok())
        {
            // It fails when the process has ended, which is what is wanted.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

/// A command of the `swarm` binary that was built with this one.
///
/// # Errors
/// When it is not built.
pub fn swarm() -> anyhow::Result<Command> {
    let swarm = binaries()?.join("swarm");
    ensure!(
        swarm.is_file(),
        "{} is not built: cargo build --workspace --bins",
        swarm.display()
    );
    Ok(Command::new(swarm))
}

/// The folder of the binaries that were built with this one. Tests are one folder below it.
///
/// # Errors
/// When this process has no executable.
pub fn binaries() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("an executable is in a folder")?;
    let folder = if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.parent().context("deps is in a folder")?
    } else {
        folder
    };
    Ok(folder.to_owned())
}

async fn first_unready(run: &RunFile) -> Option<String> {
    for instance in Instance::all(&Tier::ALL, run.addresses.counts()) {
        if !run
            .tiers
            .iter()
            .any(|process| process.instance() == instance)
        {
            return Some(format!("{instance} has not started"));
        }
        match probe::ready(instance.admin(&run.addresses)).await {
            Readiness::Ready => {}
            Readiness::Waiting(why) => return Some(format!("{instance}: {why}")),
            Readiness::Away => return Some(format!("{instance} is not up")),
        }
    }
    None
}
