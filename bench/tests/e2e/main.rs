//! The whole system, end to end: real processes, real TLS, real kills.
//!
//! Each test has a cluster of its own, so nextest runs them one after the other (`.config`).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod backup;
mod bad_input;
mod capture;
mod catch_up;
mod chaos;
mod cluster;
mod configuration;
mod delivery;
mod demo;
mod first_use;
mod growth;
mod history;
mod idle;
mod kills;
mod peer_servers;
mod peers;
mod people;
mod providers;
mod raw;
mod scenarios;
