//! Losses of power at the boundaries of writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use crate::child::{Orders, Task};
use crate::disk::{Disk, Image};
use crate::trace::{self, Event};
use crate::{journal, store};

/// Boundaries that are tried, evenly over the trace, each with two losses. The issue is settled by
/// no fewer than 200.
const POINTS: usize = 210;

/// Of a control.
const CONTROL_POINTS: usize = 40;

/// Nothing takes longer unless it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a process did, as strace saw it, and the files that it left.
struct Run {
    folder: TempDir,
    trace: String,
    events: Vec<Event>,
}

impl Run {
    async fn of(task: Task, count: u32, faults: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let orders = Orders {
            task,
            folder: files.clone(),
            first: 1,
            count,
        };
        let running = orders.traced(&trace, faults).output();
        let output = tokio::time::timeout(PATIENCE, running).await.unwrap();
        let output = output.expect("strace is installed");
        assert!(output.status.success(), "{output:?}");
        let trace = std::fs::read_to_string(&trace).unwrap();
        let events = trace::read(&trace, files.to_str().unwrap()).unwrap();
        Self {
            folder,
            trace,
            events,
        }
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    fn said(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(Event::said)
    }

    fn synced(&self, file: &str) -> usize {
        let of = |event: &&Event| matches!(event, Event::Synced(name, _) if name == file);
        self.events.iter().filter(of).count()
    }

    fn failed_syncs(&self) -> usize {
        let failed = |event: &&Event| matches!(event, Event::NotSynced(..));
        self.events.iter().filter(failed).count()
    }

    /// How often the process writes at a place before its sync of this number.
    fn writes_before(&self, sync: usize) -> usize {
        let is_sync = |line: &str| line.contains("fsync(") || line.contains("fdatasync(");
        let mut syncs = 0;
        let before = self.trace.lines().take_while(|line| {
            syncs += usize::from(is_sync(line));
            syncs < sync
        });
        before.filter(|line| line.contains("pwrite64(")).count()
    }
}

/// What the judgement of many losses found.
#[derive(Debug, Default)]
struct Found {
    points: usize,
    acknowledged: usize,
    bad: usize,
    wrong: Vec<String>,
}

/// Cuts the power at so many boundaries and judges what is left by what had been said.
async fn cut(
    events: &[Event],
    points: usize,
    judge: impl AsyncFn(&[&str], &Path) -> (usize, Vec<String>),
) -> Found {
    let changes = |event: &Event| {
        matches!(
            event,
            Event::Created(_)
                | Event::Wrote(..)
                | Event::Length(..)
                | Event::Removed(_)
                | Event::Renamed(..)
        )
    };
    let boundaries = events.iter().filter(|event| changes(event)).count();
    let step = (boundaries / points).max(1);
    let mut random = SmallRng::seed_from_u64(8);
    let (mut disk, mut said, mut found) = (Disk::default(), Vec::new(), Found::default());
    let mut passed = 0;
    for event in events {
        disk.apply(event);
        said.extend(event.said());
        passed += usize::from(changes(event));
        if !changes(event) || passed % step != 0 {
            continue;
        }
        found.points += 1;
        for image in [disk.certain(), disk.torn(&mut random)] {
            let folder = in_memory();
            lay_out(&image, folder.path());
            let (acknowledged, wrong) = judge(&said, folder.path()).await;
            found.acknowledged = found.acknowledged.max(acknowledged);
            found.bad += usize::from(!wrong.is_empty());
            found.wrong.extend(
                wrong
                    .iter()
                    .map(|wrong| format!("boundary {passed}: {wrong}")),
            );
        }
    }
    found
}

/// What is judged need not outlive the test, and is not synced in vain.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn lay_out(image: &Image, folder: &Path) {
    for (name, bytes) in image {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    // The index of the log is not synced by anybody: it may hold anything.
    if image.contains_key(store::FILE) {
        let index = folder.join(format!("{}-shm", store::FILE));
        std::fs::write(index, [0x5a; 32 * 1024]).unwrap();
    }
}

async fn store(events: &[Event], points: usize) -> Found {
    let judge = async |said: &[&str], folder: &Path| {
        let said = store::Said::of(said.iter().copied());
        (said.acknowledged(), said.judge(folder).await)
    };
    cut(events, points, judge).await
}

async fn journal(events: &[Event], points: usize) -> Found {
    let judge = async |said: &[&str], folder: &Path| {
        let said = journal::Said::of(said.iter().copied());
        (said.acknowledged(), said.judge(folder))
    };
    cut(events, points, judge).await
}

#[tokio::test]
async fn a_store_that_loses_power_at_any_write_has_everything_acknowledged() {
    let run = Run::of(Task::Store, 1_000, &[]).await;
    let (syncs, logged) = (run.synced(store::FILE), run.synced("s.db-wal"));
    assert!(
        syncs >= 4 && logged > 100,
        "checkpoints are among it: {syncs} {logged}"
    );
    let found = store(&run.events, POINTS).await;
    assert!(found.points >= 200 && found.acknowledged > 500, "{found:?}");
    assert_eq!(
        found.wrong, [""; 0],
        "{} of {} points",
        found.bad, found.points
    );
}

#[tokio::test]
async fn a_store_that_does_not_sync_is_seen_to_lose() {
    let run = Run::of(Task::StoreUnsynced, 300, &[]).await;
    let found = store(&run.events, CONTROL_POINTS).await;
    assert!(
        found.bad >= found.points,
        "{} of {}",
        found.bad,
        found.points
    );
}

/// A failed sync may mean that the kernel has forgotten what it covered.
#[tokio::test]
async fn a_store_whose_disk_fails_now_and_then_answers_all_and_loses_nothing() {
    let faults = ["-e", "inject=fsync,fdatasync:error=EIO:when=20+9"];
    let run = Run::of(Task::Store, 400, &faults).await;
    assert!(run.failed_syncs() >= 5, "{}", run.failed_syncs());
    let said = store::Said::of(run.said());
    assert_eq!(said.acknowledged(), 400, "{said:?}");
    let found = store(&run.events, POINTS / 2).await;
    assert_eq!(
        found.wrong, [""; 0],
        "{} of {} points",
        found.bad, found.points
    );
}

#[tokio::test]
async fn a_store_whose_disk_fails_for_good_says_that_it_does_not_know() {
    let faults = ["-e", "inject=fsync,fdatasync:error=EIO:when=30+"];
    let run = Run::of(Task::Store, 400, &faults).await;
    let said = store::Said::of(run.said());
    assert!(
        said.acknowledged() > 10 && !said.unknown.is_empty(),
        "{said:?}"
    );
    let found = store(&run.events, CONTROL_POINTS).await;
    assert_eq!(
        found.wrong, [""; 0],
        "{} of {} points",
        found.bad, found.points
    );
}

/// What a failed COMMIT has written is found by the next start, unless another one has taken its
/// place; and here the disk is full, too.
#[tokio::test]
async fn a_commit_that_failed_and_may_come_back_is_not_said_to_be_refused() {
    const SYNC: usize = 30;
    let writes = Run::of(Task::StoreAlone, 40, &[]).await.writes_before(SYNC);
    let fails = format!("inject=fsync,fdatasync:error=EIO:when={SYNC}");
    let full = format!("inject=pwrite64:error=ENOSPC:when={}+", writes + 1);
    let run = Run::of(Task::StoreAlone, 40, &["-e", &fails, "-e", &full]).await;
    let mut said = store::Said::of(run.said());
    assert!(
        said.refused.is_empty() && said.unknown.len() == 1,
        "{said:?}"
    );
    said.refused = said.unknown.clone();
    let wrong = said.judge(&run.files()).await;
    assert!(
        matches!(&wrong[..], [one] if one.contains("was refused")),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn a_journal_that_loses_power_at_any_write_has_everything_that_was_kept() {
    let run = Run::of(Task::Journal, 300, &[]).await;
    let found = journal(&run.events, POINTS).await;
    assert!(found.points >= 200 && found.acknowledged > 250, "{found:?}");
    assert_eq!(
        found.wrong, [""; 0],
        "{} of {} points",
        found.bad, found.points
    );
}

#[tokio::test]
async fn a_journal_whose_disk_fails_now_and_then_keeps_what_it_says() {
    let faults = ["-e", "inject=fsync,fdatasync:error=EIO:when=20+40"];
    let run = Run::of(Task::Journal, 400, &faults).await;
    let said = journal::Said::of(run.said());
    assert!(run.failed_syncs() >= 5 && said.failures >= 5, "{said:?}");
    assert_eq!(said.acknowledged(), 400);
    let found = journal(&run.events, POINTS / 2).await;
    assert_eq!(
        found.wrong, [""; 0],
        "{} of {} points",
        found.bad, found.points
    );
}

#[tokio::test]
async fn a_journal_whose_disk_only_says_that_it_syncs_is_seen_to_lose() {
    let faults = ["-e", "inject=fsync,fdatasync:retval=0"];
    let run = Run::of(Task::Journal, 200, &faults).await;
    assert_eq!(run.synced(journal::FILE), 0);
    let found = journal(&run.events, CONTROL_POINTS).await;
    assert!(
        found.bad >= found.points,
        "{} of {}",
        found.bad,
        found.points
    );
}
