//! `swarm backup` and `swarm restore`: the database, by `im-store`, and the keys without which
//! robots could not reconnect with their credentials, in one file.
//!
//! The file holds secrets: whoever has it can make a credential of any account.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use crate::archive::{self, Manifest};
use crate::authority;
use crate::private_file;
use crate::screen::say;
use crate::state::State;
use crate::supervisor::Supervisor;
use crate::upkeep;

/// The part of a backup that im-store writes and reads.
const DATABASE: &str = "database";

/// `swarm backup`. The cluster may be at work.
pub async fn back_up(state: &State, to: &Path, store: Option<String>) -> anyhow::Result<()> {
    archive::check_is_new(to)?;
    let is_elsewhere = state.running().is_ok_and(|run| run.history_elsewhere);
    ensure!(
        store.is_some() || !is_elsewhere,
        "the history of this cluster is in a database of its own: name it with --store URL"
    );
    let passing = Passing(
        state
            .data()
            .join(format!("backing-up-{}", std::process::id())),
    );
    let mut files = vec![(DATABASE.to_owned(), passing.0.join(DATABASE))];
    for name in authority::KEPT {
        let path = state.folder().join(name);
        ensure!(
            path.is_file(),
            "there is no cluster in {}: {} is missing",
            state.folder().display(),
            path.display()
        );
        files.push((name.to_owned(), path));
    }
    passing.make()?;
    let url = store.unwrap_or_else(|| state.own_database());
    let database = im_store(&url, &["backup".as_ref(), &files[0].1]).await?;
    let manifest = archive::pack(to, &files, database)?;
    say(format!("{} has {}", to.display(), told(&manifest)));
    say("it holds the keys of the fleet: whoever has it can be any account");
    Ok(())
}

/// `swarm restore`.
pub async fn restore(
    state: &State,
    from: &Path,
    store: Option<String>,
    (replace, yes): (bool, bool),
) -> anyhow::Result<()> {
    let manifest = archive::verify(from)?;
    let known = |name: &str| name == DATABASE || authority::KEPT.contains(&name);
    if let Some(part) = manifest.parts.iter().find(|part| !known(&part.name)) {
        bail!(
            "{} has {}, which this build does not know",
            from.display(),
            part.name
        );
    }
    let is_empty = !state.has_history();
    let folder = state.folder().display();
    ensure!(
        is_empty || replace,
        "{folder} is not empty: restore into another folder, or add --replace"
    );
    let lock = state.lock()?;
    let question = format!("Delete all history in {folder} that is not in the backup?");
    if replace && !yes && !upkeep::confirmed(&question)? {
        say("nothing was restored");
        return Ok(());
    }
    Supervisor::clear_leftovers(state).await;
    let unpacked = Passing(state.data().join("restoring"));
    unpacked.make()?;
    archive::unpack(from, &unpacked.0)?;
    let url = store.unwrap_or_else(|| state.own_database());
    let database = unpacked.0.join(DATABASE);
    let mut words = vec!["restore".as_ref(), &*database];
    words.extend(replace.then_some(Path::new("--replace")));
    im_store(&url, &words).await?;
    authority::replace(state.folder(), &unpacked.0)?;
    drop(lock);
    say(format!("{folder} has {}", told(&manifest)));
    say("a new generation of its history begins; robots reconnect with the credentials they have");
    Ok(())
}

fn told(manifest: &Manifest) -> String {
    let database = &manifest.database;
    format!(
        "{} rows of {}, schema {}, history generation {}",
        database["rows"],
        database["engine"].as_str().unwrap_or("a database"),
        database["schema"],
        database["history_generation"]
    )
}

/// Lets im-store do something beside serving, and returns what it says.
async fn im_store(url: &str, words: &[&Path]) -> anyhow::Result<serde_json::Value> {
    let binary = std::env::current_exe()?.with_file_name("im-store");
    ensure!(
        binary.is_file(),
        "{} is not built: cargo build --workspace --bins",
        binary.display()
    );
    let output = Command::new(binary)
        .args(words)
        .env("IM_STORE__DATABASE__URL", url)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run im-store")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", complaint.trim());
    serde_json::from_slice(&output.stdout).context("im-store says something else")
}

/// A folder that is there for a while: gone when this is.
struct Passing(PathBuf);

impl Passing {
    /// Empty, whatever an earlier attempt has left.
    fn make(&self) -> anyhow::Result<()> {
        self.remove();
        private_file::make_folder(&self.0)
            .with_context(|| format!("cannot use {}", self.0.display()))
    }

    fn remove(&self) {
        // Mostly it is not there.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.remove();
    }
}
