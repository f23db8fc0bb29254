//! The state folder of a cluster: its lock, and the run file by which other commands find it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::addresses::Addresses;
use crate::private_file;
use crate::tiers::{Instance, Tier};

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// A file of it.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A cluster runs on it.
    #[error(
        "a cluster is already running on {}{}; stop it with Ctrl-C where it was started, \
         or start another with --state DIR",
        state.display(), process(*pid)
    )]
    Running {
        /// The folder.
        state: PathBuf,
        /// Its supervisor; `None` while that is still starting.
        pid: Option<i32>,
    },
    /// No cluster runs on it.
    #[error("no cluster is running on {}; start one with ./deploy/up", state.display())]
    NotRunning {
        /// The folder.
        state: PathBuf,
    },
}

/// What is known of a running cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// The supervisor.
    pub supervisor_pid: i32,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Where everything is.
    pub addresses: Addresses,
    /// Whether its history is in a database elsewhere, not in the folder.
    #[serde(default)]
    pub history_elsewhere: bool,
    /// The tiers that are up.
    pub tiers: Vec<TierProcess>,
}

/// One process of a running cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierProcess {
    /// What it is for.
    pub tier: Tier,
    /// Which of the tier's processes it is, from 0.
    #[serde(default)]
    pub number: usize,
    /// Its process id.
    pub pid: i32,
    /// Its binary.
    pub executable: PathBuf,
    /// How often it was started again.
    pub restarts: u32,
}

impl TierProcess {
    /// Which process of the cluster it is.
    #[must_use]
    pub const fn instance(&self) -> Instance {
        Instance {
            tier: self.tier,
            number: self.number,
        }
    }
}

/// The folder.
#[derive(Debug, Clone)]
pub struct State(PathBuf);

/// As long as this lives no other supervisor starts on the folder.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl State {
    /// The folder that was asked for, or `.swarm` at the root of the checkout.
    #[must_use]
    pub fn new(asked: Option<PathBuf>) -> Self {
        let folder = asked.unwrap_or_else(|| checkout().join(".swarm"));
        Self(std::path::absolute(&folder).unwrap_or(folder))
    }

    /// Whether it is the one that is taken when none is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == Self::new(None).0
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Where history is kept.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The database that a cluster has when it is given none.
    #[must_use]
    pub fn own_database(&self) -> String {
        format!("sqlite://{}", self.own_file().display())
    }

    fn own_file(&self) -> PathBuf {
        self.data().join("history.db")
    }

    /// Makes the folder of the history.
    pub fn make_data(&self) -> Result<(), StateError> {
        let data = self.data();
        private_file::make_folder(&data).map_err(|source| self.file_error(&data, source))
    }

    /// Whether a restore into it would overwrite something.
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.own_file().exists() || self.0.join("authority").exists()
    }

    /// Makes the folder and takes its lock, or says that a cluster runs on it.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        private_file::make_folder(&self.0).map_err(|source| self.file_error(&self.0, source))?;
        let path = self.0.join("lock");
        let file =
            private_file::open_lock(&path).map_err(|source| self.file_error(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(StateLock(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StateError::Running {
                state: self.0.clone(),
                pid: self.last_run().map(|run| run.supervisor_pid),
            }),
            Err(std::fs::TryLockError::Error(source)) => Err(self.file_error(&path, source)),
        }
    }

    /// The run file of the last cluster, running or not. One that does not parse counts as none.
    #[must_use]
    pub fn last_run(&self) -> Option<RunFile> {
        serde_json::from_slice(&std::fs::read(self.run_path()).ok()?).ok()
    }

    /// The run file of the running cluster.
    pub fn running(&self) -> Result<RunFile, StateError> {
        let not_running = || StateError::NotRunning {
            state: self.0.clone(),
        };
        // Shared, so that two that look at once do not take each other for the cluster.
        match File::open(self.0.join("lock")).map(|file| file.try_lock_shared()) {
            Ok(Err(std::fs::TryLockError::WouldBlock)) => self.last_run().ok_or_else(not_running),
            Ok(_) | Err(_) => Err(not_running()),
        }
    }

    /// Replaces the run file.
    pub fn write_run(&self, run: &RunFile) -> Result<(), StateError> {
        let bytes = serde_json::to_vec_pretty(run).expect("a run file is plain data");
        let path = self.run_path();
        private_file::write(&path, &bytes).map_err(|source| self.file_error(&path, source))
    }

    /// The cluster has ended cleanly.
    pub fn remove_run(&self) {
        // A run file that stays names processes that have ended; the next start finds that out.
        drop(std::fs::remove_file(self.run_path()));
    }

    /// Whether a cluster was ever started on it, or a credential made.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.join("lock").exists() || self.0.join("authority").exists()
    }

    /// Deletes what a cluster keeps, and the folder when nothing else is in it: somebody may have
    /// named a folder with more.
    pub fn delete(&self, lock: StateLock) -> Result<(), StateError> {
        for name in ["data", "authority", "tiers", "credentials"] {
            let path = self.0.join(name);
            match std::fs::remove_dir_all(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.file_error(&path, source));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.remove_run();
        drop(std::fs::remove_file(self.0.join("lock")));
        drop(lock);
        // It fails when something else is there, which is what is wanted.
        drop(std::fs::remove_dir(&self.0));
        Ok(())
    }

    fn run_path(&self) -> PathBuf {
        self.0.join("run.json")
    }

    #[expect(clippy::unused_self, reason = "reads as a property of the folder")]
    fn file_error(&self, path: &Path, source: std::io::Error) -> StateError {
        StateError::File {
            path: path.to_owned(),
            source,
        }
    }
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The root of the checkout: above this binary, else where it was built.
pub(crate) fn checkout() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|binary| {
            let is_checkout = |folder: &&Path| folder.join("deploy/up").is_file();
            binary.ancestors().find(is_checkout).map(Path::to_owned)
        })
        .unwrap_or_else(|| {
            let package = Path::new(env!("CARGO_MANIFEST_DIR"));
            package.parent().unwrap_or(package).to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::PortOptions;
    use crate::tiers::Counts;

    #[test]
    fn a_second_cluster_on_the_same_folder_is_refused_and_the_first_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(Some(folder.path().join("s")));
        assert!(matches!(
            state.running(),
            Err(StateError::NotRunning { .. })
        ));

        let lock = state.lock().unwrap();
        let run = RunFile {
            supervisor_pid: 7,
            started_at_ms: 8,
            addresses: PortOptions::default().choose(0, Counts::ONE_EACH).unwrap(),
            history_elsewhere: false,
            tiers: vec![TierProcess {
                tier: Tier::Store,
                number: 0,
                pid: 9,
                executable: "/x/im-store".into(),
                restarts: 0,
            }],
        };
        state.write_run(&run).unwrap();
        let refused = state.lock().unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("already running") && text.contains("(process 7)"),
            "{text}"
        );
        assert_eq!(state.running().unwrap(), run);

        drop(lock);
        assert!(matches!(
            state.running(),
            Err(StateError::NotRunning { .. })
        ));
        assert_eq!(state.last_run(), Some(run));
    }
}
