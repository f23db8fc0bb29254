//! The planner: a member of groups that breaks a person's instruction into steps for robots, by
//! asking a model, and follows the steps to their end.
//!
//! It has no private door: everything it knows is in the log of a group, and everything it does is
//! a message. What it has done so far is a fold of that log, so a crash costs time and nothing else.
//!
//! Read in this order: [`language`], [`plan`], [`prompt`], [`check`]: what is asked of a model and
//! what is made of its answer; [`execution`], [`mission`], [`agenda`], [`summary`]: what an
//! instruction has come to, all pure; [`provider`] and [`planning`], which ask; [`group`] and
//! [`bridge`], the shell. [`mock`] is another program: a model that is none.

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

pub mod planning;

pub mod bridge;
pub mod group;

mod events;

pub mod mock;
