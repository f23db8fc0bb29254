//! `swarm command`: one command to many robots, what becomes of it, and its end.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use client_sdk::protocol::command::{self, STATES};
use client_sdk::{
    AccountId, Client, CommandKey, CommandWatch, ConversationId, NewCommand, Outcome,
    OutcomeCounts, OutcomeState, Targets,
};
use serde_json::{Value, json};

use crate::access::{self, Access};
use crate::screen;
use crate::state::State;

/// Robots that are named on the command line.
const NAMED_MAX: usize = 256;

/// What to do with commands.
#[derive(Debug, Subcommand)]
pub enum CommandCommand {
    /// Sends a command, and by default waits until every outcome is known
    Send(SendOptions),
    /// Says what has become of a command at each robot
    Status {
        /// As `send` printed it: PLAN/STEP/ATTEMPT
        key: CommandKey,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Ends a command where it has not begun, and tells the robots that have begun to end
    Cancel {
        /// As `send` printed it: PLAN/STEP/ATTEMPT
        key: CommandKey,
        /// Why, for the robots and for people
        #[arg(long, default_value = "cancelled by an operator")]
        reason: String,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
}

/// What is sent to whom.
#[derive(Debug, Args)]
pub struct SendOptions {
    /// What the robots are to do, for example "sweep"
    action: String,
    /// To the robots of this group, as they are now
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "robots",
        required_unless_present = "robots"
    )]
    group: Option<String>,
    /// To these robots
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    robots: Vec<String>,
    /// How they are to do it, in JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    arguments: String,
    /// Within how many seconds it has to be begun
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=7 * 24 * 3600))]
    within: u64,
    /// A command that was sent before: the same key is the same command, and is not run again
    #[arg(long, value_name = "PLAN/STEP/ATTEMPT")]
    key: Option<CommandKey>,
    /// Returns when it is stored
    #[arg(long)]
    no_wait: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// `swarm command`.
pub async fn run(state: &State, operator: &str, command: CommandCommand) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let done = match command {
        CommandCommand::Send(options) => send(&client, options).await,
        CommandCommand::Status { key, json } => status(&client, &key, json).await,
        CommandCommand::Cancel { key, reason, json } => {
            let counts = client.cancel_command(&key, &reason).await?;
            let answer = json!({ "key": key.to_string(), "counts": counts_json(&counts) });
            tell(json, &answer, || words(&counts));
            Ok(())
        }
    };
    client.close().await;
    done
}

/// Exits with an error when a robot did not finish.
async fn send(client: &Client, options: SendOptions) -> anyhow::Result<()> {
    serde_json::from_str::<Value>(&options.arguments).context("--arguments is not JSON")?;
    let targets = match &options.group {
        Some(name) => Targets::Group(group(client, name).await?),
        None => Targets::Robots(robots(client, &options.robots).await?),
    };
    let within = Duration::from_secs(options.within);
    let mut command = NewCommand::new(targets, &options.action, within);
    command = command.arguments(options.arguments);
    if let Some(key) = options.key {
        command = command.of_plan(key, 0);
    }
    let mut watch = client.send_command(command).await?;
    let robots = command::total(watch.counts());
    if !options.json {
        screen::say(format!("{} to {robots} robots", watch.key()));
    }
    if !options.no_wait {
        follow(&mut watch, options.json).await?;
    }
    let names = names(
        client,
        watch.outcomes().keys().copied(),
        options.group.as_deref(),
    )
    .await?;
    let (key, counts) = (watch.key().clone(), *watch.counts());
    show(options.json, &key, &counts, watch.outcomes(), &names);
    let finished = counts.finished == robots || options.no_wait;
    ensure!(
        finished,
        "{} of {robots} robots did not finish",
        robots - counts.finished
    );
    Ok(())
}

/// Every change of the counts is a line, on a terminal.
async fn follow(watch: &mut CommandWatch, json: bool) -> anyhow::Result<()> {
    let speaks = !json && std::io::stderr().is_terminal();
    let mut said = String::new();
    while !watch.is_over() {
        watch.changed().await?;
        let now = words(watch.counts());
        if speaks && now != said {
            screen::news(&now);
            said = now;
        }
    }
    Ok(())
}

async fn status(client: &Client, key: &CommandKey, json: bool) -> anyhow::Result<()> {
    let mut outcomes = BTreeMap::new();
    let mut after = AccountId(0);
    let counts = loop {
        let page = client.command_status(key, after, 0).await?;
        let more = page.more && !page.outcomes.is_empty();
        for outcome in page.outcomes {
            after = outcome.account;
            outcomes.insert(outcome.account, outcome);
        }
        if !more {
            break page.counts;
        }
    };
    let names = names(client, outcomes.keys().copied(), None).await?;
    show(json, key, &counts, &outcomes, &names);
    Ok(())
}

async fn group(client: &Client, name: &str) -> anyhow::Result<ConversationId> {
    match access::group(client, name).await? {
        Some(group) => Ok(group),
        None => Err(access::no_such_group(client, name).await),
    }
}

async fn robots(client: &Client, names: &[String]) -> anyhow::Result<Vec<AccountId>> {
    ensure!(
        names.len() <= NAMED_MAX,
        "at most {NAMED_MAX} robots by name; use --group"
    );
    let asked: Vec<_> = names.iter().map(String::as_str).collect();
    let found = client.find_accounts(&asked).await?;
    for name in names {
        if !found.iter().any(|account| account.name == *name) {
            bail!("there is no robot {name}");
        }
    }
    Ok(found.into_iter().map(|account| account.id).collect())
}

/// The names of accounts, as far as a group of the operator's has them.
async fn names(
    client: &Client,
    wanted: impl Iterator<Item = AccountId>,
    group: Option<&str>,
) -> anyhow::Result<HashMap<AccountId, String>> {
    let mut names = HashMap::new();
    let wanted: Vec<_> = wanted.collect();
    for conversation in client.conversations().await? {
        let is_group = group.is_none_or(|name| conversation.name == name);
        if !is_group || wanted.iter().all(|account| names.contains_key(account)) {
            continue;
        }
        for member in client.members(conversation.id).await? {
            names.insert(member.id, member.name);
        }
    }
    Ok(names)
}

fn show(
    json: bool,
    key: &CommandKey,
    counts: &OutcomeCounts,
    outcomes: &BTreeMap<AccountId, Outcome>,
    names: &HashMap<AccountId, String>,
) {
    let name = |account: &AccountId| {
        let known = names.get(account).cloned();
        known.unwrap_or_else(|| account.to_string())
    };
    let rows = outcomes.values().map(|outcome| {
        json!({
            "robot": name(&outcome.account),
            "account": outcome.account.0.to_string(),
            "state": command::name(outcome.state),
            "progress_percent": outcome.progress_percent,
            "reason": outcome.reason,
            "result": serde_json::from_str::<Value>(&outcome.result_json).unwrap_or_default(),
        })
    });
    let answer = json!({
        "key": key.to_string(),
        "robots": command::total(counts),
        "counts": counts_json(counts),
        "outcomes": rows.collect::<Vec<_>>(),
    });
    tell(json, &answer, || table(counts, outcomes, &name));
}

fn tell(json: bool, answer: &Value, people: impl FnOnce() -> String) {
    if json {
        screen::say(answer.to_string());
    } else {
        screen::say(people());
    }
}

fn table(
    counts: &OutcomeCounts,
    outcomes: &BTreeMap<AccountId, Outcome>,
    name: &impl Fn(&AccountId) -> String,
) -> String {
    let mut lines = vec![format!("{:<24} {:<11} {}", "ROBOT", "STATE", "")];
    for outcome in outcomes.values() {
        let more = if outcome.state == OutcomeState::Running {
            format!("{} %", outcome.progress_percent)
        } else {
            [&outcome.result_json[..], &outcome.reason].concat()
        };
        let state = command::name(outcome.state);
        let line = format!("{:<24} {state:<11} {more}", name(&outcome.account));
        lines.push(line.trim_end().to_owned());
    }
    lines.push(words(counts));
    lines.join("\n")
}

/// The states that there are, with how many robots are in each.
fn words(counts: &OutcomeCounts) -> String {
    let some = STATES.iter().filter_map(|state| {
        let robots = command::count(counts, *state);
        (robots > 0).then(|| format!("{robots} {}", command::name(*state)))
    });
    some.collect::<Vec<_>>().join(", ")
}

fn counts_json(counts: &OutcomeCounts) -> Value {
    let all = STATES.iter().map(|state| {
        let robots = command::count(counts, *state);
        (command::name(*state), Value::from(robots))
    });
    Value::Object(all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_robot_and_the_counts() {
        let outcome = |account, state, reason: &str| {
            let outcome = Outcome {
                account: AccountId(account),
                state,
                progress_percent: 40,
                reason: reason.into(),
                result_json: String::new(),
                changed_at_ms: 0,
            };
            (outcome.account, outcome)
        };
        let outcomes = BTreeMap::from([
            outcome(7, OutcomeState::Running, ""),
            outcome(8, OutcomeState::Failed, "没电了"),
        ]);
        let mut counts = OutcomeCounts::default();
        command::add(&mut counts, OutcomeState::Running, 1);
        command::add(&mut counts, OutcomeState::Failed, 1);
        let name = |account: &AccountId| format!("叉车-{account}");
        let table = table(&counts, &outcomes, &name);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].starts_with("叉车-7") && lines[1].ends_with("running     40 %"));
        assert!(lines[2].ends_with("failed      没电了"), "{table}");
        assert_eq!(lines[3], "1 running, 1 failed");
        assert_eq!(counts_json(&counts)["failed"], 1);
    }
}
