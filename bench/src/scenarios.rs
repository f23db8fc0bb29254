//! Scenarios: what `im-bench` does to a cluster, and what it reports.
//!
//! A scenario is a function from its options and a [`site::Site`] to [`row::Rows`]:
//!
//! - the *site* is the cluster: one that is started for the run, one of `swarm up` (`--state`), or
//!   one of the user's (`--target`). It has accounts without end ([`site::Access::token_of`]), makes
//!   groups and dissolves them, and knows the server's processes when they are on this machine;
//! - *load processes* ([`processes`]) hold the connections; they are told in JSON what to do, meet
//!   before each stage, and report in JSON. A scenario names its own [`processes::Work`];
//! - a *row* has figures by name, and says whether the run was void.
//!
//! Read in this order: [`site`], [`processes`], [`row`], [`screen`]; then the load of `send`,
//! `fanout`, `groups` and `mixed`: what is said ([`workload`]), when ([`pacing`]), what is counted
//! ([`meter`]); `books`, `hall` and [`traffic`], the load process; [`crowd`], its coordinator;
//! [`verdict`] and [`search`], which judge; and [`load`], which joins them. Connections that say
//! nothing: [`held`], and [`idle`], which holds them; [`storm`] and [`back`], which make them at
//! once; [`bare`], what they are compared with. [`estop`] stops robots under load, [`command`] is one
//! command to many. [`lone`], [`catch_up`] and [`growth`] have clusters of their own; the last two
//! fill their histories directly.

pub mod processes;
pub mod row;
pub mod screen;
pub mod site;

pub mod meter;
pub mod pacing;
pub mod workload;

mod alarm;
mod books;
mod hall;
pub mod traffic;

pub mod crowd;
pub mod search;
pub mod verdict;

pub mod load;

pub mod bare;
pub mod held;
pub mod idle;

pub mod back;
pub mod catch_up;
pub mod command;
pub mod estop;
pub mod growth;
pub mod lone;
pub mod storm;

mod used;
