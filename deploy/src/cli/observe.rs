//! What looks on: what is watched as it comes.

use clap::Subcommand;

use super::{OperatorOption, StateOption};
use crate::watch::{self, WatchOptions};

/// What looks on.
#[derive(Debug, Subcommand)]
pub enum Observe {
    /// Prints what is committed as it comes, in the operator's conversations or in all groups
    Watch {
        /// What.
        #[command(flatten)]
        options: WatchOptions,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
}

impl Observe {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Watch {
                options,
                operator,
                state,
            } => watch::run(&state.folder(), &operator.operator, &options).await,
        }
    }
}
