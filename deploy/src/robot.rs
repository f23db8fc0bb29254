//! `swarm robot`: which robots can do what, and what one of them says of itself.

mod words;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use client_sdk::{AccountId, Client, ConversationId, Error, FoundRobot, QueryFault};
use serde_json::{Value, json};

use self::words::{as_json, attribute, card, joined};
use crate::access::{self, Access};
use crate::admin::{self, Page, Shown};
use crate::enrol;
use crate::render::on_one_screen;
use crate::screen;
use crate::state::State;
use crate::table::table;

/// What to ask of robots.
#[derive(Debug, Subcommand)]
pub enum RobotCommand {
    /// Lists all robots and whether they are online, or those that meet a condition, with what they
    /// can do
    List {
        /// For example '"lift" in capabilities && lift.payload_kg >= 5 && battery > 20'
        #[arg(long = "where", value_name = "EXPR")]
        condition: Option<String>,
        /// Only members of this group
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
        /// Which of them; after an account with a condition or a group.
        #[command(flatten)]
        page: Page,
    },
    /// Shows the card of a robot: capabilities, attributes, what is live, and its actions
    Show {
        /// Its name
        name: String,
    },
    /// Takes every certificate of a robot away: it is cut off at once, and has to enrol again
    Revoke {
        /// Its name
        name: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Prints who begins and ceases to meet a condition, until Ctrl-C
    Watch {
        /// The condition
        #[arg(long = "where", value_name = "EXPR")]
        condition: String,
        /// Only members of this group
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
    },
}

/// `swarm robot`.
pub async fn run(
    state: &State,
    operator: &str,
    command: RobotCommand,
    json: bool,
) -> anyhow::Result<()> {
    if let RobotCommand::List {
        condition: None,
        group: None,
        page,
    } = command
    {
        return admin::run(state, operator, Shown::Robots(page), json).await;
    }
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let done = match command {
        RobotCommand::List {
            condition,
            group,
            page,
        } => {
            let condition = condition.unwrap_or_default();
            list(&client, (&condition, group), &page, json).await
        }
        RobotCommand::Show { name } => match show(&client, &name, json).await {
            // It has said nothing of itself: what is known of its account.
            Ok(false) => admin::run(state, operator, Shown::Robot(name), json).await,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        },
        RobotCommand::Revoke { name, reason } => enrol::revoke(&client, &name, &reason).await,
        RobotCommand::Watch { condition, group } => watch(&client, &condition, group, json).await,
    };
    client.close().await;
    done
}

async fn list(
    client: &Client,
    (condition, group): (&str, Option<String>),
    page: &Page,
    json: bool,
) -> anyhow::Result<()> {
    let group = in_group(client, group).await?;
    let limit = page.limit;
    let after = match &page.after[..] {
        "" => 0,
        account => account.parse().context("--after is not an account")?,
    };
    let (mut robots, mut last): (Vec<FoundRobot>, _) = (Vec::new(), AccountId(after));
    let (matched, asked, more) = loop {
        let left = match limit {
            0 => 0,
            limit => limit - u32::try_from(robots.len()).unwrap_or(limit),
        };
        let page = client.query_robots_page(condition, group, last, left).await;
        let page = page.map_err(|error| shown(error, condition))?;
        let more = page.more && !page.robots.is_empty();
        robots.extend(page.robots);
        last = robots.last().map_or(last, |robot| robot.account.id);
        if !more || (limit > 0 && robots.len() >= limit as usize) {
            break (page.matched, page.asked, more);
        }
    };
    if json {
        screen::say(
            json!({
                "matched": matched,
                "asked": asked,
                "more": more,
                "robots": Value::from_iter(robots.iter().map(as_json)),
            })
            .to_string(),
        );
        return Ok(());
    }
    let rows = robots.iter().map(|robot| {
        let card = robot.account.capabilities.clone().unwrap_or_default();
        let capabilities = card.capabilities.iter().map(|one| {
            let attributes = one.attributes.iter().map(attribute);
            let attributes: Vec<_> = attributes.collect();
            let all = format!("{} {}", one.name, attributes.join(" "));
            all.trim().to_owned()
        });
        let actions = card.actions.iter().map(|action| action.name.clone());
        [
            robot.account.id.to_string(),
            robot.account.name.clone(),
            card.model.clone(),
            joined(card.attributes.iter().map(attribute)),
            joined(robot.live.iter().map(|live| attribute(&live.attribute))),
            joined(capabilities.chain(actions)),
        ]
        .map(|cell| on_one_screen(&cell))
    });
    let names = ["account", "name", "model", "attributes", "live", "can"];
    let mut told = table(names, rows);
    told += &format!("{matched} of {asked} robots\n");
    if more {
        told += &format!("more: --after {last}\n");
    }
    screen::say(told.trim_end());
    Ok(())
}

/// False: it has no card.
async fn show(client: &Client, name: &str, json: bool) -> anyhow::Result<bool> {
    let condition = format!("name == {}", Value::from(name));
    let found = client.query_robots(&condition, None).await?;
    let Some(robot) = found.first() else {
        return Ok(false);
    };
    if json {
        screen::say(as_json(robot).to_string());
    } else {
        screen::say(card(robot).trim_end());
    }
    Ok(true)
}

async fn watch(
    client: &Client,
    condition: &str,
    group: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let group = in_group(client, group).await?;
    let watch = client.watch_robots(condition, group).await;
    let mut watch = watch.map_err(|error| shown(error, condition))?;
    let say = |what: &str, robots: Vec<AccountId>| {
        for robot in robots {
            screen::say(if json {
                json!({ "account": robot.0.to_string(), "what": what }).to_string()
            } else {
                format!("{what:<8} {robot}")
            });
        }
    };
    say("entered", watch.robots().iter().copied().collect());
    loop {
        tokio::select! {
            changed = watch.changed() => {
                let changed = changed?;
                say("left", changed.left);
                say("entered", changed.entered);
            }
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        }
    }
}

async fn in_group(client: &Client, name: Option<String>) -> anyhow::Result<Option<ConversationId>> {
    let Some(name) = name else {
        return Ok(None);
    };
    match access::group(client, &name).await? {
        Some(group) => Ok(Some(group)),
        None => Err(access::no_such_group(client, &name).await),
    }
}

/// The refusal of a condition, with a mark under the place of its fault.
pub fn shown(error: Error, condition: &str) -> anyhow::Error {
    let Error::Refused(refusal) = &error else {
        return error.into();
    };
    match refusal
        .query_fault
        .as_deref()
        .filter(|fault| fault.wanted == 0)
    {
        Some(fault) => {
            let message = refusal.message.clone();
            anyhow!("{message}\n  {condition}\n  {}", mark(condition, *fault))
        }
        None => error.into(),
    }
}

/// Chinese takes two places a character, as the table has it.
fn mark(condition: &str, fault: QueryFault) -> String {
    let places = |from: usize, chars: usize| -> usize {
        let chars = condition.chars().skip(from).take(chars);
        chars.map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
    };
    let offset = usize::try_from(fault.offset).unwrap_or(0);
    let length = usize::try_from(fault.length).unwrap_or(1);
    let under = places(offset, length).max(1);
    format!("{}{}", " ".repeat(places(0, offset)), "^".repeat(under))
}

#[cfg(test)]
mod tests {
    use client_sdk::Fact;

    use super::words::fact_words;
    use super::*;
    use client_sdk::registry;

    #[test]
    fn a_mark_stands_under_the_fault_in_chinese_too() {
        let fault = QueryFault {
            offset: 5,
            length: 2,
            ..QueryFault::default()
        };
        assert_eq!(mark("电量 > 飞(1)", fault), "       ^^^");
        assert_eq!(mark("abcdefgh", fault), "     ^^");
        assert_eq!(mark("abcde", fault), "     ^", "at its end");
    }

    #[test]
    fn attributes_are_told_with_their_units() {
        assert_eq!(
            attribute(&registry::number("载重", 5.5, "kg")),
            "载重=5.5kg"
        );
        assert_eq!(attribute(&registry::texts("maps", &["a", "b"])), "maps=a|b");
        let fact = Fact {
            predicate: "at".into(),
            arguments: vec!["?self".into(), "?to".into()],
            negated: true,
        };
        assert_eq!(fact_words(&fact), "not at(?self, ?to)");
    }
}
