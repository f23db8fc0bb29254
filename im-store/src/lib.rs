//! The store: gives each message its number and keeps it, in one transaction.
//!
//! Read in this order: [`shard`] decides, [`sqlite`] commits, [`writer`] gathers what arrived while
//! the previous commit ran.

pub mod shard;

pub mod sqlite;

pub mod writer;
