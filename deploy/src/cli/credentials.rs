//! The commands about who comes in: the first owner, logins and passwords, enrolment.

use clap::Subcommand;

use super::{OperatorOption, StateOption};
use crate::enrol::EnrolCommand;
use crate::{enrol, people};

/// Who comes in.
#[derive(Debug, Subcommand)]
pub enum CredentialsCommand {
    /// Makes the first owner of the fleet, once, and prints a secret that is good for one login
    Init {
        /// The owner's name
        #[arg(default_value = "owner")]
        owner: String,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Logs in with a password, for the commands after it
    Login {
        /// The operator's account
        name: String,
        /// Choose another password with it
        #[arg(long)]
        new_password: bool,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Changes one's password; as an owner of the fleet, makes an operator or gives one another
    Passwd {
        /// Whose: printed is a secret that is good for one login
        #[arg(long, value_name = "NAME")]
        of: Option<String>,
        /// That operator is an owner of the fleet too
        #[arg(long, requires = "of")]
        owner: bool,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
    /// Lets a robot enrol, and enrols one
    Enrol {
        /// What.
        #[command(subcommand)]
        command: EnrolCommand,
        /// Who.
        #[command(flatten)]
        operator: OperatorOption,
        /// Where.
        #[command(flatten)]
        state: StateOption,
    },
}

pub(super) async fn run(command: CredentialsCommand) -> anyhow::Result<()> {
    match command {
        CredentialsCommand::Init { owner, state } => people::init(&state.folder(), &owner).await,
        CredentialsCommand::Login {
            name,
            new_password,
            state,
        } => people::login(&state.folder(), &name, new_password).await,
        CredentialsCommand::Passwd {
            of,
            owner,
            operator,
            state,
        } => {
            let of = of.as_deref();
            people::passwd(&state.folder(), &operator.operator, of, owner).await
        }
        CredentialsCommand::Enrol {
            command,
            operator,
            state,
        } => enrol::run(&state.folder(), &operator.operator, command).await,
    }
}
