//! The small commands: what runs where, a credential, and away with everything.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use service_kit::clock;

use crate::authority::Authority;
use crate::cli::CredentialKind;
use crate::probe::{self, Readiness};
use crate::screen;
use crate::state::{RunFile, State, TierProcess};
use crate::supervisor::Supervisor;

/// `swarm status`.
pub async fn status(state: &State) -> anyhow::Result<()> {
    let run = state.running()?;
    let up_s = clock::unix_ms().saturating_sub(run.started_at_ms) / 1000;
    let up = Duration::from_secs(up_s);
    let (pid, folder) = (run.supervisor_pid, state.folder().display());
    screen::say(format!("cluster on {folder}, process {pid}, up {up:?}"));
    let clients = run.addresses.all_clients().join(", ");
    screen::say(format!("clients connect to {clients}"));
    for line in tier_lines(&run).await {
        screen::say(line);
    }
    Ok(())
}

async fn tier_lines(run: &RunFile) -> Vec<String> {
    let mut tiers = run.tiers.clone();
    tiers.sort_by_key(TierProcess::instance);
    let mut lines = Vec::new();
    for process in tiers {
        let admin = process.instance().admin(&run.addresses);
        let readiness = match probe::ready(admin).await {
            Readiness::Ready => "ready".to_owned(),
            Readiness::Waiting(why) => format!("waiting: {why}"),
            Readiness::Away => "not up".into(),
        };
        let restarts = match process.restarts {
            0 => String::new(),
            n => format!(", restarted {n}x"),
        };
        lines.push(format!(
            "{:<12}  pid {:<8} http://{admin}  {readiness}{restarts}",
            process.instance().to_string(),
            process.pid
        ));
    }
    lines
}

/// `swarm credential`: the files, one on a line, as arguments of the SDK's examples.
pub fn credential(state: &State, kind: CredentialKind, name: &str) -> anyhow::Result<()> {
    let now_ms = clock::unix_ms();
    let authority = Authority::open(state.folder(), now_ms)?;
    let files = match kind.token() {
        Some(kind) => vec![authority.token(kind, name, now_ms)?],
        None => {
            let pair = authority.robot(name, now_ms)?;
            vec![pair.certificate, pair.key]
        }
    };
    for file in files {
        screen::say(file.display().to_string());
    }
    Ok(())
}

/// `swarm reset`.
pub async fn reset(state: &State, yes: bool) -> anyhow::Result<()> {
    if !state.exists() {
        screen::say(format!("nothing to delete: {}", state.folder().display()));
        return Ok(());
    }
    let lock = state.lock()?;
    let folder = state.folder().display();
    let question = format!("Delete all history, authorities and credentials in {folder}?");
    if !yes && !confirmed(&question)? {
        screen::say("nothing was deleted");
        return Ok(());
    }
    Supervisor::clear_leftovers(state).await;
    state.delete(lock)?;
    let folder = state.folder().display();
    screen::say(format!("deleted what the cluster kept in {folder}"));
    Ok(())
}

/// Asks on the terminal. Anything but a clear yes, the end of the input too, is a no.
pub(crate) fn confirmed(question: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    write!(out, "{question} [y/N] ")
        .and_then(|()| out.flush())
        .context("cannot ask; --yes does not")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer; --yes does not ask")?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for yes in ["y\n", "Y", " yes \n", "YES"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "no", "yep", "delete", "y y"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
