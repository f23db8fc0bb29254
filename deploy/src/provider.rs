//! `swarm provider`: runs the bridge's own program for it, which has the configuration of providers,
//! with our terminal and environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use tokio::process::Command;

/// What it runs.
const PROGRAM: &str = "provider-check";

/// What to do about a provider.
#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Checks a provider with your key: auth, streaming, form, usage, embeddings. Names the largest
    /// cost and asks first; writes a dated report
    Check {
        /// As llm-bridge's configuration names it: model, qwen, ernie, doubao, coze, openai
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Prices of a million tokens, of prompts and answers, to name the cost in money
        #[arg(long, value_name = "PROMPT/ANSWER")]
        price: Option<String>,
        /// Where the report goes [provider-check-NAME-DATE.md]
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// The configuration file of llm-bridge [its environment alone]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Says which providers are on, the first to be asked first
    List {
        /// The configuration file of llm-bridge [its environment alone]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Does it.
pub async fn run(command: ProviderCommand) -> anyhow::Result<()> {
    let status = program()?
        .args(arguments(command))
        .status()
        .await
        .with_context(|| format!("cannot run {PROGRAM}"))?;
    // It has said why.
    ensure!(status.success(), "the provider was not checked, or failed");
    Ok(())
}

/// The providers that a bridge of this environment asks, as "qwen (qwen-plus), ...".
pub async fn in_use() -> anyhow::Result<String> {
    let output = program()?
        .arg("--list")
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run {PROGRAM}"))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn program() -> anyhow::Result<Command> {
    let binary = std::env::current_exe()?.with_file_name(PROGRAM);
    ensure!(
        binary.is_file(),
        "{} is not built: cargo build --workspace --bins",
        binary.display()
    );
    Ok(Command::new(binary))
}

fn arguments(command: ProviderCommand) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: Option<OsString>| {
        arguments.extend(
            value
                .map(|value| [name.into(), value])
                .into_iter()
                .flatten(),
        );
    };
    match command {
        ProviderCommand::Check {
            name,
            yes,
            price,
            report,
            config,
        } => {
            option("--price", price.map(Into::into));
            option("--report", report.map(Into::into));
            option("--config", config.map(Into::into));
            arguments.extend(yes.then(|| "--yes".into()));
            arguments.push(name.into());
        }
        ProviderCommand::List { config } => {
            option("--config", config.map(Into::into));
            arguments.push("--list".into());
        }
    }
    arguments
}
