//! A small disk of its own for history, so that it can be full without the machine's being full:
//! a tmpfs, which only root can mount.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// As much as ten minutes of load take, several times over. Memory, while it is full.
const DISK: &str = "size=512m,mode=700";

/// What is written at once while it is filled, and the last bits of room.
const BALLAST_BYTES: [usize; 2] = [1024 * 1024, 4096];

/// Lets the process mount what nobody else sees, and what goes away with it and its children. Only
/// for the thread that calls this and those that it starts: to be called before there are others.
///
/// # Errors
/// When the process may not.
pub fn keep_mounts_private() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
}

/// The disk. It goes away when this is dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts it on an empty folder.
    ///
    /// # Errors
    /// When the process may not.
    pub fn mount(folder: &Path) -> nix::Result<Self> {
        mount(
            Some("chaos"),
            folder,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(DISK),
        )?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Leaves no room on it for so long.
    pub(super) async fn fill(&self, time: Duration) -> anyhow::Result<()> {
        let ballast = Ballast(self.folder.join("ballast"));
        let path = ballast.0.clone();
        tokio::task::spawn_blocking(move || write_until_full(&path)).await??;
        tokio::time::sleep(time).await;
        drop(ballast);
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the store may still have its files open. It fails when it is gone already.
        umount2(&self.folder, MntFlags::MNT_DETACH).ok();
    }
}

/// The disk does not stay full.
struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        // It fails when it was never made.
        std::fs::remove_file(&self.0).ok();
    }
}

fn write_until_full(path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path).context("no ballast")?;
    for bytes in BALLAST_BYTES {
        let chunk = vec![0; bytes];
        loop {
            match file.write_all(&chunk) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("no ballast"),
            }
        }
    }
    Ok(())
}
