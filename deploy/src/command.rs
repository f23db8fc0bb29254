//! `swarm command`: one command to many robots, what becomes of it, and its end, by the administration
//! API. What is pushed as it happens is the SDK's ([`client_sdk::CommandWatch`]).

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use client_sdk::protocol::command::{self, STATES};
use client_sdk::protocol::limits::COMMAND_TARGETS_MAX;
use client_sdk::{CommandKey, new_message_id};
use serde_json::{Value, json};

use crate::access::Access;
use crate::admin::time;
use crate::api::{self, Api};
use crate::state::State;
use crate::{group, screen, table};

/// How soon is asked again what has become of a command; twice as long each time that nothing has.
const POLL_MIN: Duration = Duration::from_millis(100);

/// The longest wait.
const POLL_MAX: Duration = Duration::from_secs(1);

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
    /// Lists commands, those of the newest plans first
    List {
        /// How many are listed; 0: all
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// From the next page on, as the last one said
        #[arg(long, value_name = "CURSOR", default_value = "")]
        after: String,
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
        required_unless_present_any = ["robots", "condition"]
    )]
    group: Option<String>,
    /// To these robots
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    robots: Vec<String>,
    /// To robots that meet a condition, of the group if one is given: "battery > 20"
    #[arg(long = "where", value_name = "EXPR", conflicts_with = "robots")]
    condition: Option<String>,
    /// To any so many of them; 0: all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "condition")]
    count: u32,
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
    let mut api = Access::open(state)?.api(operator)?;
    match command {
        CommandCommand::Send(options) => send(&mut api, options).await,
        CommandCommand::Status { key, json } => {
            let status = status(&mut api, &key.to_string()).await?;
            tell(json, &status, || table(&status));
            Ok(())
        }
        CommandCommand::Cancel { key, reason, json } => {
            let cancel = json!({ "key": key.to_string(), "reason": reason });
            let answer = api.post("command/cancel", &cancel).await?;
            tell(json, &answer, || words(&answer));
            Ok(())
        }
        CommandCommand::List { limit, after, json } => {
            let page = api.list("commands", "commands", (&after, limit)).await?;
            tell(json, &page, || listed(&page));
            Ok(())
        }
    }
}

/// Exits with an error when a robot did not finish.
async fn send(api: &mut Api, options: SendOptions) -> anyhow::Result<()> {
    let arguments: Value =
        serde_json::from_str(&options.arguments).context("--arguments is not JSON")?;
    let key = options
        .key
        .unwrap_or_else(|| CommandKey::new(new_message_id(), "1"))
        .to_string();
    let mut command = json!({
        "key": key,
        "action": options.action,
        "arguments": arguments,
        "within_ms": options.within * 1000,
    });
    if let Some(group) = &options.group {
        command["group"] = group::find(api, group).await?.into();
    }
    if let Some(condition) = options.condition {
        command["where"] = condition.into();
        command["count"] = options.count.into();
    }
    if !options.robots.is_empty() {
        let names = options.robots.len();
        ensure!(
            names <= COMMAND_TARGETS_MAX,
            "at most {COMMAND_TARGETS_MAX} robots by name; use --group"
        );
        command["robots"] = options.robots.into();
    }
    let sent = api.post("commands", &command).await?;
    let robots = number(&sent, "robots");
    if !options.json {
        screen::say(format!("{key} to {robots} robots"));
    }
    if !options.no_wait {
        follow(api, &key, options.json).await?;
    }
    let status = status(api, &key).await?;
    tell(options.json, &status, || table(&status));
    let finished = number(&status["counts"], "finished");
    ensure!(
        finished == robots || options.no_wait,
        "{} of {robots} robots did not finish",
        robots.saturating_sub(finished)
    );
    Ok(())
}

/// Every change of the counts is a line, on a terminal.
async fn follow(api: &mut Api, key: &str, json: bool) -> anyhow::Result<()> {
    let speaks = !json && std::io::stderr().is_terminal();
    let path = format!("command?counts_only=true&key={}", api::encoded(key));
    let mut said = String::new();
    let mut pause = POLL_MIN;
    loop {
        let now = api.get(&path).await?;
        let told = words(&now);
        if told != said {
            if speaks {
                screen::news(&told);
            }
            said = told;
            pause = POLL_MIN;
        }
        if number(&now, "open") == 0 {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// All of it.
async fn status(api: &mut Api, key: &str) -> anyhow::Result<Value> {
    let path = format!("command?key={}", api::encoded(key));
    api.list(&path, "outcomes", ("", 0)).await
}

fn tell(json: bool, answer: &Value, people: impl FnOnce() -> String) {
    if json {
        screen::say(answer.to_string());
    } else {
        screen::say(people().trim_end());
    }
}

fn table(status: &Value) -> String {
    let rows = api::rows(status, "outcomes").map(|outcome| {
        let state = api::text(outcome, "state");
        let more = match (state, &outcome["result"]) {
            ("running", _) => format!("{} %", number(outcome, "progress_percent")),
            (_, Value::Null) => api::cell(outcome, "reason"),
            (_, result) => result.to_string(),
        };
        [api::cell(outcome, "robot"), state.to_owned(), more]
    });
    table::table(["robot", "state", ""], rows) + &words(status)
}

fn listed(page: &Value) -> String {
    let rows = api::rows(page, "commands").map(|command| {
        let at_s = command["created_at_ms"].as_u64().unwrap_or(0) / 1000;
        let ended = command["cancelled"].as_bool().unwrap_or(false);
        [
            api::cell(command, "key"),
            api::cell(command, "action"),
            api::cell(command, "issuer"),
            time(at_s),
            if ended {
                "cancelled".into()
            } else {
                String::new()
            },
            words(command),
        ]
    });
    let names = ["key", "action", "issuer", "sent (UTC)", "", "robots"];
    table::table(names, rows) + &api::more(page)
}

/// The states that there are, with how many robots are in each.
fn words(status: &Value) -> String {
    let some = STATES.iter().filter_map(|state| {
        let name = command::name(*state);
        let robots = number(&status["counts"], &name);
        (robots > 0).then(|| format!("{robots} {name}"))
    });
    some.collect::<Vec<_>>().join(", ")
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_robot_and_the_counts() {
        let status = json!({
            "outcomes": [
                {"robot": "叉车-7", "state": "running", "progress_percent": 40, "result": null},
                {"robot": "叉车-8", "state": "failed", "reason": "没电了", "result": null},
                {"robot": "叉车-9", "state": "finished", "reason": "", "result": {"箱": 3}},
            ],
            "counts": {"running": 1, "failed": 1, "finished": 1, "stored": 0},
        });
        let table = table(&status);
        let lines: Vec<_> = table.lines().collect();
        assert!(
            lines[1].starts_with("叉车-7") && lines[1].ends_with("running   40 %"),
            "{table}"
        );
        assert!(lines[2].ends_with("failed    没电了"), "{table}");
        assert!(lines[3].ends_with("{\"箱\":3}"), "{table}");
        assert_eq!(lines[4], "1 running, 1 finished, 1 failed");
    }
}
