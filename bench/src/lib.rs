//! Load, and a cluster to put it on: real processes behind real TLS. The end-to-end tests and the
//! tidy test live here too.
//!
//! Read in this order: [`tally`], [`report`], [`usage`], [`cluster`], [`wait`]; the load of our own,
//! [`lean`] and [`scenarios`]; [`peers`]; then [`record`], [`checker`] and [`chaos`]. Nothing imports
//! this crate.

pub mod tally;

pub mod report;

pub mod cluster;
pub mod crowd;
pub mod usage;
pub mod wait;

pub mod dial;
pub mod lean;

pub mod scenarios;

pub mod peers;

pub mod record;

pub mod checker;

pub mod chaos;

mod clock;
