//! The planner: a member of groups that breaks a person's instruction into steps for robots, by
//! asking a model, and follows the steps to their end.
//!
//! It has no private door: everything it knows is in the log of a group, and everything it does is
//! a message. What it has done so far is a fold of that log, so a crash costs time and nothing else.
//!
//! Read in this order: [`language`], [`plan`], [`prompt`], [`check`]: what is asked of a model and
//! what is made of its answer; [`execution`], [`mission`], [`agenda`], [`summary`]: what an
//! instruction has come to, all pure; [`provider`], [`routing`] and [`planning`], which ask;
//! [`checkup`], which checks a provider; [`group`] and [`bridge`], the shell. [`proxy`] is another
//! program, and so are [`mock`], a model that is none, and [`mocks`], providers that are none.

pub mod config;

pub mod language;
pub mod plan;
pub mod prompt;

pub mod check;

pub mod execution;
pub mod mission;
pub mod summary;

pub mod agenda;

pub mod provider;
pub mod routing;

pub mod planning;

pub mod checkup;

pub mod bridge;
pub mod group;

mod events;

pub mod proxy;

pub mod mock;
pub mod mocks;
