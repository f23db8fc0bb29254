//! Load on a running cluster, or on one of its own: `im-bench fanout`, `send`, `peers` and `chaos`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bench::chaos::arena::{Arena, Setup};
use bench::chaos::outcome::Outcome;
use bench::chaos::{self, Chaos, disk};
use bench::cluster::Cluster;
use bench::load::{self, Load, Measure};
use bench::peers::run::Compare;
use bench::peers::{self, System, limit};
use clap::{Parser, Subcommand};
use serde::Serialize;

/// Load over TLS against the separate processes of a cluster.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publishers to every member of their groups; the latency is that of the delivery.
    Fanout(Run),
    /// Publishers that wait for their acks; the latency is that of the ack.
    Send(Run),
    /// Our cluster, its peers and the limit of TLS and sockets, side by side in one run.
    Peers(Compare),
    /// Steady load under faults of every kind; what was promised is checked afterwards.
    Chaos(ChaosRun),
    /// Judges the record of a chaos run again.
    Check {
        /// What `chaos --record` wrote.
        record: PathBuf,
        /// Also writes the verdict here, as one JSON object.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// A load, told what to do on its input. For `peers`.
    #[command(hide = true)]
    PeersLoad,
    /// The limit probe; says where it listens. For `peers`.
    #[command(hide = true)]
    LimitProbe {
        /// Its certificate, in PEM.
        #[arg(long)]
        certificate: PathBuf,
        /// The certificate's key, in PEM.
        #[arg(long)]
        key: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    load: Load,
    /// The state folder of a running cluster (`swarm up`); without it one is started for the run.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Also writes the figures here, as one JSON object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    let mut passed = true;
    let code = service_kit::exit::run("im-bench", || {
        let arguments = Arguments::parse();
        // Without the right to it the machine has none of our mounts, and no small disk.
        disk::keep_mounts_private().ok();
        passed = tokio::runtime::Runtime::new()?.block_on(run(arguments.command))?;
        Ok(())
    });
    if passed { code } else { ExitCode::FAILURE }
}

/// Whether what was promised was kept, as far as the command asks.
async fn run(command: Command) -> anyhow::Result<bool> {
    let (measure, run) = match command {
        Command::Fanout(run) => (Measure::Delivery, run),
        Command::Send(run) => (Measure::Ack, run),
        Command::Peers(compare) => return peers(&compare).await,
        Command::PeersLoad => return peers::load::serve().await.map(|()| true),
        Command::LimitProbe { certificate, key } => {
            return limit::server::run(&certificate, &key).await.map(|()| true);
        }
        Command::Chaos(run) => return chaos(&run).await,
        Command::Check { record, json } => return tell(&chaos::judge(&record)?, json.as_deref()),
    };
    let cluster = match &run.state {
        Some(state) => Cluster::attach(state)?,
        None => Cluster::start().await?,
    };
    let report = load::run(&run.load, measure, |name| cluster.operator(name)).await?;
    show(&report, run.json.as_deref())?;
    Ok(true)
}

/// Passes when nothing of ours was lost.
async fn peers(compare: &Compare) -> anyhow::Result<bool> {
    let table = compare.run().await?;
    show(&table, compare.json.as_deref())?;
    let mut ours = table.0.iter().filter(|row| row.system == System::Ours);
    Ok(ours.all(|row| row.lost == 0))
}

async fn chaos(run: &ChaosRun) -> anyhow::Result<bool> {
    let folder = tempfile::tempdir()?;
    let record = run.record.clone();
    let record = record.unwrap_or_else(|| folder.path().join("record"));
    let mut arena = Arena::start(&run.setup).await?;
    let outcome = chaos::run(&run.chaos, &mut arena, &record).await;
    if let Some(path) = &run.log {
        write(path, arena.cluster.whole_log().as_bytes())?;
    }
    let outcome = outcome.with_context(|| arena.cluster.log())?;
    arena.stop().await?;
    tell(&outcome, run.json.as_deref())
}

fn tell(outcome: &Outcome, json: Option<&Path>) -> anyhow::Result<bool> {
    show(outcome, json)?;
    Ok(outcome.passed)
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
