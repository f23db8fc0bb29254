//! What starts a cluster on one machine, watches it and shows it at work: the library behind the
//! binary `swarm`.
//!
//! Not here: any tier, the planner, the SDK. A cluster in production is started by other means.
//!
//! Read in this order: [`cli`]; [`state`], [`authority`], [`tiers`], [`addresses`], [`ports`],
//! [`supervisor`] and [`up`], which make a cluster; [`provider`]; [`access`], [`people`], [`enrol`],
//! [`upkeep`], [`backup`] over [`archive`], [`api`], [`admin`], [`group`], [`chat`], [`command`],
//! [`robot`], [`media`], [`estop`], [`watch`] and [`render`], by which a person uses it; [`world`],
//! [`floor`], [`fleet`], [`recorder`], [`goal`], [`story`], [`audit`], [`report`] and [`demo`], which
//! show it at work and count what was said.

pub mod cli;

pub mod authority;
pub mod certificate;
mod private_file;

pub mod addresses;
pub mod ports;
pub mod probe;
mod process;
pub mod provider;
pub mod restart;
pub mod screen;
pub mod state;
pub mod supervisor;
pub mod tiers;
pub mod up;

pub mod access;
pub mod admin;
pub mod api;
pub mod enrol;
pub mod people;
pub mod upkeep;

pub mod archive;
pub mod backup;

pub mod chat;
pub mod command;
pub mod group;
pub mod media;
pub mod render;
pub mod robot;
pub mod search;
pub mod table;
pub mod watch;

pub mod audit;
pub mod demo;
pub mod estop;
pub mod fleet;
pub mod floor;
pub mod goal;
pub mod recorder;
pub mod report;
pub mod story;
pub mod world;
