//! `swarm`: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use deploy::cli::{self, Cli};
use service_kit::exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_wrong = error.use_stderr();
            // Nobody is left to tell when the terminal is gone.
            drop(error.print());
            return ExitCode::from(if is_wrong { exit::EXIT_USAGE } else { 0 });
        }
    };
    exit::run("swarm", || cli::run(cli.command))
}
