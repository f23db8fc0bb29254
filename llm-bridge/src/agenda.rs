//! What a group has asked of the planner: a fold of the group's log. One instruction at a time is
//! carried out, the others wait in the order of the log. Pure.

use std::collections::VecDeque;

use bytes::Bytes;
use client_sdk::{Entry, Message};
use protocol::content::Content;
use protocol::wire;
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};

use crate::mission::{Answer, Instruction, Letter, Mission, MissionPolicy, Output, SendOutcome};
use crate::summary::Decline;

/// Instructions that a group may have open, the one that is carried out included. One more is
/// declined.
pub const MISSIONS_MAX: usize = 16;

/// Instructions without a summary that are remembered, those that are declined included. One more is
/// dropped, and the shell counts it: nobody types so fast.
pub const OPEN_MAX: usize = 256;

/// The schema of the data that describes the world.
pub const WORLD_SCHEMA: &str = "im.world.v1";

/// One entry of the log, as far as the planner cares.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Its place.
    pub sequence: SequenceNumber,
    /// Who sent it.
    pub sender: AccountId,
    /// Its id.
    pub id: Option<ClientMessageId>,
    /// What it says; `None` if that may not be seen.
    pub content: Option<Content>,
    /// When it was committed, in milliseconds since the Unix epoch.
    pub committed_at_ms: u64,
}

impl From<Entry> for LogEntry {
    fn from(entry: Entry) -> Self {
        Self {
            sequence: entry.sequence,
            sender: entry.sender,
            id: entry.client_message_id,
            content: entry.content,
            committed_at_ms: entry.committed_at_ms,
        }
    }
}

impl From<Message> for LogEntry {
    fn from(message: Message) -> Self {
        Self {
            sequence: message.sequence,
            sender: message.sender,
            id: Some(message.client_message_id),
            content: Some(message.content),
            committed_at_ms: message.committed_at_ms,
        }
    }
}

/// What has happened to an instruction, for the shell to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new instruction.
    Instructed(ClientMessageId),
    /// An instruction beyond all bounds.
    Dropped(ClientMessageId),
    /// A plan is in the log.
    Planned(ClientMessageId),
    /// A step has a new state.
    StepUpdated(ClientMessageId, wire::StepState),
    /// A summary is in the log.
    Summarised(ClientMessageId, wire::Outcome),
}

/// The instructions of a group.
#[derive(Debug)]
pub struct Agenda {
    group: ConversationId,
    own: AccountId,
    policy: MissionPolicy,
    folded: SequenceNumber,
    /// Without a summary, in the order of the log, and where each is in it.
    missions: VecDeque<(SequenceNumber, Mission)>,
    world: Option<Bytes>,
}

impl Agenda {
    /// Before the first entry after `after`.
    #[must_use]
    pub const fn new(
        group: ConversationId,
        own: AccountId,
        policy: MissionPolicy,
        after: SequenceNumber,
    ) -> Self {
        Self {
            group,
            own,
            policy,
            folded: after,
            missions: VecDeque::new(),
            world: None,
        }
    }

    /// The last entry that was folded.
    #[must_use]
    pub const fn folded(&self) -> SequenceNumber {
        self.folded
    }

    /// Nothing up to here is needed to know what is to be done; only the world may be described
    /// there.
    #[must_use]
    pub fn settled(&self) -> SequenceNumber {
        let first_open = self.missions.front().map(|(at, _)| *at);
        first_open.map_or(self.folded, |at| SequenceNumber(at.0.saturating_sub(1)))
    }

    /// The newest description of the world.
    #[must_use]
    pub fn world(&self) -> Option<&Bytes> {
        self.world.as_ref()
    }

    /// A description of the world that was found before the first folded entry.
    pub fn learn_world(&mut self, payload: Bytes) {
        self.world.get_or_insert(payload);
    }

    /// The instruction that is carried out.
    #[must_use]
    pub fn active(&self) -> Option<&Mission> {
        let mut missions = self.missions.iter().map(|(_, mission)| mission);
        missions.find(|mission| !mission.is_declined())
    }

    /// The next entry. One that was folded already changes nothing.
    pub fn fold(&mut self, entry: LogEntry) -> Option<Change> {
        if entry.sequence <= self.folded {
            return None;
        }
        self.folded = entry.sequence;
        let is_own = entry.sender == self.own;
        match entry.content? {
            Content::Instruction(said) if !is_own => {
                let id = entry.id?;
                self.instruct(id, said.text, entry.sequence, entry.committed_at_ms)
            }
            Content::Plan(plan) if is_own => {
                let mission = self.mission(&plan.instruction_id)?;
                mission.fold_plan(plan, entry.committed_at_ms);
                Some(Change::Planned(mission.id()))
            }
            Content::StepUpdate(update) => {
                let mission = self.mission(&update.instruction_id)?;
                mission.fold_update(entry.sender, is_own, &update, entry.committed_at_ms);
                Some(Change::StepUpdated(mission.id(), update.state()))
            }
            Content::Summary(summary) if is_own => {
                let id = self.mission(&summary.instruction_id)?.id();
                self.missions.retain(|(_, mission)| mission.id() != id);
                Some(Change::Summarised(id, summary.outcome()))
            }
            Content::Data(data) => {
                self.world = world_in(Content::Data(data)).or_else(|| self.world.take());
                None
            }
            Content::Membership(change) => {
                // What was asked before the planner came, or came back, was not asked of it.
                let mut changes = change.changes.iter();
                if changes.any(|change| change.account_id == self.own.0) {
                    self.missions.clear();
                }
                None
            }
            Content::Instruction(_)
            | Content::Plan(_)
            | Content::Summary(_)
            | Content::Text(_)
            | Content::Command(_)
            | Content::Recall(_)
            | Content::Edit(_)
            | Content::Group(_)
            | Content::Media(_)
            | Content::Pose(_)
            | Content::Estop(_)
            | Content::EstopRelease(_) => None,
        }
    }

    fn instruct(
        &mut self,
        id: ClientMessageId,
        text: String,
        sequence: SequenceNumber,
        committed_at_ms: u64,
    ) -> Option<Change> {
        if self.missions.iter().any(|(_, mission)| mission.id() == id) {
            return None;
        }
        if self.missions.len() >= OPEN_MAX {
            return Some(Change::Dropped(id));
        }
        let open = self.missions.iter();
        let waiting = open.filter(|(_, mission)| !mission.is_declined()).count();
        let declined = if text.trim().is_empty() {
            Some(Decline::Blank)
        } else if waiting >= MISSIONS_MAX {
            Some(Decline::QueueFull { waiting })
        } else {
            None
        };
        let instruction = Instruction {
            id,
            text,
            committed_at_ms,
        };
        let mission = Mission::new(self.group, instruction, declined, self.policy);
        self.missions.push_back((sequence, mission));
        Some(Change::Instructed(id))
    }

    fn mission(&mut self, id: &[u8]) -> Option<&mut Mission> {
        let id = ClientMessageId::from_slice(id).ok()?;
        self.missions
            .iter_mut()
            .map(|(_, mission)| mission)
            .find(|mission| mission.id() == id)
    }

    /// The model's answer about an instruction.
    pub fn answered(&mut self, instruction: ClientMessageId, version: u32, answer: Answer) {
        if let Some(mission) = self.mission(instruction.as_bytes()) {
            mission.answered(version, answer);
        }
    }

    /// What became of a message for an instruction.
    pub fn sent(
        &mut self,
        instruction: ClientMessageId,
        letter: &Letter,
        outcome: SendOutcome,
        now_ms: u64,
    ) {
        if let Some(mission) = self.mission(instruction.as_bytes()) {
            mission.sent(letter, outcome, now_ms);
        }
        self.missions.retain(|(_, mission)| !mission.is_abandoned());
    }

    /// What is to be done now: of those that are declined, and of the first that is not.
    pub fn next(&mut self, now_ms: u64) -> Vec<(ClientMessageId, Output)> {
        let mut outputs = Vec::new();
        let mut is_taken = false;
        for (_, mission) in &mut self.missions {
            if !mission.is_declined() && std::mem::replace(&mut is_taken, true) {
                continue;
            }
            let id = mission.id();
            outputs.extend(mission.next(now_ms).into_iter().map(|output| (id, output)));
        }
        outputs
    }

    /// When [`Agenda::next`] may have something new although nothing has happened.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        self.missions
            .iter()
            .filter_map(|(_, mission)| mission.wake_at_ms())
            .min()
    }
}

/// The world that a content describes.
#[must_use]
pub fn world_in(content: Content) -> Option<Bytes> {
    match content {
        Content::Data(data) if data.schema == WORLD_SCHEMA => Some(data.payload),
        Content::Data(_)
        | Content::Text(_)
        | Content::Instruction(_)
        | Content::Plan(_)
        | Content::Command(_)
        | Content::StepUpdate(_)
        | Content::Summary(_)
        | Content::Membership(_)
        | Content::Recall(_)
        | Content::Edit(_)
        | Content::Group(_)
        | Content::Media(_)
        | Content::Pose(_)
        | Content::Estop(_)
        | Content::EstopRelease(_) => None,
    }
}

#[cfg(test)]
mod tests;
