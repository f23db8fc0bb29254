//! The load as a process of its own, so that its CPU and the server's are apart: it is told a
//! [`Job`] and answers with what it [`Said`], a line each.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::driver::Driver;
use super::job::{Job, Outcome, Said};

/// How long clients may take until all are in their groups.
const CONNECTED_WITHIN: Duration = Duration::from_secs(120);

/// How long a run may take beyond the time that load is offered: for a start, and then so many times
/// that time again, for a server that is offered more than it can take.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
const DRAINED_WITHIN_TIMES: u32 = 30;

/// The process, as the one that started it sees it. Dropped, it is gone.
#[derive(Debug)]
pub struct LoadProcess {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    run_within: Duration,
}

impl LoadProcess {
    /// Starts it and waits until every client is in its group.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn start(job: &Job) -> anyhow::Result<Self> {
        let mut child = Command::new(super::im_bench()?)
            .arg("peers-load")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("no way to tell it")?;
        let stdout = child.stdout.take().context("no way to hear it")?;
        let offered = Duration::from_millis(job.load.warm_up_ms + job.load.measured_ms);
        let mut process = Self {
            _child: child,
            stdin,
            lines: BufReader::new(stdout).lines(),
            run_within: DRAINED_WITHIN + offered * (1 + DRAINED_WITHIN_TIMES),
        };
        process.say(&serde_json::to_string(job)?).await?;
        match process.hear(CONNECTED_WITHIN).await? {
            Said::Ready => Ok(process),
            said @ (Said::Done(_) | Said::Failed(_)) => bail!("{said:?} before it was ready"),
        }
    }

    /// Offers the load and waits for what was counted.
    ///
    /// # Errors
    /// When the run fails.
    pub async fn run(mut self) -> anyhow::Result<Outcome> {
        self.say("go").await?;
        match self.hear(self.run_within).await? {
            Said::Done(outcome) => Ok(outcome),
            said @ (Said::Ready | Said::Failed(_)) => bail!("{said:?} instead of an outcome"),
        }
    }

    async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.stdin.write_all(line.as_bytes()).await?;
        self.stdin.write_all(b"\n").await?;
        Ok(self.stdin.flush().await?)
    }

    async fn hear(&mut self, within: Duration) -> anyhow::Result<Said> {
        let line = tokio::time::timeout(within, self.lines.next_line());
        let line = line.await.context("the load takes too long")??;
        match serde_json::from_str(&line.context("the load has ended")?)? {
            Said::Failed(error) => bail!("the load failed: {error}"),
            said @ (Said::Ready | Said::Done(_)) => Ok(said),
        }
    }
}

/// What the process does: `im-bench peers-load`.
///
/// # Errors
/// When nobody is there to hear what became of the run.
pub async fn serve() -> anyhow::Result<()> {
    let said = match work().await {
        Ok(Some(outcome)) => Said::Done(outcome),
        Ok(None) => return Ok(()),
        Err(error) => Said::Failed(format!("{error:#}")),
    };
    say(&said)
}

/// `None`: whoever started it is gone.
async fn work() -> anyhow::Result<Option<Outcome>> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let Some(job) = lines.next_line().await? else {
        return Ok(None);
    };
    let driver = Driver::connect(serde_json::from_str(&job)?).await?;
    say(&Said::Ready)?;
    if lines.next_line().await?.is_none() {
        return Ok(None);
    }
    driver.run().await.map(Some)
}

fn say(said: &Said) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(said)?)?;
    Ok(out.flush()?)
}
