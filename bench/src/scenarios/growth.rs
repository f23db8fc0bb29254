//! Growth: whether one more costs more when there are many already. Messages of a history, members of
//! a group, gateways of a cluster.

pub mod fleet;
pub mod history;

use super::row::Rows;

/// What grows.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Growth {
    /// Sends onto a history of ten messages, and of ten million
    History(history::Options),
    /// Deliveries in groups of ten members, and of ten thousand
    Members(fleet::MembersOptions),
    /// Deliveries through one gateway, and through four
    Gateways(fleet::GatewaysOptions),
}

/// A row for each size.
///
/// # Errors
/// When a cluster of it does not start, or the load cannot be carried to its end.
pub async fn run(growth: &Growth) -> anyhow::Result<Rows> {
    match growth {
        Growth::History(options) => history::run(options).await,
        Growth::Members(options) => fleet::members(options).await,
        Growth::Gateways(options) => fleet::gateways(options).await,
    }
}
