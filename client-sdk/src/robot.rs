//! The machine's side: a robot declares actions, carries out the commands of a planner one at a
//! time, and says what became of each.
//!
//! A command's life is written down before it is lived: the robot runs an action only after its
//! ACCEPTED is committed, and marks the command as delivered only after its end is committed. A
//! robot that crashes in between finds its own ACCEPTED when the command comes again, and reports
//! the command as failed: it never runs the same command twice.

mod action;
mod desk;
mod ledger;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::id::ConversationKind;
use protocol::wire::CapabilityCard;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::config::{ClientConfig, MarkPolicy};
use crate::content::Content;
use crate::error::Error;
use crate::estop::Stop as EmergencyStop;
use crate::incoming::{CloseReason, Event, Events};
use crate::journal::Journal;
use crate::message::{Account, Message};
use crate::watch::{Watch, WatchFilter};

pub(crate) use action::{Action, Ending, carry_out};
pub use action::{ActionContext, ActionError};
use desk::{Desk, Order};
use ledger::Ledger;

/// Commands that wait for the one that runs; one more is REJECTED, so that the planner learns of it
/// at once.
const COMMANDS_WAITING_MAX: usize = 64;

/// Such rejections on their way at once; beyond it the robot takes no more events for a moment.
const REJECTIONS_MAX: usize = 64;

/// Why an action is cancelled, and a command rejected.
const STOPPED: &str = "an emergency stop is in force";

type Observer = Box<dyn FnMut(&Event) + Send>;

/// A robot: a client that carries out commands.
pub struct Robot {
    client: Client,
    events: Events,
    model: String,
    /// What it declares beside its model and its actions.
    card: CapabilityCard,
    actions: HashMap<String, Action>,
    observers: Vec<Observer>,
    stop: Stop,
    /// The application has said nothing of what to do to stop.
    stops_by_itself: bool,
}

/// Ends a robot, or what it does at the moment. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    all: CancellationToken,
    /// The token of the running action and why it was cancelled.
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    token: Option<CancellationToken>,
    reason: String,
}

impl Stop {
    /// Cancels the running action, reports it, and ends [`Robot::run`].
    pub fn stop(&self) {
        self.cancel_action("the robot is stopping");
        self.all.cancel();
    }

    /// Cancels the running action alone: its report is CANCELLED, with this reason.
    pub fn cancel_action(&self, reason: &str) {
        let mut running = self.running.lock();
        if let Some(token) = running.token.take() {
            reason.clone_into(&mut running.reason);
            token.cancel();
        }
    }

    fn begin(&self, token: CancellationToken) {
        if self.all.is_cancelled() {
            token.cancel();
        }
        *self.running.lock() = Running {
            token: Some(token),
            reason: "the robot is stopping".into(),
        };
    }

    fn reason(&self) -> String {
        self.running.lock().reason.clone()
    }
}

impl Robot {
    /// Connects as a robot of this model, for example "forklift-2t". Marks are the robot's own
    /// affair, whatever the configuration says of them.
    pub async fn connect(
        mut config: ClientConfig,
        model: impl Into<String>,
    ) -> Result<Self, Error> {
        config.mark_policy = MarkPolicy::Manual;
        let connected = Client::connect(config).await?;
        Ok(Self::new(connected, model.into()))
    }

    /// The same with a journal: a robot that loses power sends again what it had not yet been told
    /// is stored, as [`Client::connect_with_journal`] says.
    pub async fn connect_with_journal(
        mut config: ClientConfig,
        journal: Box<dyn Journal>,
        model: impl Into<String>,
    ) -> Result<Self, Error> {
        config.mark_policy = MarkPolicy::Manual;
        let connected = Client::connect_with_journal(config, journal).await?;
        Ok(Self::new(connected, model.into()))
    }

    fn new((client, events): (Client, Events), model: String) -> Self {
        Self {
            client,
            events,
            model,
            card: CapabilityCard::default(),
            actions: HashMap::new(),
            observers: Vec::new(),
            stop: Stop::default(),
            stops_by_itself: true,
        }
    }

    /// Declares an action. What its arguments must be follows from their type, and its description
    /// for the planner is the document comment of that type.
    ///
    /// The handler's future is dropped at its next await when the deadline has passed or the action
    /// is cancelled, and a moment was given to end by itself.
    pub fn on_action<T, F, Fut>(&mut self, name: &str, handler: F) -> &mut Self
    where
        T: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(T, ActionContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, ActionError>> + Send + 'static,
    {
        let action = Action::new(name, handler);
        self.actions.insert(name.to_owned(), action);
        self
    }

    /// Declares capabilities and attributes, and models of its actions: the preconditions and
    /// effects of those that have a handler by the same name.
    pub fn declare(&mut self, card: CapabilityCard) -> &mut Self {
        self.card = card;
        self
    }

    /// What this robot does to stop, after the running action was cancelled: its handler is given its
    /// moment to end by itself, so what must be at once is done here. The stop is confirmed when this
    /// has returned. While a stop is in force, commands are REJECTED.
    ///
    /// A software stop is not a safety-rated one: see [`estop`](crate::estop).
    pub fn on_estop<F, Fut>(&mut self, handler: F) -> &mut Self
    where
        F: Fn(EmergencyStop) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.stops_by_itself = false;
        let stop = self.stop.clone();
        self.client.on_estop(move |emergency| {
            stop.cancel_action(STOPPED);
            handler(emergency)
        });
        self
    }

    /// Shows every event to this function before the robot acts on it.
    pub fn on_event(&mut self, observer: impl FnMut(&Event) + Send + 'static) -> &mut Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// The client behind the robot, for everything else.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Hears of everything that is committed and fits: [`Client::watch`].
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn watch(&self, filter: WatchFilter) -> Result<Watch, Error> {
        self.client.watch(filter).await
    }

    /// Who the robot is.
    #[must_use]
    pub fn account(&self) -> &Account {
        self.client.account()
    }

    /// What ends it.
    #[must_use]
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// What the robot declares of itself.
    #[must_use]
    pub fn capabilities(&self) -> CapabilityCard {
        let modelled = |name: &str| self.card.actions.iter().find(|its| its.name == name);
        let own = self.actions.values().map(|action| {
            let spec = &action.spec;
            let Some(model) = modelled(&spec.name) else {
                return spec.clone();
            };
            // The model says what the handler's type cannot, and the type what is true of it.
            let mut both = model.clone();
            both.arguments_schema_json
                .clone_from(&spec.arguments_schema_json);
            if both.description.is_empty() {
                both.description.clone_from(&spec.description);
            }
            both
        });
        let mut actions: Vec<_> = own.collect();
        actions.sort_by(|a, b| a.name.cmp(&b.name));
        CapabilityCard {
            model: self.model.clone(),
            actions,
            ..self.card.clone()
        }
    }

    /// Announces what the robot can do, then carries out commands until it is stopped or the client
    /// ends.
    pub async fn run(mut self) -> Result<CloseReason, Error> {
        if self.stops_by_itself {
            // Nothing moves but by actions.
            self.on_estop(|_| std::future::ready(()));
        }
        self.client.announce(self.capabilities()).await?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let desk = Arc::new(Desk {
            client: self.client.clone(),
            actions: std::mem::take(&mut self.actions),
            stop: self.stop.clone(),
            ledger: Arc::clone(&ledger),
        });
        let (orders, waiting) = mpsc::channel(COMMANDS_WAITING_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&desk).work(waiting));
        let reason = loop {
            let event = tokio::select! {
                () = self.stop.all.cancelled() => break CloseReason::ByApplication,
                event = self.events.next() => event,
            };
            let Some(event) = event else {
                break CloseReason::ByApplication;
            };
            for observer in &mut self.observers {
                observer(&event);
            }
            match event {
                Event::Closed { reason } => break reason,
                Event::Message(message) => {
                    let refused = self
                        .take(message, &ledger)
                        .and_then(|order| orders.try_send(order).err());
                    if let Some(mpsc::error::TrySendError::Full(order)) = refused {
                        while tasks.len() > REJECTIONS_MAX {
                            tasks.join_next().await;
                        }
                        let reason = format!("{COMMANDS_WAITING_MAX} commands are waiting already");
                        tasks.spawn(Arc::clone(&desk).reject(order, reason));
                    }
                }
                Event::Trimmed {
                    conversation,
                    up_to,
                    ..
                } => self.mark(&ledger, conversation, up_to),
                Event::Parted { conversation, at } => ledger.lock().part(conversation, at),
                Event::Ephemeral(_)
                | Event::EmergencyStop(_)
                | Event::EmergencyReleased(_)
                | Event::Joined { .. }
                | Event::Left { .. }
                | Event::Marked { .. }
                | Event::Connected
                | Event::Disconnected { .. } => {}
            }
        };
        drop(orders);
        self.stop.stop();
        while tasks.join_next().await.is_some() {}
        self.client.close().await;
        Ok(reason)
    }

    /// A command for this robot; anything else is done with at once.
    fn take(&self, message: Message, ledger: &Mutex<Ledger>) -> Option<Order> {
        let (conversation, sequence) = (message.conversation, message.sequence);
        let from_another = message.sender != self.account().id;
        match message.content {
            Content::Command(command) if from_another && is_pair(&message.conversation) => {
                ledger.lock().begin(conversation, sequence);
                Some(Order {
                    command: Arc::new(command),
                    id: message.client_message_id,
                    conversation,
                    sequence,
                    backlog: message.backlog,
                })
            }
            Content::Command(_)
            | Content::Text(_)
            | Content::Data(_)
            | Content::Instruction(_)
            | Content::Plan(_)
            | Content::StepUpdate(_)
            | Content::Summary(_)
            | Content::Membership(_)
            | Content::Recall(_)
            | Content::Edit(_)
            | Content::Group(_)
            | Content::Media(_)
            | Content::Pose(_)
            | Content::Estop(_)
            | Content::EstopRelease(_) => {
                self.mark(ledger, conversation, sequence);
                None
            }
        }
    }

    fn mark(
        &self,
        ledger: &Mutex<Ledger>,
        conversation: crate::ConversationId,
        sequence: crate::SequenceNumber,
    ) {
        let mark = ledger.lock().done(conversation, sequence);
        self.client.mark_delivered(conversation, mark);
    }
}

fn is_pair(conversation: &crate::ConversationId) -> bool {
    match conversation.kind() {
        ConversationKind::Pair(..) => true,
        ConversationKind::Group(_) => false,
    }
}
