//! The client end to end, over real TLS, against a gateway that keeps its logs in memory and does
//! what a test asks of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks what it waits for"
)]

mod authority;
mod gateway;
mod gateways;
mod state;

mod examples;
mod journal;
#[cfg(feature = "journal")]
mod power;
mod receiving;
mod robot;
mod sending;
mod session;
