//! Load on a running cluster, or on one of its own: `im-bench fanout` and `im-bench send`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bench::cluster::Cluster;
use bench::load::{self, Load, Measure};
use clap::{Parser, Subcommand};

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

fn main() -> ExitCode {
    service_kit::exit::run("im-bench", || {
        let arguments = Arguments::parse();
        tokio::runtime::Runtime::new()?.block_on(run(arguments))
    })
}

#[expect(clippy::print_stdout, reason = "the table for people")]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (measure, run) = match arguments.command {
        Command::Fanout(run) => (Measure::Delivery, run),
        Command::Send(run) => (Measure::Ack, run),
    };
    let cluster = match &run.state {
        Some(state) => Cluster::attach(state)?,
        None => Cluster::start().await?,
    };
    let report = load::run(&run.load, measure, |name| cluster.operator(name)).await?;
    println!("{report}");
    if let Some(path) = &run.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
