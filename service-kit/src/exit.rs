//! How a process ends: one line for people on standard error, and an exit code from `sysexits.h`.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::listen::ListenError;

/// The configuration or the command line is wrong; nothing was bound.
pub const EXIT_USAGE: u8 = 64;
/// An address that was asked for is taken; nothing is served.
pub const EXIT_UNAVAILABLE: u8 = 69;
/// Anything else.
pub const EXIT_FAILURE: u8 = 1;

/// Runs a process's main function and turns its error into a line and a code.
pub fn run(process: &str, main: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(ConfigError::Shown(text)) = error.downcast_ref() {
                print(text);
                return ExitCode::SUCCESS;
            }
            complain(process, &error);
            ExitCode::from(code(&error))
        }
    }
}

/// The exit code for an error.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<ConfigError>()) {
        EXIT_USAGE
    } else if error.chain().any(|cause| cause.is::<ListenError>()) {
        EXIT_UNAVAILABLE
    } else {
        EXIT_FAILURE
    }
}

#[expect(clippy::print_stdout, reason = "the answer to --help and --version")]
fn print(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stderr, reason = "the last words of a process")]
fn complain(process: &str, error: &anyhow::Error) {
    eprintln!("{process}: {error:#}");
}
