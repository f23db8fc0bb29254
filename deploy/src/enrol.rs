//! `swarm enrol` and `swarm robot`: an operator makes a one-time token, a robot enrols with it, an
//! operator takes its certificates away.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use client_sdk::{AccountKind, CapabilityCard, Client, Enrolment, ErrorCode, NewEnrolment, Role};
use serde_json::json;

use crate::access::{self, Access};
use crate::screen;
use crate::search::duration_ms;
use crate::state::State;

/// What is to be done about enrolment.
#[derive(Debug, Subcommand)]
pub enum EnrolCommand {
    /// Makes a token with which one robot enrols, once, and prints it
    Token {
        /// Which names: `lift-*`
        #[arg(default_value = "*")]
        names: String,
        /// A group that the robot joins: its name, or its id
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// It joins as an observer
        #[arg(long)]
        observer: bool,
        /// For a planner in the place of a robot
        #[arg(long)]
        planner: bool,
        /// How long the token is good: 90s, 15m, 1h, 7d
        #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration_ms)]
        lifetime_ms: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Enrols as a robot: makes its key, has its certificate signed, and keeps both in a folder
    Robot {
        /// The robot's name
        name: String,
        /// Where its key and its certificate are kept
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The one-time token
        #[arg(long, env = "SWARM_ENROLMENT_TOKEN", hide_env_values = true)]
        token: String,
        /// Its model, for example "forklift-2t"
        #[arg(long)]
        model: Option<String>,
        /// A gateway of another machine, HOST:PORT [those of the running cluster]
        #[arg(long, value_name = "ADDRESS", requires = "ca")]
        server: Vec<String>,
        /// The authority of its certificate, a PEM file [that of the running cluster]
        #[arg(long, value_name = "FILE", requires = "server")]
        ca: Option<PathBuf>,
    },
}

/// `swarm enrol`.
pub async fn run(state: &State, operator: &str, command: EnrolCommand) -> anyhow::Result<()> {
    match command {
        EnrolCommand::Token {
            names,
            groups,
            observer,
            planner,
            lifetime_ms,
            json,
        } => {
            let (client, _events) = Access::open(state)?.operator(operator).await?;
            let mut new = NewEnrolment::of(names);
            new.lifetime = Some(Duration::from_millis(lifetime_ms));
            if observer {
                new.role = Role::Observer;
            }
            if planner {
                new.kind = AccountKind::Planner;
            }
            let made = make(&client, new, &groups).await;
            client.close().await;
            let (token, expires_at_ms) = made?;
            if json {
                let made = json!({ "token": token, "expires_at_ms": expires_at_ms });
                screen::say(made.to_string());
            } else {
                screen::say(token);
            }
            Ok(())
        }
        EnrolCommand::Robot {
            name,
            dir,
            token,
            model,
            server,
            ca,
        } => {
            let mut enrolment = match ca {
                Some(ca) => Enrolment::new(server, ca, token, name),
                None => Access::open(state)?.enrolment(token, name),
            };
            enrolment.capabilities = model.map(|model| CapabilityCard {
                model,
                ..CapabilityCard::default()
            });
            let identity = enrolment.run(&dir).await.context("not enrolled")?;
            let until = identity.expires_at_ms();
            let dir = identity.folder().display();
            screen::say(format!(
                "enrolled; the identity in {dir} is good until {until} ms"
            ));
            Ok(())
        }
    }
}

async fn make(
    client: &Client,
    mut new: NewEnrolment,
    groups: &[String],
) -> anyhow::Result<(String, u64)> {
    for name in groups {
        let Some(group) = access::group(client, name).await? else {
            return Err(access::no_such_group(client, name).await);
        };
        new.groups.push(group);
    }
    let made = client.make_enrolment_token(new).await?;
    Ok((made.token, made.expires_at_ms))
}

/// `swarm robot revoke`.
pub(crate) async fn revoke(client: &Client, name: &str, reason: &str) -> anyhow::Result<()> {
    let revoked = client.revoke_robot(name, reason).await;
    let certificates = revoked.with_context(|| format!("{name} is not revoked"))?;
    screen::say(format!(
        "{name} is revoked ({certificates} certificates); it comes back by enrolling again"
    ));
    Ok(())
}

/// Whether the server wants a new password with this one.
pub(crate) fn wants_new_password(error: &client_sdk::Error) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|refusal| refusal.code == ErrorCode::NewPasswordNeeded)
}
