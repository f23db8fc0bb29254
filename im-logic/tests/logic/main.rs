//! The logic over real links: this test is the gateways, and behind it are a fake store and a fake
//! router.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake_store;
mod world;

mod authentication;
mod groups;
mod lists;
mod memory;
mod sending;
