//! The rows for people.

use std::fmt;

use serde::Serialize;

use super::{Case, Offered, Row, Table};
use crate::peers::{Settings, System};

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = shown(self.system, self.settings);
        write!(
            f,
            "{} {} {system}",
            name(&self.load.scenario),
            offered(&self.load)
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "scenario",
            "members",
            "window",
            "system",
            "durable",
            "sent/s",
            "acked/s",
            "deliveries/s",
            "p50 ms",
            "p99 ms",
            "of limit",
            "server",
            "load",
            "/core-s",
            "load µs",
            "lost",
        ];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.0.iter().map(Row::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<_> = (0..head.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        for line in &lines {
            for (cell, width) in line.iter().zip(&widths) {
                write!(f, "{cell:>width$}  ")?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "server, load: cores used; /core-s: deliveries a second of the server's cores; load µs: CPU \
             of the load a delivery; idle: bytes of the server's memory a session"
        )
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let offered = offered(&Offered {
            scenario: self.scenario,
            members: self.members,
            window: self.window,
            rate_per_s: self.offered_per_s,
        });
        let system = shown(self.system, self.settings);
        let durable = if self.durable { "yes" } else { "no" };
        let mut cells = vec![
            name(&self.scenario),
            self.members.to_string(),
            offered,
            system,
        ];
        cells.push(durable.into());
        let measured = match self.bytes_per_session {
            Some(bytes) => [
                "-".into(),
                "-".into(),
                format!("{bytes:.0} B"),
                "-".into(),
                "-".into(),
                format!("{:.2}", self.ratio_to_limit),
                "-".into(),
                "-".into(),
                "-".into(),
                "-".into(),
                "-".into(),
            ],
            None => [
                format!("{:.0}", self.sent_per_s),
                format!("{:.0}", self.acked_per_s),
                format!("{:.0}", self.deliveries_per_s),
                ms(self.p50_us),
                ms(self.p99_us),
                format!("{:.3}", self.ratio_to_limit),
                format!("{:.2}", self.server_cores),
                format!("{:.2}", self.load_cores),
                format!("{:.0}", self.deliveries_per_server_core_s),
                format!("{:.2}", self.load_us_per_delivery),
                self.lost.to_string(),
            ],
        };
        cells.extend(measured);
        cells
    }
}

fn ms(us: u64) -> String {
    format!("{}.{:02}", us / 1000, us % 1000 / 10)
}

/// A system, with its settings where it has several.
fn shown(system: System, settings: Settings) -> String {
    match settings {
        Settings::Default => name(&system),
        Settings::SyncAlways => format!("{} {}", name(&system), name(&settings)),
    }
}

/// The window or the rate.
fn offered(load: &Offered) -> String {
    match load.rate_per_s {
        0 => load.window.to_string(),
        rate => format!("{rate}/s"),
    }
}

/// As it is written in JSON.
fn name(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).ok();
    let text = json.as_ref().and_then(|json| json.as_str());
    text.unwrap_or_default().to_owned()
}
