//! Providers that are none: an HTTP server for each, with its paths, refusals, error bodies and
//! streaming form as its documents describe them, and not as our client happens to ask. They share
//! no code with the clients of the bridge.
//!
//! Read in this order: [`scenario`], what a request meets; [`talk`], what was asked and is said;
//! [`pieces`], how a stream is cut; [`brand`] and the files beside it, one for each provider;
//! [`server`].

pub mod scenario;
pub mod talk;

pub mod pieces;

pub mod brand;
mod brands;

pub mod server;
