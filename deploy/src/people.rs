//! `swarm init`, `swarm login`, `swarm passwd`: the first owner of a fleet, and how people come in by
//! a password.
//!
//! Secrets are read from the terminal without showing them, or from standard input line by line; they
//! are printed to the terminal and kept nowhere.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use nix::sys::termios::{self, LocalFlags, SetArg};

use crate::access::Access;
use crate::enrol::wants_new_password;
use crate::screen;
use crate::state::State;

/// `swarm init`: by the fleet's own key, before anybody has a password.
pub async fn init(state: &State, owner: &str) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, _events) = access.operator_by_key(owner).await?;
    let made = client.initialise_fleet(owner).await;
    client.close().await;
    let (_, secret) = made?;
    screen::say(secret);
    screen::news(format!(
        "this secret of {owner} is told once and kept nowhere; it is good for one login:\n  \
         ./deploy/swarm login {owner}"
    ));
    Ok(())
}

/// `swarm login`.
pub async fn login(state: &State, name: &str, changes: bool) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let password = ask("password: ")?;
    let mut new = None;
    if changes {
        new = Some(ask_new()?);
    }
    let tried = access.log_in(name, &password, new.as_deref()).await;
    let (account, mut login) = match tried {
        Err(error) if wants_new_password(&error) => {
            screen::news("the one-time secret is good; choose a password of 12 characters or more");
            let new = ask_new()?;
            access.log_in(name, &password, Some(&new)).await?
        }
        tried => tried?,
    };
    let file = access.login_file(name);
    login.save(&file)?;
    screen::say(format!("logged in as {}", account.name));
    screen::news(format!("the token is in {}", file.display()));
    Ok(())
}

/// `swarm passwd`: one's own, or as an owner another's.
pub async fn passwd(
    state: &State,
    operator: &str,
    of: Option<&str>,
    is_owner: bool,
) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let done = match of.filter(|of| *of != operator) {
        Some(of) => {
            let made = client.make_operator(of, is_owner).await;
            made.map(|(_, secret)| {
                screen::say(secret);
                screen::news(format!(
                    "told once: {of} logs in with it, and a new password"
                ));
            })
        }
        None => {
            let present = ask("present password: ")?;
            let new = ask_new()?;
            client.set_password(&present, &new).await
        }
    };
    client.close().await;
    Ok(done?)
}

fn ask_new() -> anyhow::Result<String> {
    let new = ask("new password: ")?;
    if std::io::stdin().is_terminal() && ask("once more: ")? != new {
        bail!("they differ; nothing was changed");
    }
    Ok(new)
}

/// A line, which is not shown as it is typed.
fn ask(prompt: &str) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    let mut line = String::new();
    if stdin.is_terminal() {
        let mut error = std::io::stderr();
        error.write_all(prompt.as_bytes())?;
        error.flush()?;
        let before = termios::tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent)?;
        let read = stdin.lock().read_line(&mut line);
        termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &before)?;
        error.write_all(b"\n")?;
        read.context("cannot read a password")?;
    } else {
        stdin
            .lock()
            .read_line(&mut line)
            .context("cannot read a password")?;
    }
    let secret = line.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty() {
        bail!("no {}", prompt.trim_end_matches([':', ' ']));
    }
    Ok(secret)
}
