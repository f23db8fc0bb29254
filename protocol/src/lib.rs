//! The protocol, and nothing but the protocol: ids, limits, frames, wire types, conversions.
//!
//! No IO, no async, no clock: everything here is a value or a pure function, so that the servers,
//! the SDK and a test can share it. The `.proto` files beside this crate are the public
//! specification; `docs/PROTOCOL.md` explains them.
//!
//! Read in this order: [`id`], [`limits`], [`frame`], [`kind`], [`error`], [`content`],
//! [`estop`], [`media`], [`identity`], [`role`], [`command`], [`card`], [`sub_account`], [`watch`],
//! [`wire`].

pub mod id;
pub mod limits;

pub mod frame;
pub mod kind;

pub mod error;

pub mod card;
pub mod command;
pub mod content;
pub mod estop;
pub mod identity;
pub mod media;
pub mod role;
pub mod sub_account;
pub mod watch;

pub mod wire;

pub use error::{ErrorCode, Refusal};
pub use frame::{Frame, FrameCodec, FrameError};
pub use id::{AccountId, ClientMessageId, ConversationId, GatewayId, SequenceNumber, SessionId};
pub use media::MediaId;
pub use role::{Rights, Roles};
