//! The nemesis: which fault strikes which process when, drawn from the seed ([`plan`], pure), and the
//! shell that does it.
//!
//! A target is an instance of a tier. Links between tiers are not targets: nothing of ours stands
//! between them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deploy::state::State;
use deploy::tiers::Tier;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use tokio::time::Instant;

use super::dice;
use crate::record::{Event, Recorder};

/// Load is offered so long before the first fault.
const FIRST_AFTER_MS: u64 = 1_500;

/// The shortest and the longest time between two faults.
const GAP_MS: (u64, u64) = (500, 5_000);

/// The shortest and the longest pause of a process: some shorter than what the tiers and clients
/// wait for each other, some longer.
const PAUSE_MS: (u64, u64) = (100, 6_000);

/// One fault in so many strikes together with the one before it.
const TOGETHER_ONE_IN: u32 = 5;

/// One process of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its tier.
    pub tier: Tier,
    /// Which of them, from 0, in the order of the run file.
    pub instance: usize,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tier.binary(), self.instance)
    }
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; its supervisor starts another.
    Kill,
    /// SIGSTOP, and SIGCONT after this long.
    Pause(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Pause(_) => "pause",
        })
    }
}

/// One fault to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// When, from the start of the load.
    pub after: Duration,
    /// Where.
    pub target: Target,
    /// What.
    pub fault: Fault,
}

/// What there is to strike in a cluster with one of each tier.
#[must_use]
pub fn targets() -> Vec<Target> {
    let tiers = [Tier::Gateway, Tier::Logic, Tier::Router, Tier::Store];
    let first = |tier| Target { tier, instance: 0 };
    tiers.map(first).to_vec()
}

/// The faults of a run. Each kind strikes each target once before any strikes it again.
#[must_use]
pub fn plan(seed: u64, targets: &[Target], time: Duration) -> Vec<Strike> {
    let mut random = dice(seed, 2);
    let mut strikes = Vec::new();
    let mut deck: Vec<(Target, bool)> = Vec::new();
    let mut after = Duration::from_millis(FIRST_AFTER_MS);
    while !targets.is_empty() && after < time {
        if deck.is_empty() {
            deck = targets
                .iter()
                .flat_map(|t| [(*t, true), (*t, false)])
                .collect();
            deck.shuffle(&mut random);
        }
        let Some((target, kills)) = deck.pop() else {
            break;
        };
        let pause = random.random_range(PAUSE_MS.0..=PAUSE_MS.1);
        let fault = if kills {
            Fault::Kill
        } else {
            // It is over when the load is, so that the end is that of a whole cluster.
            Fault::Pause(Duration::from_millis(pause).min(time - after))
        };
        strikes.push(Strike {
            after,
            target,
            fault,
        });
        if !random.random_ratio(1, TOGETHER_ONE_IN) {
            after += Duration::from_millis(random.random_range(GAP_MS.0..=GAP_MS.1));
        }
    }
    strikes
}

/// Makes the faults, and ends when the last is over.
pub(super) async fn run(plan: &[Strike], state: &Path, recorder: &Recorder) {
    let began = Instant::now();
    let strikes = plan.iter().map(|strike| async move {
        tokio::time::sleep_until(began + strike.after).await;
        let at_us = recorder.now_us();
        let fault = match make(strike, state.to_owned()).await {
            Ok(()) => strike.fault.to_string(),
            Err(why) => format!("missed: {why}"),
        };
        recorder.record(&Event::Fault {
            at_us,
            until_us: recorder.now_us(),
            target: strike.target.to_string(),
            fault,
        });
    });
    strikes.collect::<FuturesUnordered<_>>().count().await;
}

async fn make(strike: &Strike, state: PathBuf) -> anyhow::Result<()> {
    let process = find(strike.target, state)?;
    match strike.fault {
        Fault::Kill => kill(process, Signal::SIGKILL)?,
        Fault::Pause(time) => {
            kill(process, Signal::SIGSTOP)?;
            let paused = Paused(process);
            tokio::time::sleep(time).await;
            drop(paused);
        }
    }
    Ok(())
}

/// Nobody stays paused, whatever becomes of the run.
struct Paused(Pid);

impl Drop for Paused {
    fn drop(&mut self) {
        // It fails when the process was killed in the meantime.
        kill(self.0, Signal::SIGCONT).ok();
    }
}

/// The process, if it is up.
fn find(target: Target, state: PathBuf) -> anyhow::Result<Pid> {
    let run = State::new(Some(state)).running()?;
    let mut of_tier = run
        .tiers
        .iter()
        .filter(|process| process.tier == target.tier);
    let process = of_tier.nth(target.instance);
    let process = process.ok_or_else(|| anyhow::anyhow!("it does not run"))?;
    // Between two lives the run file still names the one that has ended.
    let executable = std::fs::read_link(format!("/proc/{}/exe", process.pid))?;
    anyhow::ensure!(
        executable.starts_with(&process.executable),
        "it does not run"
    );
    Ok(Pid::from_raw(process.pid))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TIME: Duration = Duration::from_secs(60);

    #[test]
    fn a_seed_is_a_plan_and_another_seed_another() {
        assert_eq!(plan(7, &targets(), TIME), plan(7, &targets(), TIME));
        assert_ne!(plan(7, &targets(), TIME), plan(8, &targets(), TIME));
    }

    #[test]
    fn every_kind_strikes_every_target_within_the_time() {
        for seed in 0..100 {
            let plan = plan(seed, &targets(), TIME);
            let kinds = plan.iter().map(|s| (s.target, s.fault.to_string()));
            let kinds: BTreeSet<_> = kinds.collect();
            assert_eq!(kinds.len(), 8, "seed {seed}");
            for strike in &plan {
                let until = match strike.fault {
                    Fault::Kill => strike.after,
                    Fault::Pause(time) => strike.after + time,
                };
                assert!(until <= TIME);
            }
        }
    }

    #[test]
    fn nothing_to_strike_is_no_plan() {
        assert_eq!(plan(1, &[], TIME), []);
    }
}
