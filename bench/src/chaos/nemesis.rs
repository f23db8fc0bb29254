//! The nemesis: makes the faults of a [`plan`](super::plan) in an arena, and records them. Nothing
//! stays broken when it ends, whatever becomes of the run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use deploy::state::{State, TierProcess};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::arena::Arena;
use super::plan::{Kind, Measure, Part, Strike, Target};
use super::proxy::{Proxy, Shape};
use crate::record::{Event, Recorder};

/// Makes the faults, and ends when the last is over.
pub(super) async fn run(plan: &[Strike], arena: &Arena, recorder: &Recorder) {
    let began = Instant::now();
    let strikes = plan.iter().map(|strike| async move {
        tokio::time::sleep_until(began + strike.after).await;
        let at_us = recorder.now_us();
        let fault = match make(strike, arena).await {
            Ok(()) => strike.kind.to_string(),
            Err(why) => format!("missed {}: {why:#}", strike.kind),
        };
        recorder.record(&Event::Fault {
            at_us,
            until_us: recorder.now_us(),
            target: strike.target.name.clone(),
            fault,
        });
    });
    strikes.collect::<FuturesUnordered<_>>().count().await;
}

async fn make(strike: &Strike, arena: &Arena) -> anyhow::Result<()> {
    let Strike {
        target,
        kind,
        measure,
        ..
    } = strike;
    match target.part {
        Part::Process => strike_process(find(target, arena.cluster.state())?, *kind, measure).await,
        Part::Link | Part::ClientLink => {
            let proxy = arena.proxy(&target.name).context("it has no proxy")?;
            strike_link(proxy, *kind, measure).await;
            Ok(())
        }
        Part::Disk => {
            let disk = arena.disk.as_ref().context("there is no small disk")?;
            disk.fill(measure.lasts).await
        }
        Part::Server => {
            let servers = &arena.servers;
            servers.strike(&target.name, *kind, measure).await
        }
    }
}

async fn strike_process(process: Pid, kind: Kind, measure: &Measure) -> anyhow::Result<()> {
    if kind == Kind::Pause {
        return pause(process, measure.lasts).await;
    }
    Ok(kill(process, Signal::SIGKILL)?)
}

async fn pause(process: Pid, time: Duration) -> anyhow::Result<()> {
    kill(process, Signal::SIGSTOP)?;
    let paused = Paused(process);
    tokio::time::sleep(time).await;
    drop(paused);
    Ok(())
}

/// Nobody stays paused.
struct Paused(Pid);

impl Drop for Paused {
    fn drop(&mut self) {
        // It fails when the process was killed in the meantime.
        kill(self.0, Signal::SIGCONT).ok();
    }
}

async fn strike_link(proxy: &Proxy, kind: Kind, measure: &Measure) {
    if kind == Kind::Move {
        return proxy.reset(2);
    }
    let bad = BadLink(proxy, kind);
    proxy.shape(|shape| match kind {
        Kind::Cut => shape.refuses = true,
        Kind::Stall => shape.stalls = measure.stalls,
        Kind::Delay => shape.lag = Some(measure.lag),
        Kind::Narrow => shape.bytes_per_second = Some(measure.bytes_per_second),
        Kind::Kill | Kind::Restart | Kind::Pause | Kind::Move | Kind::Fill => {}
    });
    if kind == Kind::Cut {
        proxy.reset(1);
    }
    tokio::time::sleep(measure.lasts).await;
    drop(bad);
}

/// No link stays bad.
struct BadLink<'a>(&'a Proxy, Kind);

impl Drop for BadLink<'_> {
    fn drop(&mut self) {
        let whole = Shape::default();
        self.0.shape(|shape| match self.1 {
            Kind::Cut => shape.refuses = whole.refuses,
            Kind::Stall => shape.stalls = whole.stalls,
            Kind::Delay => shape.lag = whole.lag,
            Kind::Narrow => shape.bytes_per_second = whole.bytes_per_second,
            Kind::Kill | Kind::Restart | Kind::Pause | Kind::Move | Kind::Fill => {}
        });
    }
}

/// The process, if it is up.
fn find(target: &Target, state: &Path) -> anyhow::Result<Pid> {
    let run = State::new(Some(state.to_owned())).running()?;
    let is_it = |process: &&TierProcess| process.instance().to_string() == target.name;
    let process = run.tiers.iter().find(is_it).context("it does not run")?;
    // Between two lives the run file still names the one that has ended.
    let executable = std::fs::read_link(format!("/proc/{}/exe", process.pid))?;
    ensure!(
        executable.starts_with(&process.executable),
        "it does not run"
    );
    Ok(Pid::from_raw(process.pid))
}
