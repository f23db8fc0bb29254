//! What a disk can do to the embedded engine: fill up, be read-only. Each test mounts a small
//! memory disk of its own, which only root may; anybody else is told that it was left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use im_store::engine::{EngineError, Readers};
use im_store::read::Span;
use im_store::sqlite::{SqliteEngine, SqliteReaders};
use im_store::writer::Stored;
use protocol::{AccountId, ErrorCode, SequenceNumber};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::writer::{own, pair, text};

/// Nothing takes longer unless it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A disk, gone with its value.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// `None`: this user may not mount.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs"],
            folder.path(),
        );
        if !mounted {
            eprintln!("left out: mounting a small disk needs root");
        }
        mounted.then_some(Self { folder })
    }

    /// A file that is just being closed keeps a disk from becoming read-only.
    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let deadline = Instant::now() + PATIENCE;
        while !run("mount", &["-o", &options], self.folder.path()) {
            assert!(Instant::now() < deadline, "mount -o {options}");
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("s.db")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.folder.path());
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg(folder).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

async fn numbers(readers: &SqliteReaders) -> Vec<u64> {
    let (mut numbers, mut after) = (Vec::new(), SequenceNumber::ZERO);
    loop {
        let span = Span::forward(after, 512);
        let page = readers.history(pair(), AccountId(2), span).await;
        let page = page.unwrap().unwrap().entries;
        let Some(last) = page.last() else {
            return numbers;
        };
        after = SequenceNumber(last.sequence);
        numbers.extend(page.iter().map(|entry| entry.sequence));
    }
}

#[tokio::test]
async fn a_full_disk_refuses_sends_and_keeps_what_it_has_until_there_is_room() {
    // In the larger one a checkpoint, too, finds no room.
    for size in ["2m", "6m"] {
        let Some(disk) = Disk::mount(size) else {
            return;
        };
        let engine = SqliteEngine::open(&disk.file()).await.unwrap();
        let readers = SqliteReaders::open(&disk.file()).await.unwrap();
        let (writer, task) = own(engine);
        let long = "长".repeat(2000);
        let send = async |id| writer.append(text(pair(), 1, id, &long)).await;
        let mut id = 1;
        let refused = loop {
            match send(id).await {
                Ok(stored) => assert_eq!(stored.sequence.0, u64::from(id)),
                Err(refusal) => break refusal,
            }
            id += 1;
        };
        assert!(id > 50, "{id} on {size}");
        for refused in [
            refused,
            send(id).await.unwrap_err(),
            send(id + 1).await.unwrap_err(),
        ] {
            assert_eq!(refused.code, ErrorCode::Unavailable, "{refused}");
            assert!(
                refused.retry_after_ms > 0 && refused.message.contains("full"),
                "{refused}"
            );
        }
        assert!(numbers(&readers).await.into_iter().eq(1..u64::from(id)));

        disk.remount("size=64m");
        for id in id..id + 300 {
            let Stored {
                sequence,
                duplicate,
                ..
            } = send(id).await.unwrap();
            assert_eq!((sequence.0, duplicate), (u64::from(id), false));
        }
        drop(writer);
        drop(task.await.unwrap());
        readers.close().await;
        let readers = SqliteReaders::open(&disk.file()).await.unwrap();
        assert!(
            numbers(&readers)
                .await
                .into_iter()
                .eq(1..u64::from(id) + 300)
        );
        readers.close().await;
    }
}

#[tokio::test]
async fn a_read_only_disk_is_refused_at_the_start() {
    let Some(disk) = Disk::mount("4m") else {
        return;
    };
    let open = async || SqliteEngine::open(&disk.file()).await;
    let (writer, task) = own(open().await.unwrap());
    writer.append(text(pair(), 1, 1, "喂")).await.unwrap();
    drop(writer);
    drop(task.await.unwrap());
    disk.remount("ro");
    let refused = open().await.unwrap_err();
    assert!(
        matches!(refused, EngineError::NotWritable(_)),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("permissions"), "{refused}");
    disk.remount("rw");
    let (writer, _task) = own(open().await.unwrap());
    let stored = writer.append(text(pair(), 1, 2, "喂")).await.unwrap();
    assert_eq!(stored.sequence.0, 2);
}
