//! `provider-check NAME`, which `swarm provider check NAME` runs: names its largest cost, asks,
//! checks the provider that the configuration of llm-bridge names so, and writes a dated report.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use llm_bridge::checkup::report::{self, Subject};
use llm_bridge::checkup::{self, LargestCost};
use llm_bridge::config::{Config, DEFAULTS, ENV_PREFIX};
use llm_bridge::routing::routes::{self, Route};
use service_kit::clock;
use service_kit::config::{self, ConfigError};
use service_kit::exit;

const USAGE: &str = "Usage: provider-check [--yes] [--price PROMPT/ANSWER] [--report FILE] \
    [--config FILE] NAME\n       provider-check --list [--config FILE]\n\n\
    Checks the provider NAME of llm-bridge's configuration (model, qwen, ernie, doubao, coze, \
    openai)\nagainst the live service, after naming the largest cost and asking.\n\n\
    --yes            do not ask\n\
    --price P/A      prices of a million tokens, of prompts and answers, to name the cost in money\n\
    --report FILE    where the report goes [provider-check-NAME-DATE.md]\n\
    --list           says which providers are on, the first to be asked first, and checks none";

#[derive(Default)]
struct Options {
    name: Option<String>,
    yes: bool,
    list: bool,
    price: Option<(f64, f64)>,
    report: Option<PathBuf>,
    config: Vec<String>,
}

fn main() -> ExitCode {
    exit::run("provider-check", || {
        let options = options(std::env::args().skip(1))?;
        let arguments = options.config.clone().into_iter();
        let config: Config = config::from_arguments(arguments, ENV_PREFIX, DEFAULTS)?;
        if options.list {
            return say(&routes::providers(&config)?.describe());
        }
        tokio::runtime::Runtime::new()?.block_on(run(&config, &options))
    })
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, ConfigError> {
    let mut options = Options::default();
    let usage = |what: &str| ConfigError::Usage(what.into());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" => return Err(ConfigError::Shown(USAGE.into())),
            "--yes" => options.yes = true,
            "--list" => options.list = true,
            "--price" => {
                let price = arguments.next().and_then(|text| {
                    let (prompt, answer) = text.split_once('/')?;
                    Some((prompt.parse().ok()?, answer.parse().ok()?))
                });
                options.price = Some(price.ok_or_else(|| usage("--price PROMPT/ANSWER"))?);
            }
            "--report" => {
                let file = arguments.next().ok_or_else(|| usage("--report FILE"))?;
                options.report = Some(file.into());
            }
            "--config" => {
                let file = arguments.next().ok_or_else(|| usage("--config FILE"))?;
                options.config = vec!["--config".into(), file];
            }
            name if !name.starts_with('-') && options.name.is_none() => {
                options.name = Some(name.into());
            }
            other => return Err(usage(&format!("unknown argument `{other}`"))),
        }
    }
    Ok(options)
}

async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    let name = options
        .name
        .as_deref()
        .ok_or_else(|| ConfigError::Usage("no provider is named".into()))?;
    let (section, model) = routes::section(config, name)?;
    if model.base_url.is_empty() {
        return Err(ConfigError::Value(format!("{section}.base_url: it is not set")).into());
    }
    let subject = Subject {
        name: name.into(),
        base_url: model.base_url.clone(),
        model: model.name.clone(),
    };
    let service = routes::service(&Route {
        name: name.into(),
        config: model,
        section,
    })?;
    say(&format!(
        "{name}: model {} at {}",
        subject.model, subject.base_url
    ))?;
    say(&cost(&LargestCost::of(&service), options.price))?;
    if !options.yes && !agreed()? {
        bail!("nothing was asked of the provider");
    }
    let parts = checkup::check(&service).await;
    for part in &parts {
        say(&report::line(part))?;
    }
    let now_ms = clock::unix_ms();
    let file = options
        .report
        .clone()
        .unwrap_or_else(|| report::file_name(&subject, now_ms).into());
    std::fs::write(&file, report::markdown(&subject, &parts, now_ms))
        .with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("report   {}", file.display()))?;
    if parts.iter().any(checkup::Part::has_failed) {
        bail!("{name} is not as it should be: see above");
    }
    Ok(())
}

fn cost(cost: &LargestCost, price: Option<(f64, f64)>) -> String {
    let bound = if cost.is_bounded {
        "at most"
    } else {
        "about, the bot having no bound,"
    };
    let tokens = format!(
        "this costs {bound} {} tokens of prompts and {} of answers",
        cost.prompt_tokens, cost.answer_tokens
    );
    match price {
        Some((prompt, answer)) => format!("{tokens}: {:.4}", cost.at(prompt, answer)),
        None => format!("{tokens}, at your provider's price (--price names it in money)"),
    }
}

fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(ConfigError::Usage("nobody to ask: --yes agrees to the cost".into()).into());
    }
    write!(std::io::stdout(), "go on? [y/N] ")?;
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
