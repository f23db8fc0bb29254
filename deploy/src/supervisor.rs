//! The supervisor's shell: starts the tiers, keeps them running, says when all are ready, and stops
//! them in order. Whether and when to start again is decided in [`crate::restart`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use service_kit::clock;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::probe::{self, Readiness};
use crate::process::{self, Launch};
use crate::restart::{Decision, Exit, Restarts};
use crate::screen;
use crate::state::{RunFile, State, StateError, TierProcess};
use crate::tiers::{Instance, Tier, Wiring};

/// How long a cluster may take until all tiers are ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a tier that is not ready is asked again.
const READY_POLL: Duration = Duration::from_millis(25);

/// A wait this long is told, and what for.
const WAIT_IS_NEWS_AFTER: Duration = Duration::from_secs(2);

/// Why a cluster does not run.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// A binary is not beside this one.
    #[error(
        "{} is not built; run ./deploy/up, or cargo build -p im-gateway -p im-logic -p im-router \
         -p im-store -p llm-bridge -p deploy",
        path.display()
    )]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A tier that would only end again.
    #[error("{tier} ended {how}; its last lines above say why")]
    GaveUp {
        /// Which.
        tier: Instance,
        /// How.
        how: String,
    },
    /// Not all tiers became ready.
    #[error("not ready after {} s: {what}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// Which tiers, and what they wait for.
        what: String,
    },
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The running tiers of one cluster.
#[derive(Debug)]
pub struct Supervisor {
    keepers: Vec<Keeper>,
    board: Board,
    hurry: CancellationToken,
    /// At most one message of each tier: it gives up once.
    gave_up: mpsc::Receiver<(Instance, Exit)>,
}

#[derive(Debug)]
struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Ends what a killed supervisor left behind on this state folder.
    pub async fn clear_leftovers(state: &State) {
        let Some(last) = state.last_run() else { return };
        for tier in Tier::ALL.into_iter().rev() {
            for left in last.tiers.iter().filter(|left| left.tier == tier) {
                process::stop_leftover(left).await;
            }
        }
        state.remove_run();
    }

    /// Starts the tiers.
    pub fn start(
        state: &State,
        wiring: &Wiring<'_>,
        instances: &[Instance],
    ) -> Result<Self, SupervisorError> {
        let binaries = std::env::current_exe().unwrap_or_default();
        let binaries = binaries.parent().unwrap_or_else(|| Path::new("."));
        let board = Board::new(state.clone(), wiring)?;
        let hurry = CancellationToken::new();
        let (say_gave_up, gave_up) = mpsc::channel(instances.len().max(1));
        let mut launches = Vec::new();
        for &instance in instances {
            let executable = binaries.join(instance.tier.binary());
            if !executable.is_file() {
                return Err(SupervisorError::NotBuilt { path: executable });
            }
            launches.push(Launch {
                instance,
                executable,
                environment: wiring.environment(instance),
            });
        }
        let keepers = launches
            .into_iter()
            .map(|launch| {
                let stop = CancellationToken::new();
                let keeping = Keeping {
                    launch,
                    board: board.clone(),
                    stop: stop.clone(),
                    hurry: hurry.clone(),
                    gave_up: say_gave_up.clone(),
                };
                Keeper {
                    stop,
                    task: tokio::spawn(keeping.run()),
                }
            })
            .collect();
        Ok(Self {
            keepers,
            board,
            hurry,
            gave_up,
        })
    }

    /// Waits until every tier says that it is ready, and tells what a long wait is for.
    pub async fn ready(&mut self, instances: &[Instance]) -> Result<(), SupervisorError> {
        let addresses = self.board.run.lock().addresses.clone();
        let began = clock::now();
        let deadline = began + READY_TIMEOUT;
        let mut told = String::new();
        for &instance in instances {
            loop {
                let waits_for = match probe::ready(instance.admin(&addresses)).await {
                    Readiness::Ready => break,
                    Readiness::Waiting(why) => why,
                    Readiness::Away => "not up".into(),
                };
                let what = format!("{instance}: {waits_for}");
                if clock::now() > deadline {
                    return Err(SupervisorError::NotReady { what });
                }
                if told != what && clock::now() > began + WAIT_IS_NEWS_AFTER {
                    screen::news(format!("waiting for {what}"));
                    told = what;
                }
                tokio::select! {
                    error = self.gave_up() => return Err(error),
                    () = tokio::time::sleep(READY_POLL) => {}
                }
            }
        }
        Ok(())
    }

    /// Ends when a tier cannot be kept running. Cancel-safe.
    pub async fn gave_up(&mut self) -> SupervisorError {
        match self.gave_up.recv().await {
            Some((tier, exit)) => SupervisorError::GaveUp {
                tier,
                how: screen::how(exit),
            },
            None => std::future::pending().await,
        }
    }

    /// Cuts the patience of [`Supervisor::stop`] short.
    #[must_use]
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Stops the tiers, the last started first: the store last.
    pub async fn stop(self) {
        for keeper in self.keepers.into_iter().rev() {
            keeper.stop.cancel();
            if let Err(error) = keeper.task.await {
                screen::news(format!("the keeper of a tier failed: {error}"));
            }
        }
        self.board.state.remove_run();
    }
}

/// The run file, and who may change it.
#[derive(Debug, Clone)]
struct Board {
    run: Arc<Mutex<RunFile>>,
    state: State,
}

impl Board {
    fn new(state: State, wiring: &Wiring<'_>) -> Result<Self, StateError> {
        let run = RunFile {
            supervisor_pid: i32::try_from(std::process::id()).unwrap_or_default(),
            started_at_ms: clock::unix_ms(),
            addresses: wiring.addresses.clone(),
            history_elsewhere: wiring.database != state.own_database(),
            tiers: Vec::new(),
        };
        state.write_run(&run)?;
        Ok(Self {
            run: Arc::new(Mutex::new(run)),
            state,
        })
    }

    fn started(&self, process: TierProcess) {
        let mut run = self.run.lock();
        run.tiers
            .retain(|other| other.instance() != process.instance());
        run.tiers.push(process);
        if let Err(error) = self.state.write_run(&run) {
            screen::news(format!("{error}: `swarm status` will be out of date"));
        }
    }
}

/// One tier's task.
struct Keeping {
    launch: Launch,
    board: Board,
    stop: CancellationToken,
    hurry: CancellationToken,
    gave_up: mpsc::Sender<(Instance, Exit)>,
}

/// How one life of a process ended.
enum LifeEnd {
    Stopped,
    Ended(Exit, Instant),
}

impl Keeping {
    async fn run(self) {
        let mut restarts = Restarts::default();
        for count in 0.. {
            let LifeEnd::Ended(exit, started) = self.live(count).await else {
                return;
            };
            match restarts.ended(exit, started, clock::now()) {
                Decision::GiveUp => {
                    // There is room for each tier; the receiver is gone when everything stops anyway.
                    self.gave_up.try_send((self.launch.instance, exit)).ok();
                    return;
                }
                Decision::RestartAfter(wait) => {
                    screen::restarting(self.launch.instance, exit, wait);
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    async fn live(&self, restarts: u32) -> LifeEnd {
        let instance = self.launch.instance;
        let started = clock::now();
        let mut child = match self.launch.start() {
            Ok(child) => child,
            Err(error) => {
                screen::cannot_start(instance, &error);
                return LifeEnd::Ended(Exit::Code(1), started);
            }
        };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            self.board.started(TierProcess {
                tier: instance.tier,
                number: instance.number,
                pid,
                executable: self.launch.executable.clone(),
                restarts,
            });
        }
        tokio::select! {
            status = child.wait() => {
                let exit = status.map_or(Exit::Code(1), process::exit_of);
                LifeEnd::Ended(exit, started)
            }
            () = self.stop.cancelled() => {
                process::stop(instance, &mut child, &self.hurry).await;
                LifeEnd::Stopped
            }
        }
    }
}
