//! The processes that are cut: this binary again, with orders in its environment. They say what is
//! acknowledged, a line each, in a file beside the one that they write.
#![allow(clippy::print_stdout, reason = "a word for the pipe to the parent")]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use crate::trace::{CALLS, WORDS};
use crate::{journal, store};

/// In the environment: what to do, where, the first number, and how many.
const ORDERS: &str = "IM_POWER_ORDERS";

/// Said on the pipe once the first thing is acknowledged.
const UP: &str = "up";

/// What a process is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Store,
    /// With one sender: the same calls in every run.
    StoreAlone,
    StoreUnsynced,
    Journal,
}

/// What a process is to do: `count` messages from the number `first` on.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) task: Task,
    pub(crate) folder: PathBuf,
    pub(crate) first: u32,
    pub(crate) count: u32,
}

const TASKS: [(&str, Task); 4] = [
    ("store", Task::Store),
    ("store-alone", Task::StoreAlone),
    ("store-unsynced", Task::StoreUnsynced),
    ("journal", Task::Journal),
];

impl Orders {
    fn encode(&self) -> String {
        let name = TASKS.iter().find(|(_, task)| *task == self.task).unwrap().0;
        let Self { first, count, .. } = self;
        format!("{name} {first} {count} {}", self.folder.display())
    }

    fn decode(text: &str) -> Self {
        let mut words = text.splitn(4, ' ');
        let mut word = || words.next().unwrap();
        let name = word();
        Self {
            task: TASKS.iter().find(|(known, _)| *known == name).unwrap().1,
            first: word().parse().unwrap(),
            count: word().parse().unwrap(),
            folder: word().into(),
        }
    }

    /// This binary, which will do it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        self.order(&mut command);
        command
    }

    /// The same under strace, which writes to `trace`; `faults` are its further options.
    pub(crate) fn traced(&self, trace: &Path, faults: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command
            .args([
                "-f",
                "--seccomp-bpf",
                "-y",
                "-xx",
                "-s",
                "1000000",
                "-e",
                CALLS,
            ])
            .args(faults)
            .arg("-o")
            .arg(trace)
            .arg(std::env::current_exe().unwrap());
        self.order(&mut command);
        command
    }

    fn order(&self, command: &mut Command) {
        command
            .args(["--exact", "child::a_process_does_its_orders", "--nocapture"])
            .env(ORDERS, self.encode())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
    }
}

/// What a process says: to strace a write among others, after a kill a line of a file.
#[derive(Debug, Clone)]
pub(crate) struct Words(Arc<File>);

impl Words {
    fn open(folder: &Path) -> Self {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(folder.join(WORDS));
        Self(Arc::new(file.unwrap()))
    }

    /// A line, in one write.
    pub(crate) fn say(&self, line: &str) {
        (&*self.0)
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// Tells the parent that it may kill us now.
    pub(crate) fn up(&self) {
        println!("{UP}");
    }
}

/// Whether a line of the pipe is the child's word. The test harness says things there, too.
pub(crate) fn is_up(line: &str) -> bool {
    line.ends_with(UP)
}

/// Without orders: a short life of each kind, which must end well.
#[expect(
    clippy::disallowed_methods,
    reason = "orders for a test of this binary are no configuration"
)]
#[tokio::test]
async fn a_process_does_its_orders() {
    if let Ok(orders) = std::env::var(ORDERS) {
        obey(&Orders::decode(&orders)).await;
        return;
    }
    for (_, task) in TASKS {
        let folder = tempfile::tempdir().unwrap();
        let orders = Orders {
            task,
            folder: folder.path().into(),
            first: 7,
            count: 20,
        };
        obey(&Orders::decode(&orders.encode())).await;
        let words = std::fs::read_to_string(folder.path().join(WORDS)).unwrap();
        assert!(words.lines().count() >= 20, "{words}");
    }
}

async fn obey(orders: &Orders) {
    let words = Words::open(&orders.folder);
    match orders.task {
        Task::Store | Task::StoreAlone | Task::StoreUnsynced => store::live(orders, words).await,
        Task::Journal => journal::live(orders, &words),
    }
}
