//! The gateway: connections, sessions, and the way of entries to local members.
//!
//! It decides nothing about rights and stores nothing: requests go to the logic tier as they came,
//! and what it knows of members is a view that logic and router keep true.
//!
//! Read in this order: [`session`] (what a connection may do when), [`outbox`] (what waits for a
//! client), [`view`] (who is a local member, as of when), [`estop`] (emergency stops),
//! [`credential`] (what a session came in with, and what ends it), [`registry`] (all of them
//! together), then the shells: [`tls_stream`], [`connection`], [`listener`], [`http`],
//! [`upstream`], [`router_link`].

pub mod config;

pub mod session;
pub mod shared_frame;

pub mod estop;
pub mod outbox;
pub mod view;

pub mod credential;
pub mod handle;
pub mod registry;

pub mod gateway;
pub mod marks;
pub mod media;
pub mod upstream;

pub mod notices;
pub mod router_link;

pub mod addresses;
pub mod failures;

pub mod doors;
pub mod tls_stream;

mod answers;
mod login;
mod web_socket;
mod wire;

pub mod connection;
pub mod http;
pub mod listener;

mod events;
