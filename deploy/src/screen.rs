//! What `swarm` writes to the terminal: answers to standard output, news and the logs of the tiers
//! to standard error, each line with who says it.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::restart::Exit;
use crate::tiers::{Instance, Tier};

/// The width of the column that says who speaks: the longest name of a tier.
const WHO_WIDTH: usize = 12;

/// One line of an answer. A closed pipe ends the interest in it, not the work.
pub fn say(line: impl AsRef<str>) {
    drop(writeln!(std::io::stdout().lock(), "{}", line.as_ref()));
}

/// News of `swarm` itself.
pub fn news(line: impl AsRef<str>) {
    prefixed("swarm", "1", line.as_ref());
}

/// A line that a tier logged.
pub(crate) fn log_line(instance: Instance, line: &str) {
    let colour = match instance.tier {
        Tier::Store => "32",
        Tier::Router => "33",
        Tier::Logic => "34",
        Tier::Gateway => "36",
        Tier::Mock => "90",
        Tier::Bridge => "35",
    };
    prefixed(&instance.to_string(), colour, line);
}

pub(crate) fn restarting(instance: Instance, exit: Exit, wait: Duration) {
    let wait = wait.as_millis();
    news(format!(
        "{} ended {}; starting it again in {wait} ms",
        instance,
        how(exit)
    ));
}

pub(crate) fn cannot_start(instance: Instance, error: &std::io::Error) {
    news(format!("{} cannot be started: {error}", instance));
}

pub(crate) fn killed(instance: Instance) {
    news(format!("{} did not stop in time and was killed", instance));
}

pub(crate) fn leftover(instance: Instance, pid: i32) {
    news(format!(
        "stopping {} (process {pid}), left over from a supervisor that was killed",
        instance
    ));
}

/// How a process ended, in words.
pub(crate) fn how(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("with code {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
    }
}

fn prefixed(who: &str, colour: &str, line: &str) {
    let mut out = std::io::stderr().lock();
    let written = if std::io::stderr().is_terminal() {
        writeln!(out, "\x1b[{colour}m{who:>WHO_WIDTH$} |\x1b[0m {line}")
    } else {
        writeln!(out, "{who:>WHO_WIDTH$} | {line}")
    };
    drop(written);
}
