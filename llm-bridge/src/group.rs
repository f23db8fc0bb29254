//! One group: reads its log, keeps its agenda, sends what the agenda asks for and asks the model.
//! A message that is pushed only says that there is something to read; what is to be done is decided
//! in [`crate::agenda`].

use std::time::Duration;

use bytes::Bytes;
use client_sdk::{
    Account, Client, ConversationId, Error, ErrorCode, Message, Outgoing, Receipt, SendError,
};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use protocol::content::kind_of;
use protocol::{ClientMessageId, SequenceNumber};
use service_kit::drain::Drain;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agenda::{self, Agenda, Change, LogEntry};
use crate::check::PlanKey;
use crate::events;
use crate::mission::{Answer, Letter, MissionPolicy, Output, Question, Recipient, SendOutcome};
use crate::planning::{self, PlanningPolicy};
use crate::prompt::Situation;
use crate::routing::Providers;
use crate::summary::Decline;

/// Messages that wait for a group's task. Beyond it they are dropped, and read from the log.
const QUEUE_MESSAGES_MAX: usize = 256;

/// The pause before a request that failed is made again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the members are asked for before an instruction is declined.
const MEMBERS_ATTEMPTS_MAX: u32 = 3;

/// The longest wait for time to pass.
const WAKE_AFTER_MAX: Duration = Duration::from_secs(60);

/// What every group's task needs.
#[derive(Debug, Clone)]
pub struct GroupContext {
    /// The planner's account.
    pub client: Client,
    /// Who makes plans.
    pub providers: Providers,
    /// How plans are made.
    pub planning: PlanningPolicy,
    /// How they are followed.
    pub mission: MissionPolicy,
    /// When to end.
    pub drain: Drain,
}

/// Where a group's messages are put. Dropped, the group's task ends.
#[derive(Debug)]
pub struct Post {
    messages: mpsc::Sender<Message>,
    head: watch::Sender<SequenceNumber>,
}

impl Post {
    /// Never waits: what does not fit is read from the log.
    pub fn put(&self, message: Message) {
        let sequence = message.sequence;
        if self.messages.try_send(message).is_err() {
            events::queue_overflowed();
        }
        self.raise_head(sequence);
    }

    /// The log goes at least so far.
    pub fn raise_head(&self, sequence: SequenceNumber) {
        self.head.send_if_modified(|head| {
            let is_higher = sequence > *head;
            *head = sequence.max(*head);
            is_higher
        });
    }
}

/// Why a group's task ends.
#[derive(Debug)]
pub enum GroupEnd {
    /// The process ends.
    Draining,
    /// The planner is no longer a member.
    Left,
    /// The log may not be read any more.
    Failed(Error),
}

impl std::fmt::Display for GroupEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Draining => f.write_str("the process ends"),
            Self::Left => f.write_str("not a member any more"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

type Sending = BoxFuture<'static, (ClientMessageId, Letter, Result<Receipt, SendError>)>;

/// What a finished question was about, the answer, and the world if it was looked for and found.
type Answered = (ClientMessageId, u32, Answer, Option<Bytes>);

/// A group's task.
pub struct Group {
    context: GroupContext,
    id: ConversationId,
    agenda: Agenda,
    messages: mpsc::Receiver<Message>,
    head: watch::Receiver<SequenceNumber>,
    sending: FuturesUnordered<Sending>,
    /// At most one question; a new one makes the old one pointless.
    asking: JoinSet<Answered>,
    marked: SequenceNumber,
    /// Entries up to here were not folded: an earlier run had settled them.
    skipped: SequenceNumber,
    /// The whole log as it was at the start is folded; what comes now is new.
    is_live: bool,
}

/// The task of a group whose log is settled up to `after`, and its post.
#[must_use]
pub fn new(context: GroupContext, id: ConversationId, after: SequenceNumber) -> (Post, Group) {
    let (messages, queue) = mpsc::channel(QUEUE_MESSAGES_MAX);
    // One further, so that the log is read at least once.
    let (head, watched) = watch::channel(after.next());
    let own = context.client.account().id;
    let group = Group {
        agenda: Agenda::new(id, own, context.mission, after),
        context,
        id,
        messages: queue,
        head: watched,
        sending: FuturesUnordered::new(),
        asking: JoinSet::new(),
        marked: after,
        skipped: after,
        is_live: false,
    };
    (Post { messages, head }, group)
}

impl Group {
    /// Until the planner leaves, or the process ends.
    pub async fn run(mut self) -> GroupEnd {
        let drain = self.context.drain.clone();
        tokio::select! {
            () = drain.draining() => GroupEnd::Draining,
            end = self.follow() => end,
        }
    }

    async fn follow(&mut self) -> GroupEnd {
        loop {
            let has_read = match self.catch_up().await {
                Ok(()) => true,
                Err(error) if is_final(&error) => return GroupEnd::Failed(error),
                Err(error) => {
                    events::request_failed("pull", &error);
                    false
                }
            };
            // What is not known to be the newest is not acted upon.
            // Nor is anybody commanded where an emergency stop is in force.
            let may_act = has_read && !self.context.client.is_stopped_in(self.id);
            if may_act {
                self.act();
                self.mark();
            }
            let wake = if may_act { self.wake_after() } else { PAUSE };
            tokio::select! {
                changed = self.head.changed(), if has_read => {
                    if changed.is_err() {
                        return GroupEnd::Left;
                    }
                }
                Some((instruction, letter, sent)) = self.sending.next() => {
                    let now_ms = self.context.client.server_time_ms();
                    self.agenda.sent(instruction, &letter, outcome(&letter, sent), now_ms);
                }
                Some(Ok((instruction, version, answer, world))) = self.asking.join_next() => {
                    world.into_iter().for_each(|world| self.agenda.learn_world(world));
                    self.agenda.answered(instruction, version, answer);
                }
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    /// Folds the log up to the head: what was pushed if it is next, else what is pulled.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let head = *self.head.borrow_and_update();
        while let Ok(message) = self.messages.try_recv() {
            if message.sequence == self.agenda.folded().next() {
                self.fold(message.into());
            }
        }
        while self.agenda.folded() < head {
            let after = self.agenda.folded();
            let page = self.context.client.pull(self.id, after, 0).await?;
            if page.trimmed_up_to > after {
                events::history_trimmed(self.id, page.trimmed_up_to);
            }
            for entry in page.entries {
                self.fold(entry.into());
            }
            if self.agenda.folded() == after {
                // The head was a guess, or retention has taken what it named.
                break;
            }
        }
        self.is_live = true;
        Ok(())
    }

    fn fold(&mut self, entry: LogEntry) {
        match self.agenda.fold(entry) {
            None => {}
            Some(_) if !self.is_live => events::replayed(),
            Some(Change::Instructed(id)) => events::instructed(self.id, id),
            Some(Change::Dropped(id)) => events::instruction_dropped(self.id, id),
            Some(Change::Planned(id)) => events::planned(self.id, id),
            Some(Change::StepUpdated(id, state)) => events::step_updated(self.id, id, state),
            Some(Change::Summarised(id, outcome)) => events::summarised(self.id, id, outcome),
        }
    }

    fn act(&mut self) {
        let now_ms = self.context.client.server_time_ms();
        for (instruction, output) in self.agenda.next(now_ms) {
            match output {
                Output::Send(letter) => self.send(instruction, letter),
                Output::Ask(question) => self.ask(question),
            }
        }
    }

    fn send(&mut self, instruction: ClientMessageId, letter: Letter) {
        let client = &self.context.client;
        let conversation = match letter.to {
            Recipient::Group => self.id,
            Recipient::Robot(robot) => client.pair_with(robot),
        };
        let handle = client.send_nowait(
            Outgoing::new(conversation, letter.content.clone())
                .client_message_id(letter.id)
                .priority(letter.priority),
        );
        self.sending
            .push(Box::pin(async move { (instruction, letter, handle.await) }));
    }

    fn ask(&mut self, question: Question) {
        self.asking.abort_all();
        let (known, skipped) = (self.agenda.world().cloned(), self.skipped);
        let (context, group) = (self.context.clone(), self.id);
        self.asking.spawn(async move {
            let (instruction, version) = (question.instruction, question.version);
            let situation = situation(&context.client, group, &question, known, skipped).await;
            let (answer, world) = match situation {
                Ok((situation, world)) => (answer(&context, &question, &situation).await, world),
                Err(error) => (unanswered(&error), None),
            };
            (instruction, version, answer, world)
        });
    }

    /// Everything up to the read mark needs no second look after a restart.
    fn mark(&mut self) {
        let settled = self.agenda.settled();
        if settled > self.marked {
            self.marked = settled;
            self.context.client.mark_read(self.id, settled);
        }
    }

    fn wake_after(&self) -> Duration {
        let now_ms = self.context.client.server_time_ms();
        let wait = self.agenda.wake_at_ms().map_or(WAKE_AFTER_MAX, |at_ms| {
            Duration::from_millis(at_ms.saturating_sub(now_ms))
        });
        wait.clamp(Duration::from_millis(1), WAKE_AFTER_MAX)
    }
}

async fn answer(context: &GroupContext, question: &Question, situation: &Situation) -> Answer {
    let key = PlanKey {
        instruction: question.instruction,
        version: question.version,
    };
    planning::plan(&context.providers, situation, key, &context.planning).await
}

fn unanswered(error: &Error) -> Answer {
    Answer {
        plan: Err(Decline::NoSituation(error.to_string())),
        prompt_tokens: 0,
        completion_tokens: 0,
    }
}

/// What the model is told, and the world if it was among the entries that were not folded.
async fn situation(
    client: &Client,
    group: ConversationId,
    question: &Question,
    known: Option<Bytes>,
    skipped: SequenceNumber,
) -> Result<(Situation, Option<Bytes>), Error> {
    let members = members(client, group).await?;
    let world = match known {
        None => find_world(client, group, skipped).await?,
        known => known,
    };
    let situation = planning::situation(question, &members, world.as_deref());
    Ok((situation, world))
}

/// The newest world among the entries up to this one.
async fn find_world(
    client: &Client,
    group: ConversationId,
    up_to: SequenceNumber,
) -> Result<Option<Bytes>, Error> {
    let (mut after, mut newest) = (SequenceNumber::ZERO, None);
    while after < up_to {
        let page = client.pull(group, after, 0).await?;
        let last = page.entries.last().map(|entry| entry.sequence);
        let contents = page.entries.into_iter().filter_map(|entry| entry.content);
        newest = contents.filter_map(agenda::world_in).last().or(newest);
        let reached = last.unwrap_or(page.trimmed_up_to);
        if reached <= after {
            break;
        }
        after = reached;
    }
    Ok(newest)
}

async fn members(client: &Client, group: ConversationId) -> Result<Vec<Account>, Error> {
    let mut attempt = 1;
    loop {
        match client.members(group).await {
            Err(error) if attempt < MEMBERS_ATTEMPTS_MAX && !is_final(&error) => {
                events::request_failed("members", &error);
            }
            result => return result,
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What became of a message, for the agenda.
fn outcome(letter: &Letter, sent: Result<Receipt, SendError>) -> SendOutcome {
    let kind = kind_of(&letter.content).as_str_name();
    match sent {
        Ok(_) => {
            events::sent(kind);
            SendOutcome::Committed
        }
        Err(SendError::Refused(refusal)) if refusal.code == ErrorCode::Conflict => {
            events::sent_otherwise(kind);
            SendOutcome::CommittedOtherwise
        }
        Err(error @ SendError::Refused(_)) => {
            events::send_refused(kind, &error);
            SendOutcome::Refused(error.to_string())
        }
        Err(
            error @ (SendError::OutcomeUnknown { .. }
            | SendError::NotSent { .. }
            | SendError::QueueFull
            | SendError::Closed),
        ) => {
            events::send_unknown(kind, &error);
            SendOutcome::Unknown
        }
    }
}

/// Whether asking again cannot help.
const fn is_final(error: &Error) -> bool {
    match error {
        Error::Refused(_) | Error::Closed | Error::Config(_) | Error::Certificate(_) => true,
        Error::Unreachable { .. }
        | Error::TimedOut { .. }
        | Error::NotConnected
        | Error::QueueFull
        | Error::Protocol(_) => false,
    }
}
