//! Load, and a cluster to put it on: real processes behind real TLS. The end-to-end tests and the
//! tidy test live here too.
//!
//! Read in this order: [`tally`], [`report`], [`load`], [`cluster`], [`wait`]; then [`record`], [`checker`] and
//! [`chaos`]; then [`usage`], [`lean`] and
//! [`peers`]. Nothing imports this crate.

pub mod tally;

pub mod report;

pub mod load;

pub mod cluster;
pub mod wait;

pub mod record;

pub mod checker;

pub mod chaos;

pub mod lean;

pub mod peers;

pub mod dial;
pub mod usage;

mod clock;
