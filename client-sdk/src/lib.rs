//! The client: what a robot, a person's console or the planner is built on.
//!
//! [`Client`] keeps one authenticated connection to a fleet's gateways, whatever happens to it: a
//! send ends in an ack that means *committed*, in a refusal, or in *outcome unknown*; [`Events`]
//! hands over each conversation in order and without duplicates. [`Robot`] is the machine's side:
//! it declares actions and carries out the commands of a planner.
//!
//! Not here: the wire itself (that is [`protocol`]), a cluster, a model.
//!
//! Read in this order: [`config`], [`message`], [`error`], [`client`], [`incoming`], [`estop`];
//! the pure machines `inbox` (and `ahead`, which reads pages before it wants them), `outbox`,
//! `scribe` (what is written into the [`journal`]), `requests` and `marks`; `engine`, which joins
//! them; `connection` and `driver`, the shell around it; then [`command`] and [`orders`];
//! [`registry`]; [`media`]; [`enrolment`], [`identity`] and `renewal`, by which a client comes to
//! what it connects with; [`robot`] and [`testing`].

pub mod config;
pub mod error;
pub mod estop;
pub mod message;

pub mod client;
pub mod command;
pub mod incoming;

mod ahead;
mod inbox;
pub mod journal;
mod marks;
mod offset;
mod outbox;
mod requests;
mod scribe;

mod engine;
mod shared;

pub mod enrolment;
pub mod identity;
mod renewal;

mod attempts;
mod backoff;
pub mod clock;
mod connection;
mod driver;
mod events;
mod tls;

pub mod media;
pub mod orders;
pub mod registry;
pub mod robot;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod testing;
pub mod watch;

pub use protocol;
pub use protocol::content::{self, Content, References};
pub use protocol::wire::{
    AccountKind, ActionParameter, ActionSpec, BlockingType, Capability, CapabilityCard, EntryKind,
    Fact, MarkKind, Priority, QueryFault, Role, StepState, TypedAttribute, ValueDataType,
};
pub use protocol::{
    AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, SequenceNumber, SessionId,
};

pub use client::{
    Client, EnrolmentToken, EstopHandle, Found, Group, GroupUpdate, Member, NewEnrolment, NewGroup,
    Search, SendHandle,
};
pub use command::{
    CommandKey, CommandPage, CommandWatch, Epoch, NewCommand, Outcome, OutcomeCounts, OutcomeState,
    Targets,
};
pub use config::{CaSource, ClientConfig, Credential, MarkPolicy, StartFrom};
pub use enrolment::{Enrolment, Login};
pub use error::{ConfigError, Error, SendError};
pub use events::Stats;
pub use identity::Identity;
pub use incoming::{CloseReason, Event, Events};
pub use media::{MediaError, MediaSource, OutgoingMedia, OwnMedia};
pub use message::{
    Account, Conversation, Entry, Ephemeral, LackingPage, MemberMarks, Message, Outgoing, PullPage,
    Receipt, Relation, new_message_id,
};
pub use orders::{NotBegun, Order, OrderLedger, Orders};
pub use registry::{FoundRobot, LiveValue, LiveValues, RobotChange, RobotPage, RobotWatch};
pub use robot::{ActionContext, ActionError, Robot};
pub use watch::{Gap, Seen, Watch, WatchFilter};
