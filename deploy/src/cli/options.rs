//! Options that several commands have: where, who, and how it is shown.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::access;
use crate::admin::{self, Page, Shown};
use crate::state::State;

/// Where a cluster keeps what it has.
#[derive(Debug, Args)]
pub struct StateOption {
    /// The folder of the cluster's history, keys and run file; default .swarm in the checkout
    #[arg(long, global = true, value_name = "DIR", env = "SWARM_STATE")]
    pub(super) state: Option<PathBuf>,
}

impl StateOption {
    pub(crate) fn folder(self) -> State {
        State::new(self.state.filter(|folder| !folder.as_os_str().is_empty()))
    }
}

/// Who asks the administration API, and how it is shown.
#[derive(Debug, Args)]
pub struct AdminOptions {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Who.
    #[command(flatten)]
    operator: OperatorOption,
    /// Where.
    #[command(flatten)]
    state: StateOption,
}

impl OperatorOption {
    pub(crate) fn name(&self) -> &str {
        &self.operator
    }
}

impl AdminOptions {
    async fn show(self, shown: Shown) -> anyhow::Result<()> {
        let (state, operator) = (self.state.folder(), self.operator.operator);
        admin::run(&state, &operator, shown, self.json).await
    }
}

/// The same beside subcommands.
#[derive(Debug, Args)]
pub struct GlobalStateOption {
    /// The folder of the cluster's history, keys and run file; default .swarm in the checkout
    #[arg(long, value_name = "DIR", env = "SWARM_STATE", global = true)]
    pub(super) state: Option<PathBuf>,
}

impl GlobalStateOption {
    pub(super) fn folder(self) -> State {
        StateOption { state: self.state }.folder()
    }
}

/// Where history is.
#[derive(Debug, Args)]
pub struct StoreOption {
    /// As with `up`: mysql://USER:PASSWORD@HOST:PORT/NAME [the file of the state]
    #[arg(long, value_name = "URL", env = "SWARM_STORE", hide_env_values = true)]
    pub(super) store: Option<String>,
}

/// Who a person is.
#[derive(Debug, Args)]
pub struct OperatorOption {
    /// The operator's account
    #[arg(long = "as", global = true, value_name = "NAME", default_value = access::OPERATOR)]
    pub(super) operator: String,
}

/// The same beside subcommands.
#[derive(Debug, Args)]
pub struct GlobalOperatorOption {
    /// The operator's account
    #[arg(long = "as", value_name = "NAME", default_value = access::OPERATOR, global = true)]
    pub(super) operator: String,
}

/// What the administration API shows.
#[derive(Debug, Subcommand)]
pub enum ShownCommand {
    /// Lists who is online
    Sessions {
        /// Which of them.
        #[command(flatten)]
        page: Page,
        /// Who asks.
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Shows the processes of the cluster, as one of its logics sees them
    Cluster {
        /// Who asks.
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Lists who has administered what by the API, the newest first
    Audit {
        /// Which of it.
        #[command(flatten)]
        page: Page,
        /// Who asks.
        #[command(flatten)]
        admin: AdminOptions,
    },
}

impl ShownCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Sessions { page, admin } => admin.show(Shown::Sessions(page)).await,
            Self::Cluster { admin } => admin.show(Shown::Cluster).await,
            Self::Audit { page, admin } => admin.show(Shown::Audit(page)).await,
        }
    }
}
