//! `swarm demo`: the main job, shown and counted. A group with the planner and simulated robots, one
//! instruction, and what became of it by two witnesses: the floor and the history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use client_sdk::content::{self, Content};
use client_sdk::{
    Client, ClientMessageId, ConversationId, Entry, EntryKind, Event, Events, Outgoing,
    SequenceNumber, new_message_id,
};
use service_kit::clock;
use tokio::sync::watch;

use crate::access::{self, Access, OPERATOR};
use crate::audit::{Acked, Evidence, Sender, Stored};
use crate::fleet::{Fleet, FleetOptions};
use crate::goal::Goal;
use crate::recorder::Recorder;
use crate::render::{self, Names};
use crate::screen::{news, say};
use crate::state::State;
use crate::story::Story;

pub use crate::report::{Outcome, Report};

/// What is asked for when nothing else is.
const INSTRUCTION: &str = "把A区的三个箱子搬到充电站旁边，然后巡检一遍走廊";

/// How long the last acks and messages may take once the planner has summed up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How often is looked whether they came.
const SETTLE_POLL: Duration = Duration::from_millis(20);

/// What is asked of whom.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// What the robots shall do, in English or Chinese; default: an errand with boxes
    #[arg(long, value_name = "WORDS")]
    instruction: Option<String>,
    /// Who.
    #[command(flatten)]
    fleet: FleetOptions,
    /// Where the summary goes as a JSON object too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How long the planner may take until its summary, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 150)]
    within_s: u64,
}

impl DemoOptions {
    /// Whether any is set that has no meaning without a demonstration.
    #[must_use]
    pub const fn are_set(&self) -> bool {
        self.instruction.is_some() || self.json.is_some()
    }
}

/// Runs the demonstration on the cluster that runs. Fails when something was lost or doubled, and
/// when the instruction was neither carried out nor declined.
pub async fn run(state: &State, options: &DemoOptions) -> anyhow::Result<()> {
    let report = carry_out(state, options).await?;
    ensure!(report.is_clean(), "messages were lost, doubled or missing");
    ensure!(
        report.outcome != Outcome::PartlyDone,
        "the instruction was not carried out"
    );
    Ok(())
}

/// Runs the demonstration, prints its summary and writes it.
pub async fn carry_out(state: &State, options: &DemoOptions) -> anyhow::Result<Report> {
    let instruction = options.instruction.as_deref().unwrap_or(INSTRUCTION);
    let (stage, events) = Stage::set(state, options.fleet).await?;
    let goal = stage
        .fleet
        .floor
        .look(|world| Goal::read(instruction, world));
    let within = Duration::from_secs(options.within_s);
    let (id, acks) = stage.instruct(events, instruction, within).await?;
    let evidence = stage.settle(acks).await?;
    let history = stage.history().await?;
    let story = Story::read(id, &history);
    let floor = &stage.fleet.floor;
    let goal_holds = floor.look(|world| goal.is_some_and(|goal| goal.holds(world)));
    stage.leave().await;

    let report = Report::new(instruction, &story, goal_holds, evidence.audit());
    say("");
    for line in report.lines(&story, goal_holds) {
        say(line);
    }
    if let Some(path) = &options.json {
        write_json(path, &report)?;
    }
    Ok(report)
}

fn write_json(path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The operator, the robots and their group.
struct Stage {
    client: Client,
    fleet: Fleet,
    group: ConversationId,
    recorder: Recorder,
}

impl Stage {
    /// Fresh robots and a fresh group: all that was ever said there can be counted.
    async fn set(state: &State, options: FleetOptions) -> anyhow::Result<(Self, Events)> {
        let access = Access::open(state)?;
        let recorder = Recorder::default();
        let (client, events) = access.operator(OPERATOR).await?;
        let tag = format!("-{:06x}", rand::random::<u32>() >> 8);
        let crew = options.crew(&tag);
        let fleet = Fleet::start(&access, &crew, options.seed, Some(&recorder)).await?;
        let name = format!("demo{tag}");
        let group = access::new_group(&client, &name, &fleet.accounts()).await?;
        let count = crew.len();
        news(format!(
            "{count} robots and the planner are in the group {name}"
        ));
        let stage = Self {
            client,
            fleet,
            group,
            recorder,
        };
        Ok((stage, events))
    }

    /// Tells the group of the world and what to do, and waits for the planner's summary.
    async fn instruct(
        &self,
        events: Events,
        instruction: &str,
        within: Duration,
    ) -> anyhow::Result<(ClientMessageId, Vec<Acked>)> {
        let id = new_message_id();
        let names = Names::of(&self.client.members(self.group).await?);
        let (told, mut summary) = watch::channel(false);
        let listener = Listener {
            client: self.client.clone(),
            recorder: self.recorder.clone(),
            group: self.group,
            instruction: id,
            told,
        };
        tokio::spawn(listener.listen(events, names));
        let world = self.fleet.floor.data();
        let mut acks = vec![self.say(new_message_id(), world).await?];
        acks.push(self.say(id, content::instruction(instruction)).await?);
        match tokio::time::timeout(within, summary.wait_for(|told| *told)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => news("the server ended the operator's connection"),
            Err(_) => news(format!("no summary after {} s", within.as_secs())),
        }
        Ok((id, acks))
    }

    async fn say(&self, id: ClientMessageId, content: Content) -> anyhow::Result<Acked> {
        self.recorder.said(id);
        let outgoing = Outgoing::new(self.group, content).client_message_id(id);
        let receipt = self.client.send_with(outgoing).await?;
        Ok(Acked {
            conversation: self.group,
            sequence: receipt.sequence,
            id,
        })
    }

    /// Waits until every send has its ack, reads the history, waits until everybody has heard what
    /// is in it, and writes all of it down. What does not come in time is missing in it.
    async fn settle(&self, acks: Vec<Acked>) -> anyhow::Result<Evidence> {
        let deadline = clock::now() + SETTLE_TIMEOUT;
        while clock::now() < deadline && !self.clients().all(all_acked) {
            tokio::time::sleep(SETTLE_POLL).await;
        }
        let senders = self.clients().map(sender).collect();
        let mut logs = BTreeMap::from([(self.group, stored(&self.history().await?))]);
        let mut expected = Vec::new();
        for client in self.clients() {
            expected.push((client.account().id, self.group));
        }
        for member in &self.fleet.members {
            let client = &member.client;
            for conversation in client.conversations().await? {
                if conversation.id != self.group {
                    let history = client
                        .history(conversation.id, SequenceNumber::ZERO)
                        .await?;
                    logs.insert(conversation.id, stored(&history));
                    expected.push((client.account().id, conversation.id));
                }
            }
        }
        let last = |conversation: &ConversationId| {
            let log = logs.get(conversation).into_iter().flatten();
            let handed_over = log.filter(|entry| entry.is_handed_over);
            handed_over.map(|entry| entry.sequence).next_back()
        };
        let all_heard = || {
            expected.iter().all(|(listener, conversation)| {
                last(conversation)
                    .is_none_or(|last| self.recorder.has_reached(*listener, *conversation, last))
            })
        };
        while clock::now() < deadline && !all_heard() {
            tokio::time::sleep(SETTLE_POLL).await;
        }
        let streams = expected.iter();
        let streams = streams.map(|(listener, of)| self.recorder.stream(*listener, *of));
        Ok(Evidence {
            streams: streams.collect(),
            logs,
            senders,
            acks,
            said_at_us: self.recorder.said_at_us(),
        })
    }

    async fn history(&self) -> anyhow::Result<Vec<Entry>> {
        let history = self.client.history(self.group, SequenceNumber::ZERO).await;
        history.context("cannot read the history of the group")
    }

    fn clients(&self) -> impl Iterator<Item = &Client> {
        let robots = self.fleet.members.iter().map(|member| &member.client);
        std::iter::once(&self.client).chain(robots)
    }

    async fn leave(self) {
        self.fleet.stop().await;
        self.client.close().await;
    }
}

/// The operator's ears.
struct Listener {
    client: Client,
    recorder: Recorder,
    group: ConversationId,
    instruction: ClientMessageId,
    told: watch::Sender<bool>,
}

impl Listener {
    /// Writes down what it hears, shows it, and says when the summary came.
    async fn listen(self, mut events: Events, mut names: Names) {
        let own = self.client.account().id;
        while let Some(event) = events.next().await {
            self.recorder.heard(own, &event);
            match &event {
                Event::Message(message) if message.conversation == self.group => {
                    news(render::message(message, &mut names));
                    if self.is_summary(&message.content) {
                        self.told.send_replace(true);
                    }
                }
                Event::Disconnected { reason } => {
                    news(format!("the operator's connection is lost: {reason}"));
                }
                Event::Message(_)
                | Event::Ephemeral(_)
                | Event::Joined { .. }
                | Event::Left { .. }
                | Event::Trimmed { .. }
                | Event::Parted { .. }
                | Event::EmergencyStop(_)
                | Event::EmergencyReleased(_)
                | Event::Marked { .. }
                | Event::Connected
                | Event::Closed { .. } => {}
            }
        }
    }

    fn is_summary(&self, content: &Content) -> bool {
        let id = |summary: &[u8]| ClientMessageId::from_slice(summary).ok();
        matches!(content, Content::Summary(summary)
            if id(&summary.instruction_id) == Some(self.instruction))
    }
}

fn all_acked(client: &Client) -> bool {
    let stats = client.stats();
    stats.sent == stats.acked
}

fn sender(client: &Client) -> Sender {
    let stats = client.stats();
    Sender {
        account: client.account().id,
        sent: stats.sent,
        acked: stats.acked,
    }
}

fn stored(history: &[Entry]) -> Vec<Stored> {
    let stored = |entry: &Entry| Stored {
        sequence: entry.sequence,
        sender: entry.sender,
        id: entry.client_message_id,
        is_handed_over: entry.content.is_some() && entry.client_message_id.is_some(),
        is_sent: entry.kind != EntryKind::Membership,
    };
    history.iter().map(stored).collect()
}
