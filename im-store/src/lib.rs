//! The store: gives each message its number and keeps it, in one transaction.
//!
//! Read in this order. Pure: [`shard`] decides a batch, [`command`] what becomes of commands,
//! [`media`] whether a message may refer to a media, [`credential`] who has what to come in with,
//! [`read`] what one account may see, [`retention`] what is kept, [`search`] what is found,
//! [`generation`] what is said of another history. The database: [`engine`] is what we ask of it,
//! [`sqlite`] and [`mysql`] answer; statements that are the same for both are files of `sql/`,
//! compiled once for each. The tasks: [`writer`] gathers what arrived while the previous commit ran
//! (and [`cache`] is what it remembers), [`stream`] tells the router, [`marks`], [`reports`] and
//! [`indexing`] write behind, [`desk`] gives orders to robots, [`upkeep`] drops what is no longer
//! kept. The shell: [`service`], [`command_service`], [`config`], and [`tier`], which wires them.
//! Beside serving: [`backup`].

#![allow(
    clippy::duplicate_mod,
    reason = "the files of `sql/` are compiled once for each engine"
)]

pub mod shard;

pub mod command;
pub mod credential;
pub mod media;

pub mod generation;
pub mod read;
pub mod retention;
pub mod search;

pub mod engine;

pub mod mysql;
pub mod sqlite;

pub mod cache;
pub mod writer;

pub mod desk;
pub mod indexing;
pub mod marks;
pub mod reports;
pub mod stream;
pub mod upkeep;

pub mod command_service;
pub mod config;
pub mod service;
pub mod tier;

pub mod backup;

mod events;
mod rows;

#[cfg(feature = "testing")]
pub mod testing;
