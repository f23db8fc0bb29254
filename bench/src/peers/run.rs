//! `im-bench peers`: every load on every system, round after round, so that whatever else the
//! machine does meets them all alike.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::driver::PAYLOAD_BYTES_MIN;
use super::job::{Job, Load};
use super::load::LoadProcess;
use super::process::allow_many_files;
use super::table::{Case, Figures, Offered, Run, Scenario, Table, rows};
use super::{Server, Settings, Shape, System};
use crate::usage;

/// Members of a small group.
const SMALL_GROUP_MEMBERS: usize = 10;

/// For how long load is offered before it is counted, in milliseconds.
const WARM_UP_MS: u64 = 1000;

/// How long idle sessions are left alone before memory is looked at: what a handshake needed is
/// freed by then.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);

/// What to compare.
#[derive(Debug, Clone, clap::Args)]
pub struct Compare {
    /// Which systems; the limit probe always runs beside them.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "ours,nats,jetstream,mosquitto,ejabberd"
    )]
    pub systems: Vec<System>,
    /// Which loads.
    #[arg(long, value_delimiter = ',', default_value = "fanout,groups,idle")]
    pub scenarios: Vec<Scenario>,
    /// For how long each run is measured, after a second of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// How often every run is made; the figures are medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rounds: u64,
    /// Clients: the members of one group (fanout), or a tenth as many groups of ten.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    pub members: u64,
    /// Messages of a publisher that are in flight: that not every member has received yet.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64",
          value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub window: Vec<u64>,
    /// Also fanout at so many deliveries a second, for the latency under a load that all can carry.
    #[arg(long, value_name = "DELIVERIES", value_delimiter = ',')]
    pub rate: Vec<u64>,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
    /// Threads of the load.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub threads: u64,
    /// Also writes the rows here, as a JSON array.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A system that runs.
struct Running {
    system: System,
    settings: Settings,
    server: Server,
}

impl Compare {
    /// Runs everything.
    ///
    /// # Errors
    /// When a system does not start, or a run fails.
    pub async fn run(&self) -> anyhow::Result<Table> {
        let (least, most) = (PAYLOAD_BYTES_MIN, super::limit::FRAME_BYTES_MAX);
        let payload = self.payload;
        ensure!(
            (least..=most).contains(&payload),
            "--payload {payload}: from {least} to {most} bytes"
        );
        let smallest = self.rate.iter().min();
        let members = self.members;
        ensure!(
            smallest.is_none_or(|rate| *rate >= members),
            "--rate: at least one message a second, which is {members} deliveries"
        );
        allow_many_files()?;
        let mut runs = Vec::new();
        for scenario in &self.scenarios {
            match scenario {
                Scenario::Idle => self.idle(&mut runs).await?,
                Scenario::Fanout | Scenario::Groups => self.loads(*scenario, &mut runs).await?,
            }
        }
        Ok(Table(rows(&runs)))
    }

    /// The systems and their settings, the limit first.
    fn systems(&self) -> Vec<(System, Settings)> {
        let mut systems = vec![System::Limit];
        systems.extend(&self.systems);
        let mut all: Vec<(System, Settings)> = Vec::new();
        for system in systems {
            for settings in system.settings() {
                if !all.contains(&(system, *settings)) {
                    all.push((system, *settings));
                }
            }
        }
        all
    }

    fn shape(&self, scenario: Scenario) -> Shape {
        let members = usize::try_from(self.members).unwrap_or(usize::MAX);
        match scenario {
            Scenario::Fanout => Shape { groups: 1, members },
            Scenario::Groups | Scenario::Idle => Shape {
                groups: members / SMALL_GROUP_MEMBERS,
                members: SMALL_GROUP_MEMBERS,
            },
        }
    }

    fn offered(&self, scenario: Scenario) -> Vec<Offered> {
        let members = self.shape(scenario).members;
        let offered = |window: u64, rate_per_s: u64| Offered {
            scenario,
            members,
            window: usize::try_from(window).unwrap_or(usize::MAX),
            rate_per_s,
        };
        let windows = self.window.iter().map(|window| offered(*window, 0));
        let rates = self.rate.iter().map(|rate| offered(0, *rate));
        match scenario {
            Scenario::Fanout => windows.chain(rates).collect(),
            Scenario::Groups => windows.collect(),
            Scenario::Idle => vec![offered(0, 0)],
        }
    }

    /// All systems run at once, and one after the other is put under load.
    async fn loads(&self, scenario: Scenario, runs: &mut Vec<Run>) -> anyhow::Result<()> {
        let shape = self.shape(scenario);
        let mut running = Vec::new();
        for (system, settings) in self.systems() {
            running.push(begin(system, settings, &shape).await?);
        }
        for round in 0..usize::try_from(self.rounds)? {
            for offered in self.offered(scenario) {
                for one in &running {
                    let job = self.job(one, shape, offered)?;
                    let load = LoadProcess::start(&job).await;
                    let load = load.with_context(|| format!("{:?}", one.system))?;
                    let outcome = load.run().await;
                    let outcome = outcome.with_context(|| format!("{:?}", one.system))?;
                    let run = Run {
                        round,
                        case: one.case(offered),
                        figures: Figures::Load(outcome),
                    };
                    progress(&run);
                    runs.push(run);
                }
            }
        }
        Ok(())
    }

    /// Each system begins anew for each round: memory that was freed would be used again.
    async fn idle(&self, runs: &mut Vec<Run>) -> anyhow::Result<()> {
        let shape = self.shape(Scenario::Idle);
        for round in 0..usize::try_from(self.rounds)? {
            for (system, settings) in self.systems() {
                let one = begin(system, settings, &shape).await?;
                let [offered] = self.offered(Scenario::Idle)[..] else {
                    continue;
                };
                let before = resident_bytes(&one.server);
                let job = self.job(&one, shape, offered)?;
                let load = LoadProcess::start(&job).await;
                let _sessions = load.with_context(|| format!("{system:?}"))?;
                tokio::time::sleep(SETTLES_WITHIN).await;
                let grown = resident_bytes(&one.server).saturating_sub(before);
                #[expect(clippy::cast_precision_loss, reason = "for reading")]
                let bytes = grown as f64 / shape.clients() as f64;
                let all = Offered {
                    members: shape.clients(),
                    ..offered
                };
                let run = Run {
                    round,
                    case: one.case(all),
                    figures: Figures::Idle(bytes),
                };
                progress(&run);
                runs.push(run);
            }
        }
        Ok(())
    }

    fn job(&self, one: &Running, shape: Shape, offered: Offered) -> anyhow::Result<Job> {
        let publishers = match offered.scenario {
            Scenario::Fanout | Scenario::Idle => 1,
            Scenario::Groups => shape.members,
        };
        Ok(Job {
            target: one.server.target.clone(),
            shape,
            load: Load {
                publishers,
                window: offered.window,
                rate_per_s: offered.rate_per_s / u64::try_from(shape.members)?,
                payload_bytes: self.payload,
                warm_up_ms: WARM_UP_MS,
                measured_ms: self.seconds * 1000,
            },
            threads: usize::try_from(self.threads)?,
            server_pids: one.server.pids.clone(),
        })
    }
}

impl Running {
    const fn case(&self, load: Offered) -> Case {
        Case {
            system: self.system,
            settings: self.settings,
            durable: self.server.durable,
            load,
        }
    }
}

async fn begin(system: System, settings: Settings, shape: &Shape) -> anyhow::Result<Running> {
    let server = super::start(system, settings, shape).await;
    Ok(Running {
        system,
        settings,
        server: server.with_context(|| format!("{system:?} does not start"))?,
    })
}

fn resident_bytes(server: &Server) -> u64 {
    let pids = server.pids.iter();
    pids.filter_map(|pid| usage::resident_bytes(*pid)).sum()
}

/// A line for whoever waits: a whole comparison takes a while.
fn progress(run: &Run) {
    let figures = match run.figures {
        Figures::Load(outcome) => {
            let delivered = outcome.delivered.saturating_mul(1_000_000);
            let per_s = delivered / outcome.measured_us.max(1);
            let (p99_us, lost) = (outcome.delivery.p99_us, outcome.lost);
            let late_us = outcome.late.p99_us;
            format!("{per_s} deliveries/s, p99 {p99_us} us, sent late {late_us} us, lost {lost}")
        }
        Figures::Idle(bytes) => format!("{bytes:.0} bytes a session"),
    };
    eprintln!("round {}  {}  {figures}", run.round + 1, run.case);
}
