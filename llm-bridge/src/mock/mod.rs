//! A model that is none: an HTTP server with the chat-completions interface of OpenAI, which makes
//! its plans by rules, fails on demand, and needs no account anywhere.
//!
//! It stands for a foreign service: it knows a prompt and nothing of the bridge, whose code it does
//! not use. Read in this order: [`config`], [`behaviour`], [`server`], [`request`], [`reply`],
//! [`replay`], [`tokens`], [`prompt`], [`planner`].

pub mod behaviour;
pub mod config;

pub mod server;

pub mod replay;
pub mod reply;
pub mod request;
pub mod tokens;

pub mod planner;
pub mod prompt;

mod events;
