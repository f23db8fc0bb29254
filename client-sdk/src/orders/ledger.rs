//! What a robot keeps of its orders on disk: the highest epoch of each plan, and how orders ended
//! until the server has taken that. A file of JSON lines, appended to and synced; a line that was cut
//! short by a loss of power was never relied on.
//!
//! That an order has begun is kept by the server, before it begins.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protocol::ClientMessageId;
use protocol::command::CommandKey;
use protocol::wire::OutcomeState;
use serde::{Deserialize, Serialize};

/// Plans whose epochs are kept. When full: that of the oldest plan goes, by the time in its id; the
/// server keeps none that is older than a month.
const PLANS_MAX: usize = 8 * 1024;

/// Lines after which the file is written anew, with what still counts.
const LINES_MAX: usize = 4 * PLANS_MAX;

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) key: CommandKey,
    pub(crate) state: OutcomeState,
    pub(crate) reason: String,
    pub(crate) result_json: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Epoch {
        plan: [u8; 16],
        epoch: u64,
    },
    End {
        plan: [u8; 16],
        step_id: String,
        attempt: u32,
        state: i32,
        reason: String,
        result_json: String,
    },
    Told {
        order: [u8; 16],
    },
}

/// The robot's memory of its orders; without a file it ends with the process.
#[derive(Debug, Default)]
pub struct OrderLedger {
    file: Option<(PathBuf, File)>,
    lines: usize,
    epochs: BTreeMap<ClientMessageId, u64>,
    ends: HashMap<ClientMessageId, End>,
}

impl OrderLedger {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let mut ledger = Self::default();
        match std::fs::read(&path) {
            Ok(bytes) => {
                for line in bytes.split(|byte| *byte == b'\n') {
                    if let Ok(line) = serde_json::from_slice(line) {
                        ledger.apply(line);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        ledger.rewrite(&path)?;
        Ok(ledger)
    }

    /// One that is gone with the process: for tests, and robots whose plans are as short-lived.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Raises the epoch of a plan. `false`: the robot has seen a newer one.
    pub(crate) fn raise_epoch(&mut self, plan: ClientMessageId, epoch: u64) -> io::Result<bool> {
        let known = self.epochs.get(&plan).copied().unwrap_or(0);
        if epoch <= known {
            return Ok(epoch == known);
        }
        let plan = *plan.as_bytes();
        self.write(Line::Epoch { plan, epoch })?;
        Ok(true)
    }

    /// An order has ended.
    pub(crate) fn end(&mut self, end: &End) -> io::Result<()> {
        self.write(Line::End {
            plan: *end.key.plan.as_bytes(),
            step_id: end.key.step_id.clone(),
            attempt: end.key.attempt,
            state: end.state.into(),
            reason: end.reason.clone(),
            result_json: end.result_json.clone(),
        })
    }

    /// The server has the order's end. Not synced: lost, it costs a repeat.
    pub(crate) fn told(&mut self, order: ClientMessageId) -> io::Result<()> {
        let order = *order.as_bytes();
        self.append(&Line::Told { order })?;
        self.apply(Line::Told { order });
        Ok(())
    }

    /// How an order has ended, if the server may not have it.
    pub(crate) fn end_of(&self, order: ClientMessageId) -> Option<&End> {
        self.ends.get(&order)
    }

    /// All ends that the server may not have.
    pub(crate) fn untold(&self) -> Vec<End> {
        self.ends.values().cloned().collect()
    }

    fn write(&mut self, line: Line) -> io::Result<()> {
        self.append(&line)?;
        if let Some((_, file)) = &self.file {
            file.sync_data()?;
        }
        self.apply(line);
        if self.lines > LINES_MAX
            && let Some((path, _)) = self.file.take()
        {
            self.rewrite(&path)?;
        }
        Ok(())
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let Some((_, file)) = &mut self.file else {
            return Ok(());
        };
        let mut bytes = serde_json::to_vec(line)?;
        // Before it too: what was cut short does not spoil this one.
        bytes.insert(0, b'\n');
        bytes.push(b'\n');
        self.lines += 1;
        file.write_all(&bytes)
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Epoch { plan, epoch } => {
                let Ok(plan) = ClientMessageId::from_slice(&plan) else {
                    return;
                };
                let known = self.epochs.entry(plan).or_default();
                *known = epoch.max(*known);
                if self.epochs.len() > PLANS_MAX {
                    self.epochs.pop_first();
                }
            }
            Line::End {
                plan,
                step_id,
                attempt,
                state,
                reason,
                result_json,
            } => {
                let Ok(plan) = ClientMessageId::from_slice(&plan) else {
                    return;
                };
                let key = CommandKey {
                    plan,
                    step_id,
                    attempt,
                };
                let end = End {
                    state: OutcomeState::try_from(state).unwrap_or(OutcomeState::Failed),
                    reason,
                    result_json,
                    key,
                };
                self.ends.insert(end.key.id(), end);
            }
            Line::Told { order } => {
                if let Ok(order) = ClientMessageId::from_slice(&order) {
                    self.ends.remove(&order);
                }
            }
        }
    }

    /// Writes what counts into a new file, which takes the old one's place.
    fn rewrite(&mut self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&beside)?;
        self.file = Some((path.to_owned(), file));
        self.lines = 0;
        let epochs = self.epochs.iter();
        let epochs: Vec<_> = epochs
            .map(|(plan, epoch)| (*plan.as_bytes(), *epoch))
            .collect();
        for (plan, epoch) in epochs {
            self.append(&Line::Epoch { plan, epoch })?;
        }
        for end in self.untold() {
            self.append(&Line::End {
                plan: *end.key.plan.as_bytes(),
                step_id: end.key.step_id,
                attempt: end.key.attempt,
                state: end.state.into(),
                reason: end.reason,
                result_json: end.result_json,
            })?;
        }
        if let Some((_, file)) = &self.file {
            file.sync_all()?;
        }
        std::fs::rename(&beside, path)?;
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(n: u8) -> ClientMessageId {
        ClientMessageId::new(1_800_000_000_000 + u64::from(n), [n; 10])
    }

    fn end(n: u8) -> End {
        End {
            key: CommandKey::new(plan(n), "步骤"),
            state: OutcomeState::Failed,
            reason: "没电了".into(),
            result_json: String::new(),
        }
    }

    #[test]
    fn the_highest_epoch_and_ends_outlive_the_process_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders");
        let mut ledger = OrderLedger::open(&path).unwrap();
        assert!(ledger.raise_epoch(plan(1), 3).unwrap());
        assert!(!ledger.raise_epoch(plan(1), 2).unwrap());
        ledger.end(&end(1)).unwrap();
        ledger.end(&end(2)).unwrap();
        ledger.told(end(2).key.id()).unwrap();
        drop(ledger);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"\n{\"epoch\":{\"plan\":[1,2").unwrap();
        drop(torn);

        let mut ledger = OrderLedger::open(&path).unwrap();
        assert!(!ledger.raise_epoch(plan(1), 2).unwrap());
        assert!(ledger.raise_epoch(plan(1), 3).unwrap());
        assert_eq!(ledger.end_of(end(1).key.id()), Some(&end(1)));
        assert_eq!(ledger.untold(), [end(1)]);
    }

    #[test]
    fn what_no_longer_counts_is_dropped_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders");
        let mut ledger = OrderLedger::open(&path).unwrap();
        for _ in 0..50 {
            ledger.end(&end(1)).unwrap();
            ledger.told(end(1).key.id()).unwrap();
        }
        let long = std::fs::metadata(&path).unwrap().len();
        drop(ledger);
        drop(OrderLedger::open(&path).unwrap());
        assert!(std::fs::metadata(&path).unwrap().len() < long / 50);
    }

    #[test]
    fn there_is_a_ledger_without_a_file() {
        let mut ledger = OrderLedger::in_memory();
        assert!(ledger.raise_epoch(plan(1), 3).unwrap());
        assert!(!ledger.raise_epoch(plan(1), 2).unwrap());
    }
}
