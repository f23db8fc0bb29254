//! A robot with a journal on disk that is killed at random moments, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use client_sdk::journal::{DiskJournal, JournalError};
use client_sdk::{
    Client, ClientMessageId, ConfigError, Content, ConversationId, Credential, Error, Refusal,
    content,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use super::gateway::Fleet;
use super::state::Fault;

/// Kills, each with a seed of its own.
const KILLS: u64 = 200;

/// A kill comes after at most so many words.
const WORDS_MAX: usize = 60;

/// And at most so long after the last of them.
const LATER_MAX: Duration = Duration::from_millis(5);

/// Nothing takes longer unless it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a robot said before it was killed.
#[derive(Default)]
struct Said {
    written: BTreeSet<String>,
    stored: BTreeSet<String>,
    done: bool,
}

impl Said {
    fn take(&mut self, line: &str) {
        match line.split_once(' ') {
            // A word that the kill cut short is none.
            Some((_, id)) if id.len() != 36 => {}
            Some(("written", id)) => drop(self.written.insert(id.to_owned())),
            Some(("stored", id)) => drop(self.stored.insert(id.to_owned())),
            Some(_) => panic!("{line}"),
            None => self.done = line == "done",
        }
    }
}

struct Robot {
    address: String,
    files: [String; 3],
    journal: String,
}

impl Robot {
    fn start(&self, first: u64, count: u64) -> Child {
        let test = std::env::current_exe().unwrap();
        let built = test.parent().unwrap().parent().unwrap();
        Command::new(built.join("examples").join("journal_child"))
            .arg(&self.address)
            .args(&self.files)
            .arg(&self.journal)
            .args([first.to_string(), count.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Lets it say so many words, kills it a moment later, and hears the rest.
    async fn run(&self, first: u64, words: Option<usize>, later: Duration, said: &mut Said) {
        let count = if words.is_some() { 10_000 } else { 5 };
        let mut child = self.start(first, count);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let talk = async {
            if let Some(words) = words {
                for _ in 0..words {
                    said.take(&lines.next_line().await.unwrap().unwrap());
                }
                let moment = Instant::now() + later;
                while let Ok(line) = timeout_at(moment, lines.next_line()).await {
                    said.take(&line.unwrap().unwrap());
                }
                child.start_kill().unwrap();
            }
            while let Some(line) = lines.next_line().await.unwrap() {
                said.take(&line);
            }
            child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(PATIENCE, talk).await.unwrap();
        assert_eq!(status.success(), words.is_none(), "{status}");
    }
}

fn number(content: &Content) -> u64 {
    match content {
        Content::Text(text) => text.text.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_robot_that_is_killed_sends_again_what_its_journal_has_and_nothing_twice() {
    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    let robot = Robot {
        address: fleet.gateway().await,
        files: fleet.authority.files(folder.path(), "lift-1"),
        journal: path(folder.path()),
    };
    let mut said = Said::default();
    for seed in 0..KILLS {
        let mut random = SmallRng::seed_from_u64(seed);
        fleet.with(|state| {
            state.faults.clear();
            for _ in 0..random.random_range(0..3) {
                state.faults.push_back(match random.random_range(0..3) {
                    0 => Fault::HangUp { stored: true },
                    1 => Fault::HangUp { stored: false },
                    _ => Fault::Refuse(Refusal::unavailable("busy").retry_after_ms(1)),
                });
            }
        });
        let words = Some(random.random_range(0..WORDS_MAX));
        let later = random.random_range(Duration::ZERO..LATER_MAX);
        robot.run(seed * 10_000, words, later, &mut said).await;
        let before_ack = fleet.with(|state| {
            let sent = state.sends.iter().map(|(_, id)| id.to_string());
            sent.filter(|id| !said.written.contains(id)).count()
        });
        assert_eq!(before_ack, 0, "left before it was written, seed {seed}");
    }
    fleet.with(|state| state.faults.clear());
    robot
        .run(KILLS * 10_000, None, Duration::ZERO, &mut said)
        .await;
    assert!(said.done);
    check(&fleet, &said);
}

/// Everything that was written is stored once, under its id, and in order.
fn check(fleet: &Fleet, said: &Said) {
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    fleet.with(|state| {
        for n in 1..=3 {
            let group = ConversationId::group(n);
            let numbers: Vec<_> = state.contents(group).iter().map(number).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            for entry in &state.logs[&group] {
                let id = ClientMessageId::from_slice(&entry.client_message_id).unwrap();
                *stored.entry(id.to_string()).or_default() += 1;
            }
        }
    });
    assert!(stored.values().all(|times| *times == 1), "stored twice");
    let stored: BTreeSet<_> = stored.into_keys().collect();
    let lost: Vec<_> = said.written.difference(&stored).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", said.written.len());
    assert!(said.stored.is_subset(&said.written));
    assert_eq!(stored, said.written, "and nothing else is there");
    // The kills came at moments that matter: some were sent again by the next run.
    let mut sent: BTreeMap<_, usize> = BTreeMap::new();
    for (_, id) in fleet.with(|state| state.sends.clone()) {
        *sent.entry(id).or_default() += 1;
    }
    let again = sent.values().filter(|times| **times > 1).count();
    assert!(again > 20, "{again} of {} were sent again", sent.len());
}

#[tokio::test]
async fn a_journal_on_disk_serves_one_client_at_a_time_and_a_damaged_one_none() {
    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    let path = path(folder.path());
    let address = fleet.gateway().await;
    let credential = Credential::Token("operator".into());
    let config = fleet.authority.config(&[&address], credential);
    let connect = || {
        let journal = Box::new(DiskJournal::new(&path));
        Client::connect_with_journal(config.clone(), journal)
    };
    let (client, _events) = connect().await.unwrap();
    let error = journal_error(connect().await.unwrap_err());
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    let group = ConversationId::group(1);
    client.send(group, content::text("1")).await.unwrap();
    client.close().await;
    // Closed when `close` returns.
    let (client, _events) = connect().await.unwrap();
    client.close().await;
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path);
    file.unwrap().set_len(length / 2).unwrap();
    let error = journal_error(connect().await.unwrap_err());
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains(&path) && said.contains("move it away"),
        "{said}"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length / 2);
}

fn journal_error(error: Error) -> JournalError {
    match error {
        Error::Config(ConfigError::Journal(error)) => error,
        other => panic!("{other}"),
    }
}

fn path(folder: &Path) -> String {
    folder.join("outbox.journal").to_str().unwrap().to_owned()
}
