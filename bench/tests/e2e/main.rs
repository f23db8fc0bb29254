//! The whole system, end to end: real processes, real TLS, real kills.
//!
//! Each test has a cluster of its own, so nextest runs them one after the other (`.config`).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
mod backup;
mod bad_input;
mod capture;
mod catch_up;
mod chaos;
mod cluster;
mod command_robots;
mod commands;
mod configuration;
mod delivery;
mod demo;
mod enrolment;
mod estop;
mod first_use;
mod groups;
mod growth;
mod history;
mod http;
mod http_client;
mod http_examples;
mod http_streams;
mod idle;
mod kills;
mod kinds;
mod limits;
mod logins;
mod media;
mod media_room;
mod media_s3;
mod media_sdk;
mod peer_servers;
mod peers;
mod people;
mod permissions;
mod providers;
mod raw;
mod registry;
mod scenarios;
mod search;
mod storm;
mod watch;
mod web;
mod web_socket;
mod words;
