//! The command line: what may be asked, and which module does it.
//!
//! Longer than 400 lines: it is one table.

mod options;

mod observe;

mod credentials;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use thiserror::Error;

pub use self::credentials::CredentialsCommand;
pub use self::observe::Observe;
pub use self::options::{
    AdminOptions, GlobalOperatorOption, GlobalStateOption, OperatorOption, ShownCommand,
    StateOption, StoreOption,
};
use crate::authority::TokenKind;
use crate::command::CommandCommand;
use crate::demo::DemoOptions;
use crate::estop::{EstopCommand, StopOptions};
use crate::group::GroupCommand;
use crate::media::MediaOptions;
use crate::ports::PortOptions;
use crate::provider::{self, ProviderCommand};
use crate::robot::RobotCommand;
use crate::search::SearchOptions;
use crate::up::UpOptions;
use crate::{
    access, backup, chat, command, demo, estop, fleet, group, media, process, robot, search, up,
    upkeep,
};

/// A development cluster on this machine: starts it, watches it, talks to it, shows it at work.
#[derive(Debug, Parser)]
#[command(name = "swarm", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts a cluster and keeps it running until Ctrl-C
    Up {
        /// Where.
        #[command(flatten)]
        state: StateOption,
        /// What besides.
        #[command(flatten)]
        options: UpOptions,
        /// On which ports.
        #[command(flatten)]
        ports: PortOptions,
    },
    /// Lets simulated robots carry out an instruction on the running cluster, and counts
    Demo {
        /// Where.
        #[command(flatten)]
        state: StateOption,
        /// What and with whom.
        #[command(flatten)]
        options: DemoOptions,
    },
    /// Says what runs where
    Status {
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Deletes history, authorities and credentials, after asking
    Reset {
        /// Where.
        #[command(flatten)]
        state: StateOption,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Writes history, accounts, groups, marks and the fleet's keys into a new file, while the cluster
    /// works
    Backup {
        /// The file. It holds secrets
        file: PathBuf,
        /// Of what.
        #[command(flatten)]
        store: StoreOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Restores a backup into an empty state folder; the cluster is started after it
    Restore {
        /// The backup
        file: PathBuf,
        /// Deletes the history that is there, after asking
        #[arg(long)]
        replace: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Into what.
        #[command(flatten)]
        store: StoreOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Reads and writes a group as an operator: lines are texts, "/do WORDS" is an instruction
    Chat {
        /// The name of the group; "demo" is made, with the planner, when there is none
        group: String,
        /// Makes a group of any name, with the planner, when there is none
        #[arg(long)]
        create: bool,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Prints the log of a group
    History {
        /// The name of the group
        group: String,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Searches a group by words, sender, kind and time
    Search {
        /// What.
        #[command(flatten)]
        options: SearchOptions,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Makes, shows and changes groups
    Group {
        /// What.
        #[command(subcommand)]
        command: GroupCommand,
        /// Print JSON
        #[arg(long, global = true)]
        json: bool,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// What the administration API shows.
    #[command(flatten)]
    Shown(ShownCommand),
    /// Sends one command to many robots, and says what becomes of it at each
    Command {
        /// What.
        #[command(subcommand)]
        command: CommandCommand,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Sends, fetches, lists and collects images, video, maps and logs
    Media(MediaOptions),
    /// Says which robots can do what
    Robot {
        /// What.
        #[command(subcommand)]
        command: RobotCommand,
        /// Print JSON
        #[arg(long, global = true)]
        json: bool,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Lets simulated robots wait for work in a group until Ctrl-C: the world for `swarm chat`
    Robots {
        /// The name of the group; made, with the planner, when there is none
        #[arg(default_value = access::DEMO_GROUP)]
        group: String,
        /// How many and how lucky.
        #[command(flatten)]
        fleet: fleet::FleetOptions,
        /// Who adds them to the group.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Stops the robots of a group, or all, at once, until the stop is released. A software stop: not
    /// a safety-rated one. It goes straight to a gateway, so that it works with the logic away
    #[command(args_conflicts_with_subcommands = true)]
    Estop {
        /// Whom.
        #[command(flatten)]
        stop: StopOptions,
        /// Or what else.
        #[command(subcommand)]
        command: Option<EstopCommand>,
        /// Who.
        #[command(flatten)]
        operator: GlobalOperatorOption,
        /// Where.
        #[command(flatten)]
        state: GlobalStateOption,
    },
    /// Who comes in.
    #[command(flatten)]
    Credentials(CredentialsCommand),
    /// Makes a credential and prints its files: certificate and key, or token
    Credential {
        /// Of what kind
        kind: CredentialKind,
        /// Of which account
        name: String,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// What looks on.
    #[command(flatten)]
    Observe(Observe),
    /// Checks the providers of models that the planner asks
    Provider {
        /// What to do.
        #[command(subcommand)]
        command: ProviderCommand,
    },
    /// How `up` starts a tier
    #[command(name = process::BECOME_TIER, hide = true)]
    BecomeTier {
        /// The process that it must not outlive.
        parent: i32,
        /// What it becomes.
        executable: PathBuf,
    },
}

/// Whom a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CredentialKind {
    /// A machine: a certificate and its key.
    Robot,
    /// A person: a token.
    Operator,
    /// A model: a token.
    Planner,
}

impl CredentialKind {
    /// The token that it is, if it is one.
    #[must_use]
    pub const fn token(self) -> Option<TokenKind> {
        match self {
            Self::Robot => None,
            Self::Operator => Some(TokenKind::Operator),
            Self::Planner => Some(TokenKind::Planner),
        }
    }
}

/// A tier's binary could not take the place of this process.
#[derive(Debug, Error)]
#[error("cannot become {}", executable.display())]
pub struct NotATier {
    executable: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Does what was asked.
pub fn run(command: Command) -> anyhow::Result<()> {
    if let Command::BecomeTier { parent, executable } = command {
        // Before there is any other thread. It returns only when it is not possible.
        let source = process::become_tier(parent, &executable);
        return Err(NotATier { executable, source }.into());
    }
    tokio::runtime::Runtime::new()?.block_on(run_async(command))
}

#[allow(clippy::too_many_lines, reason = "one line for each command")]
async fn run_async(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up {
            state,
            options,
            ports,
        } => up::run(&state.folder(), &options, &ports).await,
        Command::Demo { state, options } => demo::run(&state.folder(), &options).await,
        Command::Status { state } => upkeep::status(&state.folder()).await,
        Command::Reset { state, yes } => upkeep::reset(&state.folder(), yes).await,
        Command::Backup { file, store, state } => {
            backup::back_up(&state.folder(), &file, store.store).await
        }
        Command::Restore {
            file,
            replace,
            yes,
            store,
            state,
        } => backup::restore(&state.folder(), &file, store.store, (replace, yes)).await,
        Command::Chat {
            group,
            create,
            operator,
            state,
        } => {
            let create = create || group == access::DEMO_GROUP;
            chat::run(&state.folder(), &operator.operator, &group, create).await
        }
        Command::History {
            group,
            operator,
            state,
        } => chat::history(&state.folder(), &operator.operator, &group).await,
        Command::Search {
            options,
            operator,
            state,
        } => search::run(&state.folder(), &operator.operator, &options).await,
        Command::Group {
            command,
            json,
            operator,
            state,
        } => group::run(&state.folder(), &operator.operator, command, json).await,
        Command::Shown(command) => command.run().await,
        Command::Command {
            command,
            operator,
            state,
        } => command::run(&state.folder(), &operator.operator, command).await,
        Command::Media(options) => media::run(options).await,
        Command::Robot {
            command,
            json,
            operator,
            state,
        } => robot::run(&state.folder(), &operator.operator, command, json).await,
        Command::Robots {
            group,
            fleet,
            operator,
            state,
        } => fleet::wait_for_work(&state.folder(), &operator.operator, &group, &fleet).await,
        Command::Estop {
            stop,
            command,
            operator,
            state,
        } => estop::run(&state.folder(), &operator.operator, &stop, command).await,
        Command::Credentials(command) => credentials::run(command).await,
        Command::Credential { kind, name, state } => {
            upkeep::credential(&state.folder(), kind, &name)
        }
        Command::Observe(observe) => observe.run().await,
        Command::Provider { command } => provider::run(command).await,
        Command::BecomeTier { .. } => unreachable!("it has become a tier"),
    }
}

#[cfg(test)]
mod tests;
