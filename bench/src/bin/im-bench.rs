//! Load on a running cluster, or on one of its own: the scenarios, `peers` and `chaos`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bench::chaos::arena::{Arena, Setup};
use bench::chaos::outcome::Outcome;
use bench::chaos::{self, Chaos, disk};
use bench::peers::run::Compare;
use bench::peers::{self, System, limit};
use bench::scenarios::back::Robots;
use bench::scenarios::bare::Serving;
use bench::scenarios::catch_up;
use bench::scenarios::command::{self, Orderlies};
use bench::scenarios::estop::{self, Stopping};
use bench::scenarios::growth::{self, Growth};
use bench::scenarios::idle::{self, Holding};
use bench::scenarios::load::{self, GroupOptions, MixedOptions, Scenario};
use bench::scenarios::lone;
use bench::scenarios::processes::{self, Work as _};
use bench::scenarios::row::Rows;
use bench::scenarios::site::{Place, Site};
use bench::scenarios::storm::{self, Storming};
use bench::scenarios::traffic::Traffic;
use clap::{Parser, Subcommand};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a run that says nothing of the server.
const EXIT_VOID: u8 = 3;

/// The exit code of a run that was interrupted, as a shell has it.
const EXIT_INTERRUPTED: u8 = 130;

/// Load over TLS against the separate processes of a cluster.
///
/// Exit codes: 0, the run stands; 1, it could not be carried out, or something was lost, repeated or
/// out of order; 3, it is void, because the load generator was the limit; 130, it was interrupted.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publishers that wait for their acks; the latency is that of the ack
    Send(Run<GroupOptions>),
    /// Publishers to every member of their groups; the latency is that of the delivery
    Fanout(Run<GroupOptions>),
    /// Small groups of which every member publishes; the latency is that of the ack
    Groups(Run<GroupOptions>),
    /// A swarm at work: groups of several sizes, commands in pairs, telemetry; the latency is that of
    /// the delivery
    Mixed(Run<MixedOptions>),
    /// Sessions that say nothing: what each takes of memory, and its heartbeats of CPU
    Idle(Run<idle::Options>),
    /// Logins at once, beside a bare TLS server; and a fleet that comes back after a gateway's death
    ConnectStorm(Run<storm::Options>),
    /// One send after the other, beside a bare TLS round trip and a sync of the disk
    Lone(Run<lone::Options>),
    /// A client that was away pulls what it missed, beside the database's own read rate
    CatchUp(Run<catch_up::Options>),
    /// One command to many robots: the time until its issuer knows every outcome
    #[command(name = "command")]
    ToMany(Run<command::Options>),
    /// Emergency stops of a fleet under load: how long until the last robot has acted
    Estop(Run<estop::Options>),
    /// Whether one more costs more when there are many already
    Growth {
        /// What grows.
        #[command(subcommand)]
        growth: Growth,
        /// Also writes the figures here: one row as a JSON object, several as an array
        #[arg(long, value_name = "FILE", global = true)]
        json: Option<PathBuf>,
    },
    /// Dissolves the groups that interrupted runs have left on a cluster
    Clean(CleanRun),
    /// Our cluster, its peers and the limit of TLS and sockets, side by side in one run
    Peers(Compare),
    /// Steady load under faults of every kind; what was promised is checked afterwards
    Chaos(ChaosRun),
    /// Judges the record of a chaos run again
    Check {
        /// What `chaos --record` wrote
        record: PathBuf,
        /// Also writes the verdict here, as one JSON object
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// What the load comes from: told on standard input what to do
    #[command(hide = true)]
    LoadProcess {
        /// Which work.
        work: String,
    },
    /// A load, told what to do on its input. For `peers`
    #[command(hide = true)]
    PeersLoad,
    /// The limit probe; says where it listens. For `peers`
    #[command(hide = true)]
    LimitProbe {
        /// Its certificate, in PEM
        #[arg(long)]
        certificate: PathBuf,
        /// The certificate's key, in PEM
        #[arg(long)]
        key: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Run<O: clap::Args> {
    #[command(flatten)]
    options: O,
    /// Also writes the figures here: one row as a JSON object, several as an array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct CleanRun {
    #[command(flatten)]
    place: Place,
    /// How many accounts, from --first-account on, are looked through
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    accounts: u32,
}

#[derive(Debug, clap::Args)]
struct ChaosRun {
    #[command(flatten)]
    chaos: Chaos,
    #[command(flatten)]
    setup: Setup,
    /// Also writes the verdict here, as one JSON object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps the record here: everything that was sent, acknowledged, handed over and marked.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Keeps here what the cluster has logged.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut passed = ExitCode::SUCCESS;
    let code = service_kit::exit::run("im-bench", || {
        let command = Arguments::parse().command;
        if let Command::LoadProcess { work } = &command {
            // One thread: what it uses is what the load costs.
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let ended = runtime.block_on(load_process(work));
            // It waits for no further word.
            runtime.shutdown_background();
            return ended;
        }
        // Without the right to it the machine has none of our mounts, and no small disk.
        disk::keep_mounts_private().ok();
        passed = Runtime::new()?.block_on(run(command))?;
        Ok(())
    });
    if code == ExitCode::SUCCESS {
        passed
    } else {
        code
    }
}

async fn load_process(work: &str) -> anyhow::Result<()> {
    match work {
        Traffic::NAME => processes::serve::<Traffic>().await,
        Holding::NAME => processes::serve::<Holding>().await,
        Storming::NAME => processes::serve::<Storming>().await,
        Orderlies::NAME => processes::serve::<Orderlies>().await,
        Robots::NAME => processes::serve::<Robots>().await,
        Stopping::NAME => processes::serve::<Stopping>().await,
        Serving::NAME => processes::serve::<Serving>().await,
        other => anyhow::bail!("there is no work {other}"),
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Send(run) => groups(Scenario::Send, &run).await,
        Command::Fanout(run) => groups(Scenario::Fanout, &run).await,
        Command::Groups(run) => groups(Scenario::Groups, &run).await,
        Command::Mixed(run) => {
            let work = async |site: &mut Site| load::mixed(&run.options, site).await;
            scenario(&run.options.run.place, run.json.as_deref(), work).await
        }
        Command::Idle(run) => {
            let work = async |site: &mut Site| idle::run(&run.options, site).await;
            scenario(&run.options.place(), run.json.as_deref(), work).await
        }
        Command::ConnectStorm(run) => {
            let work = async |site: &mut Site| storm::run(&run.options, site).await;
            scenario(&run.options.place, run.json.as_deref(), work).await
        }
        Command::Estop(run) => {
            let work = async |site: &mut Site| estop::run(&run.options, site).await;
            scenario(&run.options.place, run.json.as_deref(), work).await
        }
        Command::Lone(run) => alone(lone::run(&run.options), run.json.as_deref()).await,
        Command::CatchUp(run) => alone(catch_up::run(&run.options), run.json.as_deref()).await,
        Command::ToMany(run) => alone(command::run(&run.options), run.json.as_deref()).await,
        Command::Growth { growth, json } => alone(growth::run(&growth), json.as_deref()).await,
        Command::Clean(run) => clean(&run).await,
        Command::Peers(compare) => peers(&compare).await,
        Command::PeersLoad => done(peers::load::serve().await),
        Command::LimitProbe { certificate, key } => {
            done(limit::server::run(&certificate, &key).await)
        }
        Command::Chaos(run) => chaos(&run).await,
        Command::Check { record, json } => tell(&chaos::judge(&record)?, json.as_deref()),
        Command::LoadProcess { .. } => unreachable!("it has a runtime of its own"),
    }
}

fn done(ended: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    ended.map(|()| ExitCode::SUCCESS)
}

/// Passes when nothing of ours was lost.
async fn peers(compare: &Compare) -> anyhow::Result<ExitCode> {
    let table = compare.run().await?;
    show(&table, compare.json.as_deref())?;
    let mut ours = table.0.iter().filter(|row| row.system == System::Ours);
    Ok(code_of(ours.all(|row| row.lost == 0)))
}

const fn code_of(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn groups(which: Scenario, run: &Run<GroupOptions>) -> anyhow::Result<ExitCode> {
    let work = async |site: &mut Site| load::groups(which, &run.options, site).await;
    scenario(&run.options.run.place, run.json.as_deref(), work).await
}

/// Runs a scenario on its cluster, and leaves that as it was, also when it is interrupted.
async fn scenario(
    place: &Place,
    json: Option<&Path>,
    work: impl AsyncFnOnce(&mut Site) -> anyhow::Result<Rows>,
) -> anyhow::Result<ExitCode> {
    let mut site = Site::open(place).await?;
    let rows = tokio::select! {
        rows = work(&mut site) => Some(rows),
        stopped = interrupted() => stopped.map(|()| None)?,
    };
    let cleaned = tokio::select! {
        cleaned = site.clean_up() => cleaned,
        stopped = interrupted() => stopped.and(Err(anyhow::anyhow!(
            "groups of the run may be left; im-bench clean dissolves them"
        ))),
    };
    let Some(rows) = rows else {
        cleaned?;
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let rows = rows?;
    show(&rows, json)?;
    cleaned?;
    Ok(exit_of(&rows))
}

/// Runs a scenario that has clusters of its own; they go with it, also when it is interrupted.
async fn alone(
    work: impl Future<Output = anyhow::Result<Rows>>,
    json: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let rows = tokio::select! {
        rows = work => rows?,
        stopped = interrupted() => {
            return stopped.map(|()| ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    show(&rows, json)?;
    Ok(exit_of(&rows))
}

fn exit_of(rows: &Rows) -> ExitCode {
    if !rows.are_whole() {
        ExitCode::FAILURE
    } else if rows.are_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_VOID)
    }
}

/// Ends with Ctrl-C, or when the process is asked to end.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the answer to people")]
async fn clean(run: &CleanRun) -> anyhow::Result<ExitCode> {
    let site = Site::open(&run.place).await?;
    let dissolved = site.clean(run.accounts).await?;
    println!("{dissolved} groups dissolved");
    Ok(ExitCode::SUCCESS)
}

async fn chaos(run: &ChaosRun) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let record = run.record.clone();
    let record = record.unwrap_or_else(|| folder.path().join("record"));
    let mut arena = Arena::start(&run.setup).await?;
    let outcome = tokio::select! {
        outcome = chaos::run(&run.chaos, &mut arena, &record) => Some(outcome),
        stopped = interrupted() => stopped.map(|()| None)?,
    };
    if let Some(path) = &run.log {
        write(path, arena.cluster.whole_log().as_bytes())?;
    }
    let Some(outcome) = outcome else {
        arena.stop().await?;
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let outcome = outcome.with_context(|| arena.cluster.log())?;
    arena.stop().await?;
    tell(&outcome, run.json.as_deref())
}

fn tell(outcome: &Outcome, json: Option<&Path>) -> anyhow::Result<ExitCode> {
    show(outcome, json)?;
    Ok(code_of(outcome.passed))
}

#[expect(clippy::print_stdout, reason = "the table for people")]
fn show(report: &(impl std::fmt::Display + Serialize), json: Option<&Path>) -> anyhow::Result<()> {
    println!("{report}");
    match json {
        Some(path) => write(path, serde_json::to_string_pretty(report)?.as_bytes()),
        None => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
