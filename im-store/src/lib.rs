//! The store: gives each message its number and keeps it, in one transaction.
//!
//! Read in this order. Pure: [`shard`] decides a batch, [`read`] what one account may see. The
//! database: [`sqlite`]. The tasks: [`writer`] gathers what arrived while the previous commit ran,
//! [`stream`] tells the router, [`marks`] writes behind. The shell: [`service`], [`config`].

pub mod shard;

pub mod read;

pub mod sqlite;

pub mod writer;

pub mod marks;
pub mod stream;

pub mod config;
pub mod service;

mod events;
