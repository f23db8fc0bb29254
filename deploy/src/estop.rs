//! `swarm estop`: stops robots, says who has not confirmed, releases.
//!
//! Over the protocol and not by the administration API: a gateway lets a stop out with the logic and
//! the store away, and an API of the logic could not.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use client_sdk::estop::{Scope, Status, Stop, Unconfirmed};
use client_sdk::{Client, ClientMessageId};
use tokio::time::Instant;

use crate::access::{self, Access};
use crate::screen;
use crate::state::State;

/// What everybody has to know who stops something with this.
pub const NOT_SAFETY_RATED: &str = concat!(
    "This is a software stop, not a safety-rated one: it needs the network and every robot's ",
    "own program. It takes the place of no stop button.",
);

/// How often is asked who has confirmed.
const POLL: Duration = Duration::from_millis(200);

/// What may be done about an emergency.
#[derive(Debug, Subcommand)]
pub enum EstopCommand {
    /// Lists the stops in force and the robots that have not confirmed them
    Status,
    /// Releases stops: robots may go on
    Release {
        /// Their ids, as `status` shows them
        #[arg(required = true, value_parser = parse_id)]
        ids: Vec<ClientMessageId>,
        /// For the log
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Whom to stop, and why.
#[derive(Debug, Args)]
pub struct StopOptions {
    /// The name of the group whose robots stop
    #[arg(long, value_name = "NAME", conflicts_with = "fleet")]
    group: Option<String>,
    /// Every robot stops
    #[arg(long)]
    fleet: bool,
    /// For the log and the robots
    #[arg(long, default_value = "")]
    reason: String,
    /// How long to wait for every robot that is connected to confirm
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

fn parse_id(text: &str) -> Result<ClientMessageId, String> {
    text.parse().map_err(|_| "not the id of a stop".to_owned())
}

/// Does it.
///
/// # Errors
/// When the cluster is not reached, or refuses.
pub async fn run(
    state: &State,
    operator: &str,
    stop: &StopOptions,
    command: Option<EstopCommand>,
) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let done = match command {
        None => stop_now(&client, stop).await,
        Some(EstopCommand::Status) => status(&client).await,
        Some(EstopCommand::Release { ids, reason }) => release(&client, &ids, &reason).await,
    };
    client.close().await;
    done
}

async fn stop_now(client: &Client, options: &StopOptions) -> anyhow::Result<()> {
    let scope = match (&options.group, options.fleet) {
        (None, true) => Scope::Fleet,
        (Some(group), _) => match access::group(client, group).await? {
            Some(group) => Scope::Group(group),
            None => return Err(access::no_such_group(client, group).await),
        },
        (None, false) => bail!("say whom to stop: --group NAME, or --fleet"),
    };
    screen::news(NOT_SAFETY_RATED);
    let mut handle = client.estop(scope, &options.reason);
    let id = handle.id;
    let sent = handle.sent().await?;
    screen::say(format!("{id} sent, not yet stored"));
    screen::news(format!(
        "{} sessions told here, {} routers tell the other gateways; who may stop is known as of \
         {} ms ago",
        sent.sessions, sent.routers, sent.rights_age_ms
    ));
    let until = Instant::now() + Duration::from_secs(options.wait);
    let storing = tokio::spawn(handle.stored());
    let last = confirmed(client, id, until).await;
    // It goes on being stored by the server, whatever becomes of this process.
    match tokio::time::timeout_at(until, storing).await {
        Ok(stored) => {
            stored??;
            screen::say(format!("{id} stored"));
        }
        Err(_) => screen::say(format!("{id} not stored yet; the servers go on trying")),
    }
    show(&last?);
    screen::say(format!("release it with: swarm estop release {id}"));
    Ok(())
}

/// Waits until every robot that was told has confirmed, and somebody was told.
async fn confirmed(
    client: &Client,
    id: ClientMessageId,
    until: Instant,
) -> anyhow::Result<Unconfirmed> {
    loop {
        let known = client.unconfirmed(id).await?;
        let waits = known.robots.iter().any(|robot| robot.reached);
        let is_done = !waits && known.status.reached == known.status.confirmed;
        if (is_done && known.status.reached > 0) || Instant::now() >= until {
            return Ok(known);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn status(client: &Client) -> anyhow::Result<()> {
    let stops = client.estops().await?;
    if stops.is_empty() {
        screen::say("no emergency stop is in force");
    }
    for stop in stops {
        show(&client.unconfirmed(stop.stop.id).await?);
    }
    Ok(())
}

async fn release(client: &Client, ids: &[ClientMessageId], reason: &str) -> anyhow::Result<()> {
    let stops = client.estops().await?;
    let scope_of = |id: &ClientMessageId| {
        let of = stops.iter().find(|stop| stop.stop.id == *id);
        let of = of.with_context(|| format!("{id} is not in force"))?;
        Ok((of.stop.scope(), *id))
    };
    let mut scopes: Vec<_> = ids.iter().map(scope_of).collect::<anyhow::Result<_>>()?;
    scopes.sort_unstable();
    for of in scopes.chunk_by(|a, b| a.0 == b.0) {
        let ids: Vec<_> = of.iter().map(|(_, id)| *id).collect();
        let (scope, _) = of.first().context("a chunk has a first")?;
        client.release(*scope, &ids, reason).await?;
    }
    for id in ids {
        screen::say(format!("{id} released"));
    }
    ensure!(!ids.is_empty(), "nothing was named");
    Ok(())
}

/// One stop: what it is, and who has not confirmed it.
fn show(known: &Unconfirmed) {
    for line in lines(known) {
        screen::say(line);
    }
}

fn lines(known: &Unconfirmed) -> Vec<String> {
    let Status {
        stop,
        reached,
        confirmed,
    } = &known.status;
    let mut lines = vec![format!(
        "{} {} by {}: {} ({confirmed} of {reached} robots told have confirmed)",
        stop.id,
        scope(stop),
        stop.sender,
        if stop.reason.is_empty() {
            "-"
        } else {
            &stop.reason
        },
    )];
    for robot in &known.robots {
        let name = match robot.name.is_empty() {
            true => robot.account.to_string(),
            false => robot.name.clone(),
        };
        let why = match robot.reached {
            true => "told, has not confirmed",
            false => "not connected; it is stopped when it is",
        };
        lines.push(format!("  {name}  {why}"));
    }
    if !known.all_known {
        lines.push("  (robots that are not connected are not known now)".into());
    }
    lines
}

fn scope(stop: &Stop) -> String {
    match stop.scope() {
        Scope::Fleet => "the fleet".into(),
        Scope::Group(group) => group.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use client_sdk::AccountId;
    use client_sdk::estop::Missing;

    use super::*;

    #[test]
    fn people_see_who_has_not_confirmed_and_why() {
        let id: ClientMessageId = "018bcfe5-6800-7101-8101-010101010101".parse().unwrap();
        let own = client_sdk::ConversationId::pair(AccountId(3), AccountId(3));
        let known = Unconfirmed {
            status: Status {
                stop: Stop {
                    id,
                    conversation: own,
                    fleet: true,
                    sender: AccountId(3),
                    reason: "有人".into(),
                    sent_at_ms: 0,
                    stored: true,
                    release: None,
                },
                reached: 2,
                confirmed: 1,
            },
            robots: vec![
                Missing {
                    account: AccountId(5),
                    name: "lift-1".into(),
                    reached: true,
                },
                Missing {
                    account: AccountId(6),
                    name: String::new(),
                    reached: false,
                },
            ],
            all_known: false,
        };
        let lines = lines(&known);
        assert!(lines[0].ends_with("the fleet by 3: 有人 (1 of 2 robots told have confirmed)"));
        assert_eq!(lines[1], "  lift-1  told, has not confirmed");
        assert_eq!(lines[2], "  6  not connected; it is stopped when it is");
        assert_eq!(lines.len(), 4);
        assert!(parse_id("7").is_err());
    }
}
