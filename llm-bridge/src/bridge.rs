//! The planner's account: connects, follows every group that it is in, hands each message to its
//! group's task. What a group's task does with it is not here.

use std::collections::HashMap;

use client_sdk::protocol::id::ConversationKind;
use client_sdk::{
    Client, ClientConfig, CloseReason, Conversation, ConversationId, Error, Event, Events,
    SequenceNumber,
};
use service_kit::admin::ReadyGate;
use service_kit::drain::Drain;
use thiserror::Error;
use tokio::task::{Id, JoinSet};

use crate::events;
use crate::group::{self, GroupContext, GroupEnd, Post};
use crate::mission::MissionPolicy;
use crate::planning::PlanningPolicy;
use crate::routing::Providers;

/// The pause before what failed is tried again.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Why the planner cannot go on.
#[derive(Debug, Error)]
pub enum BridgeError {
    /// There will be no connection.
    #[error("the fleet does not let the planner in")]
    Connect(#[source] Error),
    /// The server has ended the connection for good.
    #[error("the connection is over: {0}")]
    Closed(String),
}

/// What a planner needs beside its connection.
#[derive(Debug, Clone)]
pub struct Planner {
    /// Who makes plans.
    pub providers: Providers,
    /// How plans are made.
    pub planning: PlanningPolicy,
    /// How they are followed.
    pub mission: MissionPolicy,
}

/// Connects, however long that takes, and follows the groups until the process ends.
pub async fn run(
    config: ClientConfig,
    planner: Planner,
    gate: ReadyGate,
    drain: Drain,
) -> Result<(), BridgeError> {
    let connected = tokio::select! {
        () = drain.draining() => return Ok(()),
        connected = connect(config, &gate) => connected?,
    };
    let (client, events) = connected;
    let context = GroupContext {
        client: client.clone(),
        providers: planner.providers,
        planning: planner.planning,
        mission: planner.mission,
        drain: drain.clone(),
    };
    let mut bridge = Bridge {
        context,
        gate,
        groups: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let end = tokio::select! {
        () = drain.draining() => Ok(()),
        end = bridge.follow(events) => end,
    };
    bridge.groups.clear();
    while bridge.tasks.join_next().await.is_some() {}
    // What the groups' tasks have sent is given a moment.
    client.close().await;
    end
}

async fn connect(config: ClientConfig, gate: &ReadyGate) -> Result<(Client, Events), BridgeError> {
    loop {
        match Client::connect(config.clone()).await {
            Ok(connected) => return Ok(connected),
            Err(error @ (Error::Unreachable { .. } | Error::TimedOut { .. })) => {
                events::not_connected(&error);
                gate.set_unready(error.to_string());
            }
            Err(
                error @ (Error::Config(_)
                | Error::Refused(_)
                | Error::Certificate(_)
                | Error::NotConnected
                | Error::QueueFull
                | Error::Closed
                | Error::Protocol(_)),
            ) => return Err(BridgeError::Connect(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Bridge {
    context: GroupContext,
    gate: ReadyGate,
    groups: HashMap<ConversationId, (Id, Post)>,
    tasks: JoinSet<(ConversationId, GroupEnd)>,
}

impl Bridge {
    async fn follow(&mut self, mut events: Events) -> Result<(), BridgeError> {
        for conversation in self.conversations().await? {
            self.begin(conversation.id, conversation.read);
        }
        self.gate.set_ready();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(event)?,
                    None => return Ok(()),
                },
                Some(ended) = self.tasks.join_next_with_id() => match ended {
                    Ok((task, (group, end))) => self.ended(task, group, &end),
                    // Of a task that was cut short, nothing is left but its post.
                    Err(error) => self.groups.retain(|_, (task, _)| *task != error.id()),
                },
            }
        }
    }

    /// The groups that the account is in already.
    async fn conversations(&self) -> Result<Vec<Conversation>, BridgeError> {
        loop {
            match self.context.client.conversations().await {
                Ok(conversations) => return Ok(conversations),
                Err(error @ (Error::Refused(_) | Error::Closed)) => {
                    return Err(BridgeError::Connect(error));
                }
                Err(error) => events::request_failed("conversations", &error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn take(&mut self, event: Event) -> Result<(), BridgeError> {
        match event {
            Event::Message(message) => {
                let group = message.conversation;
                self.begin(group, SequenceNumber::ZERO);
                if let Some((_, post)) = self.groups.get(&group) {
                    post.put(message);
                }
            }
            Event::Joined { conversation, .. } => self.begin(conversation, SequenceNumber::ZERO),
            Event::Left { conversation } => {
                self.groups.remove(&conversation);
            }
            Event::Parted { conversation, .. } => {
                // All that is known of it is a fold of its log, which is another one now.
                if self.groups.remove(&conversation).is_some() {
                    self.begin(conversation, SequenceNumber::ZERO);
                }
            }
            Event::Trimmed {
                conversation,
                up_to,
                ..
            } => {
                if let Some((_, post)) = self.groups.get(&conversation) {
                    post.raise_head(up_to);
                }
            }
            // Nobody reads for the planner on another device.
            Event::Marked { .. } => {}
            Event::EmergencyStop(stop) => events::stopped(&stop),
            Event::EmergencyReleased(stop) => events::released(&stop),
            Event::Ephemeral(_) => events::progress_told(),
            Event::Connected => {
                self.gate.set_ready();
                events::connected();
            }
            Event::Disconnected { reason } => {
                events::disconnected(&reason);
                self.gate.set_unready(reason);
            }
            Event::Closed { reason } => match reason {
                CloseReason::ByApplication => {}
                CloseReason::Refused(refusal) => {
                    return Err(BridgeError::Closed(refusal.to_string()));
                }
                CloseReason::SentAway(why) => return Err(BridgeError::Closed(why)),
            },
        }
        Ok(())
    }

    /// Follows a group, unless it is followed already. A pair is where commands go, and no more.
    fn begin(&mut self, id: ConversationId, after: SequenceNumber) {
        let is_group = match id.kind() {
            ConversationKind::Group(_) => true,
            ConversationKind::Pair(..) => false,
        };
        if !is_group || self.groups.contains_key(&id) {
            return;
        }
        events::group_begun(id);
        let (post, group) = group::new(self.context.clone(), id, after);
        let task = self.tasks.spawn(async move { (id, group.run().await) });
        self.groups.insert(id, (task.id(), post));
    }

    fn ended(&mut self, task: Id, group: ConversationId, end: &GroupEnd) {
        events::group_ended(group, end);
        if self.groups.get(&group).is_some_and(|(id, _)| *id == task) {
            self.groups.remove(&group);
        }
    }
}
