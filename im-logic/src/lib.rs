//! The logic: who may do what. It holds nothing that cannot be read from the store again.
//!
//! Read in this order. [`permission`] is the table of who may do what; [`send`] decides, without
//! waiting, whether a message may be sent, [`word_rules`] and [`content`] what it may say;
//! [`members`] and [`directory`] are what it knows, [`rates`] how much may be sent, [`lanes`] keeps
//! the order of what has to wait for more, and [`dispatch`] carries it out, [`estop`] in an
//! emergency. Then who somebody is, [`authenticate`], how it came to that, [`credentials`], and
//! everything that is asked more rarely: [`groups`], [`commands`], [`registry`], [`listing`],
//! [`accounts`], [`history`], [`media`], [`online`], [`analysis`], [`robots`], [`links`], [`audit`].
//! Whoever administers by HTTP comes to [`api`]. The shell: [`store`], [`node`], [`service`],
//! [`config`].

pub mod permission;
pub mod send;
pub mod word_rules;

pub mod content;

pub mod directory;
pub mod lanes;
pub mod members;
pub mod rates;

pub mod dispatch;
pub mod estop;

pub mod authenticate;
pub mod credentials;

pub mod accounts;
pub mod analysis;
pub mod audit;
pub mod commands;
pub mod groups;
pub mod history;
pub mod links;
pub mod listing;
pub mod media;
pub mod online;
pub mod robots;

pub mod api;
pub mod registry;

pub mod node;
pub mod service;
pub mod store;

pub mod config;

mod events;
