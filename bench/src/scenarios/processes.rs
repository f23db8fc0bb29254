//! Several load processes and their coordinator: JSON, a line a word, over their standard input and
//! output. They start together, and what one process cannot hold in files and CPU several can.
//!
//! A load process runs a [`Work`]. Its conversation with the coordinator is a row of *meetings*:
//! every process says something, and when all have, all are answered. So nobody connects, begins or
//! ends before the others. Not here: what the work is.

use std::marker::PhantomData;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::clock;
use crate::cluster::binaries;
use crate::usage;

/// Connections of one load process: what the usual limit of 20,000 open files has room for.
pub const CONNECTIONS_PER_PROCESS_MAX: usize = 15_000;

/// Words of all processes that wait for the coordinator. When full: the processes wait.
const WORDS_MAX: usize = 256;

/// How far ahead a common start lies: the word of it has reached every process by then.
const START_AHEAD: Duration = Duration::from_millis(100);

/// What a load process does.
pub trait Work: Serialize + DeserializeOwned + Send + 'static {
    /// Its name on the hidden command line: `im-bench load-process NAME`.
    const NAME: &'static str;
    /// What has become of it.
    type Outcome: Serialize + DeserializeOwned + Send;
    /// Does it.
    fn run(self, station: Station) -> impl Future<Output = anyhow::Result<Self::Outcome>>;
}

/// How far a load process is, for the progress bars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Connections that stand.
    pub connected: u64,
    /// Sends begun.
    pub sent: u64,
    /// Sends acknowledged.
    pub acked: u64,
    /// Sends refused, or without an answer.
    pub failed: u64,
    /// Messages that have come.
    pub delivered: u64,
}

impl Progress {
    /// That of another process.
    pub const fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.sent += other.sent;
        self.acked += other.acked;
        self.failed += other.failed;
        self.delivered += other.delivered;
    }
}

/// What a load process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Progress(Progress),
    Meeting(Value),
    Outcome(Value),
    Failed(String),
}

/// How many load processes hold so many connections.
#[must_use]
pub fn needed(connections: usize) -> usize {
    connections.div_ceil(CONNECTIONS_PER_PROCESS_MAX).max(1)
}

/// A moment, soon, at which all begin: in microseconds since the Unix epoch.
#[must_use]
pub fn common_start_us() -> u64 {
    clock::unix_us() + u64::try_from(START_AHEAD.as_micros()).unwrap_or(u64::MAX)
}

/// Load processes under way, seen from their coordinator. Dropped, they are gone.
pub struct Processes<W> {
    children: Vec<(Child, ChildStdin)>,
    words: mpsc::Receiver<(usize, anyhow::Result<Word>)>,
    progress: Vec<Progress>,
    /// Told with every change of it.
    watcher: Option<Watcher>,
    work: PhantomData<fn() -> W>,
}

type Watcher = Box<dyn Fn(Progress) -> anyhow::Result<()> + Send + Sync>;

impl<W> std::fmt::Debug for Processes<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Processes")
            .field(&self.children.len())
            .finish()
    }
}

impl<W: Work> Processes<W> {
    /// One process for each.
    ///
    /// # Errors
    /// When `im-bench` is not built, or a process cannot be started.
    pub async fn start(works: Vec<W>) -> anyhow::Result<Self> {
        let program = binaries()?.join("im-bench");
        ensure!(program.is_file(), "{} is not built", program.display());
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let mut children = Vec::with_capacity(works.len());
        for (number, work) in works.iter().enumerate() {
            // In a group of its own: a Ctrl-C is for the coordinator, which ends the others.
            let mut child = Command::new(&program)
                .args(["load-process", W::NAME])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            let mut stdin = child.stdin.take().context("it has an input")?;
            say_to(&mut stdin, work).await?;
            let stdout = child.stdout.take().context("it has an output")?;
            tokio::spawn(listen(
                number,
                BufReader::new(stdout).lines(),
                sender.clone(),
            ));
            children.push((child, stdin));
        }
        Ok(Self {
            progress: vec![Progress::default(); children.len()],
            children,
            words,
            watcher: None,
            work: PhantomData,
        })
    }

    /// Told whenever somebody is further, with the sum of all. An error of it ends the run.
    pub fn watch(
        &mut self,
        watcher: impl Fn(Progress) -> anyhow::Result<()> + Send + Sync + 'static,
    ) {
        self.watcher = Some(Box::new(watcher));
    }

    /// The CPU that they have used so far, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> u64 {
        let pids = self.children.iter().filter_map(|(child, _)| child.id());
        pids.filter_map(|pid| usage::cpu_us(i32::try_from(pid).ok()?))
            .sum()
    }

    /// Their process ids.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let pids = self.children.iter().filter_map(|(child, _)| child.id());
        pids.filter_map(|pid| i32::try_from(pid).ok()).collect()
    }

    /// What each of them says next, by their numbers; they wait until [`Processes::answer`].
    ///
    /// # Errors
    /// When one has failed or ended instead.
    pub async fn meet<A: DeserializeOwned>(&mut self) -> anyhow::Result<Vec<A>> {
        let said = self.collect(|word| match word {
            Word::Meeting(value) => Some(value),
            Word::Outcome(_) | Word::Progress(_) | Word::Failed(_) => None,
        });
        said.await?
            .into_iter()
            .map(|value| serde_json::from_value(value).context("an unexpected word"))
            .collect()
    }

    /// Answers all of them with the same.
    ///
    /// # Errors
    /// When one has ended.
    pub async fn answer(&mut self, answer: &impl Serialize) -> anyhow::Result<()> {
        for (_, stdin) in &mut self.children {
            say_to(stdin, answer).await?;
        }
        Ok(())
    }

    /// Answers each of them with what is its.
    ///
    /// # Errors
    /// When one has ended.
    pub async fn answer_each(&mut self, answers: &[impl Serialize]) -> anyhow::Result<()> {
        for ((_, stdin), answer) in self.children.iter_mut().zip(answers) {
            say_to(stdin, answer).await?;
        }
        Ok(())
    }

    /// What has become of each, by their numbers.
    ///
    /// # Errors
    /// When one has failed.
    pub async fn outcomes(&mut self) -> anyhow::Result<Vec<W::Outcome>> {
        let ended = self.collect(|word| match word {
            Word::Outcome(value) => Some(value),
            Word::Meeting(_) | Word::Progress(_) | Word::Failed(_) => None,
        });
        ended
            .await?
            .into_iter()
            .map(|value| serde_json::from_value(value).context("an unexpected outcome"))
            .collect()
    }

    async fn collect(
        &mut self,
        wanted: impl Fn(Word) -> Option<Value>,
    ) -> anyhow::Result<Vec<Value>> {
        let mut said: Vec<Option<Value>> = vec![None; self.children.len()];
        while said.iter().any(Option::is_none) {
            let (number, word) = self.words.recv().await.context("no load process is left")?;
            match word.with_context(|| format!("load process {number}"))? {
                Word::Progress(progress) => self.further(number, progress)?,
                Word::Failed(why) => bail!("load process {number}: {why}"),
                word @ (Word::Meeting(_) | Word::Outcome(_)) => {
                    let value = wanted(word).context("a word out of turn")?;
                    said[number] = Some(value);
                }
            }
        }
        Ok(said.into_iter().flatten().collect())
    }

    fn further(&mut self, number: usize, progress: Progress) -> anyhow::Result<()> {
        self.progress[number] = progress;
        let Some(watcher) = &self.watcher else {
            return Ok(());
        };
        let mut all = Progress::default();
        self.progress.iter().for_each(|one| all.add(one));
        watcher(all)
    }
}

async fn listen(
    number: usize,
    mut lines: Lines<BufReader<ChildStdout>>,
    words: mpsc::Sender<(usize, anyhow::Result<Word>)>,
) {
    loop {
        let word = match lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line).context("not a word of ours"),
            Ok(None) => return,
            Err(error) => Err(error.into()),
        };
        if words.send((number, word)).await.is_err() {
            return;
        }
    }
}

async fn say_to(stdin: &mut ChildStdin, word: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    let said = async {
        stdin.write_all(&line).await?;
        stdin.flush().await
    };
    said.await.context("a load process has ended")
}

/// The coordinator, seen from a load process.
#[derive(Debug)]
pub struct Station {
    words: mpsc::Receiver<String>,
}

impl Station {
    /// Says something, and waits until all others have as well. The answer is the coordinator's.
    ///
    /// # Errors
    /// When the coordinator is gone.
    pub async fn meet<B: DeserializeOwned>(&mut self, say: &impl Serialize) -> anyhow::Result<B> {
        print(&Word::Meeting(serde_json::to_value(say)?))?;
        self.hear().await
    }

    /// Says how far it is. Worth no more than a few times a second.
    pub fn further(&self, progress: Progress) {
        // The coordinator that is gone is found out at the next meeting.
        print(&Word::Progress(progress)).ok();
    }

    async fn hear<B: DeserializeOwned>(&mut self) -> anyhow::Result<B> {
        let line = self.words.recv().await;
        let line = line.context("the coordinator is gone")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// The whole life of a load process of this work. The work is of one thread, and may spawn tasks of
/// that thread.
///
/// # Errors
/// When the coordinator cannot be heard; a failure of the work itself is told to it.
pub async fn serve<W: Work>() -> anyhow::Result<()> {
    let (sender, words) = mpsc::channel(1);
    let gone = tokio::spawn(hear_out(sender));
    let mut station = Station { words };
    let work: W = station.hear().await?;
    let working = LocalSet::new();
    let ended = tokio::select! {
        ended = working.run_until(work.run(station)) => ended,
        // Nobody will hear what becomes of it.
        _ = gone => bail!("the coordinator is gone"),
    };
    let word = match ended {
        Ok(outcome) => Word::Outcome(serde_json::to_value(outcome)?),
        Err(error) => Word::Failed(format!("{error:#}")),
    };
    print(&word)
}

/// Ends when the coordinator says nothing any more.
async fn hear_out(words: mpsc::Sender<String>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if words.send(line).await.is_err() {
            return;
        }
    }
}

fn print(word: &Word) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_holds_what_its_files_allow() {
        assert_eq!([1, 15_000, 15_001, 100_000].map(needed), [1, 1, 2, 7]);
    }
}
