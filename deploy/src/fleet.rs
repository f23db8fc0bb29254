//! Simulated robots: each links the SDK as any robot does, with a body on the floor of
//! [`crate::world`] instead of a machine.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::Args;
use client_sdk::content::Content;
use client_sdk::protocol::identity::{self, CommandIdentity};
use client_sdk::protocol::wire;
use client_sdk::robot::Stop;
use client_sdk::{
    AccountId, ActionContext, ActionError, Client, ClientConfig, ClientMessageId, ConversationId,
    Event, Robot, StepState,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service_kit::drain;
use tokio::task::{JoinHandle, JoinSet};

use crate::access::{self, Access};
use crate::floor::Floor;
use crate::recorder::Recorder;
use crate::screen::news;
use crate::state::State;
use crate::world::{Ability, Model, Order};

/// Robots of one simulation: each has a connection of its own.
const ROBOTS_MAX: i64 = 256;

/// How many robots, and how lucky.
#[derive(Debug, Clone, Copy, Args)]
pub struct FleetOptions {
    /// How many robots
    #[arg(long, default_value_t = 12, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=ROBOTS_MAX))]
    pub robots: u16,
    /// Chooses where robots start, what is blocked and what fails; with 0 nothing fails
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

impl FleetOptions {
    /// The robots' names, ending in the tag, and models.
    #[must_use]
    pub fn crew(&self, tag: &str) -> Vec<(String, Model)> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        Model::fleet(self.robots.into())
            .map(|model| {
                let count = counts.entry(model.word()).or_default();
                *count += 1;
                (format!("{}-{count}{tag}", model.word()), model)
            })
            .collect()
    }
}

/// Raises a heavy thing from the floor, so that a carrier can carry it.
#[derive(Debug, Deserialize, JsonSchema)]
struct Lift {
    /// The id of the thing.
    object: String,
}

/// Carries a thing to a place. A heavy thing must have been lifted before.
#[derive(Debug, Deserialize, JsonSchema)]
struct Carry {
    /// The id of the thing.
    object: String,
    /// The id of the place.
    to: String,
}

/// Looks at every cell of a place; returns the blocked ones.
#[derive(Debug, Deserialize, JsonSchema)]
struct Inspect {
    /// The id of the place.
    area: String,
}

/// Goes to the charging station and fills the battery.
#[derive(Debug, Deserialize, JsonSchema)]
struct Charge {}

impl From<Lift> for Order {
    fn from(Lift { object }: Lift) -> Self {
        Self::Lift { object }
    }
}

impl From<Carry> for Order {
    fn from(Carry { object, to }: Carry) -> Self {
        Self::Carry { object, to }
    }
}

impl From<Inspect> for Order {
    fn from(Inspect { area }: Inspect) -> Self {
        Self::Inspect { area }
    }
}

impl From<Charge> for Order {
    fn from(Charge {}: Charge) -> Self {
        Self::Charge
    }
}

/// What the action of a robot needs.
#[derive(Clone)]
struct Body {
    floor: Floor,
    robot: usize,
    recorder: Option<Recorder>,
}

impl Body {
    fn declare<T>(&self, robot: &mut Robot, name: &str)
    where
        T: DeserializeOwned + JsonSchema + Into<Order> + Send + 'static,
    {
        let body = self.clone();
        robot.on_action(name, move |arguments: T, context: ActionContext| {
            let (body, order) = (body.clone(), arguments.into());
            async move {
                let ended = body.floor.carry_out(body.robot, order, &context).await;
                if let Some(recorder) = &body.recorder
                    && let Some(id) = last_word(context.command(), &ended)
                {
                    recorder.said(id);
                }
                ended
            }
        });
    }
}

/// The id of what the robot is about to say of the command.
fn last_word(
    command: &wire::Command,
    ended: &Result<Value, ActionError>,
) -> Option<ClientMessageId> {
    let state = match ended {
        Ok(_) => StepState::Finished,
        Err(ActionError::Failed(_)) => StepState::Failed,
        Err(ActionError::Rejected(_)) => StepState::Rejected,
        Err(ActionError::Cancelled(_)) => StepState::Cancelled,
    };
    let command = CommandIdentity {
        instruction: ClientMessageId::from_slice(&command.instruction_id).ok()?,
        plan_version: command.plan_version,
        step_id: command.step_id.clone(),
        attempt: command.attempt,
    };
    Some(identity::step_update(command.message_id(), state))
}

/// One robot that is connected.
#[derive(Debug)]
pub struct Member {
    /// Its client.
    pub client: Client,
    stop: Stop,
    running: JoinHandle<()>,
}

/// Connected robots on a floor.
#[derive(Debug)]
pub struct Fleet {
    /// Where they are.
    pub floor: Floor,
    /// In the order of their names.
    pub members: Vec<Member>,
    time: JoinHandle<()>,
}

impl Fleet {
    /// Connects robots of these names and models, who have then said what they can do.
    pub async fn start(
        access: &Access,
        crew: &[(String, Model)],
        seed: u64,
        recorder: Option<&Recorder>,
    ) -> anyhow::Result<Self> {
        let floor = Floor::new(seed, crew);
        let names: Vec<String> = crew.iter().map(|(name, _)| name.clone()).collect();
        let configs = access.passing_robots(&names)?;
        let mut connecting = JoinSet::new();
        for (robot, (config, (name, model))) in configs.into_iter().zip(crew).enumerate() {
            let body = Body {
                floor: floor.clone(),
                robot,
                recorder: recorder.cloned(),
            };
            let (name, model) = (name.clone(), *model);
            connecting.spawn(async move {
                let member = connect(config, model, body).await;
                let member = member.with_context(|| format!("robot {name} cannot take part"))?;
                anyhow::Ok((robot, member))
            });
        }
        let mut members = BTreeMap::new();
        while let Some(connected) = connecting.join_next().await {
            let (robot, member) = connected??;
            members.insert(robot, member);
        }
        Ok(Self {
            time: tokio::spawn(floor.clone().live()),
            floor,
            members: members.into_values().collect(),
        })
    }

    /// Their accounts.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountId> {
        let members = self.members.iter();
        members.map(|member| member.client.account().id).collect()
    }

    /// Lets every robot end what it does and leave.
    pub async fn stop(self) {
        for member in &self.members {
            member.stop.stop();
        }
        for member in self.members {
            if let Err(error) = member.running.await {
                news(format!("a simulated robot failed: {error}"));
            }
        }
        self.time.abort();
    }
}

async fn connect(config: ClientConfig, model: Model, body: Body) -> anyhow::Result<Member> {
    let mut robot = Robot::connect(config, model.word()).await?;
    let client = robot.client();
    for ability in model.abilities() {
        match ability {
            Ability::Lift => body.declare::<Lift>(&mut robot, "lift"),
            Ability::Carry => body.declare::<Carry>(&mut robot, "carry"),
            Ability::Inspect => body.declare::<Inspect>(&mut robot, "inspect"),
            Ability::Charge => body.declare::<Charge>(&mut robot, "charge"),
        }
    }
    if let Some(recorder) = body.recorder.clone() {
        let listener = client.account().id;
        robot.on_event(move |event| recorder.heard(listener, event));
    }
    // The robot says it too when it runs, but an instruction may come before that.
    client.announce(robot.capabilities()).await?;
    let stop = robot.stopper();
    let name = client.account().name.clone();
    let running = tokio::spawn(async move {
        if let Err(error) = robot.run().await {
            news(format!("robot {name} ended: {error}"));
        }
    });
    Ok(Member {
        client,
        stop,
        running,
    })
}

/// `swarm robots`: robots that wait for work in a group until Ctrl-C. The group is told of the
/// world when they come, and again after each piece of work.
pub async fn wait_for_work(
    state: &State,
    operator: &str,
    group: &str,
    options: &FleetOptions,
) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, mut events) = access.operator(operator).await?;
    let fleet = Fleet::start(&access, &options.crew(""), options.seed, None).await?;
    let conversation = access::group_or_new(&client, group).await?;
    client
        .change_members(conversation, &fleet.accounts(), &[])
        .await
        .with_context(|| format!("cannot add the robots to {group}"))?;
    client.send(conversation, fleet.floor.data()).await?;
    let count = fleet.members.len();
    // Whoever reads the line may press the keys at once.
    let stopped = drain::signal();
    news(format!(
        "{count} robots wait in the group {group}; Ctrl-C ends them"
    ));
    let worked = async {
        while let Some(event) = events.next().await {
            if is_summary(&event, conversation) {
                client.send(conversation, fleet.floor.data()).await?;
            }
        }
        anyhow::bail!("the connection was ended by the server")
    };
    let ended = tokio::select! {
        ended = worked => ended,
        () = stopped => Ok(()),
    };
    fleet.stop().await;
    client.close().await;
    ended
}

fn is_summary(event: &Event, conversation: ConversationId) -> bool {
    matches!(event, Event::Message(message)
        if message.conversation == conversation
            && matches!(message.content, Content::Summary(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crew_has_every_model_from_three_on_and_no_name_twice() {
        let crew = |robots| FleetOptions { robots, seed: 0 }.crew("-x");
        let names: Vec<String> = crew(4).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["carrier-1-x", "lifter-1-x", "inspector-1-x", "carrier-2-x"]
        );
        let mut names: Vec<String> = crew(256).into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 256);
    }

    #[test]
    fn the_last_word_has_the_id_that_the_sdk_derives() {
        let instruction = ClientMessageId::new(1, [1; 10]);
        let command = wire::Command {
            instruction_id: instruction.to_bytes(),
            plan_version: 2,
            step_id: "s1".into(),
            attempt: 1,
            ..wire::Command::default()
        };
        let identity = CommandIdentity {
            instruction,
            plan_version: 2,
            step_id: "s1".into(),
            attempt: 1,
        };
        let said = last_word(&command, &Err(ActionError::Failed("slipped".into())));
        let expected = identity::step_update(identity.message_id(), StepState::Failed);
        assert_eq!(said, Some(expected));
        assert_eq!(last_word(&wire::Command::default(), &Ok(Value::Null)), None);
    }
}
