//! The router: takes what the store has committed to the gateways whose clients may see it.
//!
//! It keeps routes and heads, and no messages; all of it is rebuilt from the gateways and the
//! stores. Read in this order. Pure: [`table`] knows who gets what, [`fanout`] makes the notices,
//! [`owed`] is what a gateway that reads too slowly is told later, [`live`] what robots say of
//! themselves that changes often, [`watch`] what those are told who watch the fleet. The shell:
//! [`gateways`], [`service`], [`config`].

pub mod table;

pub mod fanout;

pub mod owed;

pub mod live;

pub mod watch;

pub mod gateways;
pub mod service;

pub mod config;

mod events;
