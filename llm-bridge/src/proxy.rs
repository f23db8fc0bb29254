//! `openai-proxy`: a reverse proxy to stand where the bridge cannot reach a provider from. It holds
//! the real key, takes short-lived keys that our side signs, passes listed paths and models on, and
//! counts and bounds what each client uses. Streams pass as they come; nothing is retried.
//!
//! Read in this order: [`config`]; [`limits`], who may ask what now, and [`account`], what it came
//! to, both pure; [`tap`], which reads usage out of what passes; [`tls`] and [`server`], the shell.

pub mod account;
pub mod config;
mod ledger;
pub mod limits;
pub mod server;
pub mod tap;
pub mod tls;

/// What the subject of a client's key begins with: keys for other things are none here.
pub const SUBJECT_PREFIX: &str = "openai-proxy:";
