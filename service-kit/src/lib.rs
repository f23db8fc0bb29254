//! What a process needs to be a process, and no word of what it is for.
//!
//! Read in this order: [`config`], [`exit`], [`runtime`], [`telemetry`], [`admin`], [`listen`],
//! [`http`], [`tls`], [`token`], [`clock`], [`drain`], [`snowflake`], [`rpc`], [`live`],
//! [`registry`], [`peers`], [`discovery`].

pub mod config;
pub mod exit;
pub mod runtime;

pub mod telemetry;

pub mod admin;

pub mod http;
pub mod listen;
pub mod tls;
pub mod token;

pub mod clock;
pub mod drain;
pub mod snowflake;

pub mod rpc;

pub mod live;
pub mod registry;

pub mod peers;

pub mod discovery;

#[cfg(feature = "testing")]
pub mod testing;

mod events;
