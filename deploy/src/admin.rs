//! `swarm robot list` without a condition, `swarm sessions`, `swarm cluster` and `swarm audit`: what the administration API
//! shows, as tables for people, and as JSON as it answered.

use clap::Args;
use serde_json::Value;

use crate::access::Access;
use crate::api::{self, Api, cell, more, rows, text};
use crate::screen;
use crate::state::State;
use crate::table::table;

/// Which page of a list.
#[derive(Debug, Args)]
pub struct Page {
    /// How many are listed; 0: all
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
    /// From the next page on, as the last one said
    #[arg(long, value_name = "CURSOR", default_value = "")]
    pub(crate) after: String,
}

/// What is shown.
#[derive(Debug)]
pub enum Shown {
    /// Robots.
    Robots(Page),
    /// One robot, by its name.
    Robot(String),
    /// Who is online.
    Sessions(Page),
    /// The processes.
    Cluster,
    /// Who has administered what.
    Audit(Page),
}

/// Shows it.
///
/// # Errors
/// When the cluster is not reached, or refuses.
pub async fn run(state: &State, operator: &str, shown: Shown, json: bool) -> anyhow::Result<()> {
    let mut api = Access::open(state)?.api(operator)?;
    let (answer, people) = ask(&mut api, shown).await?;
    if json {
        screen::say(answer.to_string());
    } else {
        screen::say(people(&answer).trim_end());
    }
    Ok(())
}

type People = fn(&Value) -> String;

async fn ask(api: &mut Api, shown: Shown) -> anyhow::Result<(Value, People)> {
    Ok(match shown {
        Shown::Robots(page) => {
            let of = (&page.after[..], page.limit);
            (api.list("robots", "robots", of).await?, robots)
        }
        Shown::Robot(name) => {
            let path = format!("robots/{}", api::encoded(&name));
            (api.get(&path).await?, robot)
        }
        Shown::Sessions(page) => {
            let of = (&page.after[..], page.limit);
            (api.list("sessions", "accounts", of).await?, sessions)
        }
        Shown::Cluster => (api.get("cluster").await?, cluster),
        Shown::Audit(page) => {
            let of = (&page.after[..], page.limit);
            (api.list("audit", "records", of).await?, audit)
        }
    })
}

fn robots(page: &Value) -> String {
    let all = rows(page, "robots").map(|robot| {
        let actions: Vec<_> = rows(robot, "actions")
            .map(|its| cell(its, "name"))
            .collect();
        [
            cell(robot, "account_id"),
            cell(robot, "name"),
            online(robot),
            cell(robot, "model"),
            actions.join(" "),
        ]
    });
    table(["account", "name", "online", "model", "actions"], all) + &more(page)
}

fn robot(robot: &Value) -> String {
    let one = [
        cell(robot, "account_id"),
        cell(robot, "name"),
        online(robot),
    ];
    table(["account", "name", "online"], [one])
}

fn online(robot: &Value) -> String {
    match robot["online"].as_bool() {
        Some(true) => "yes".into(),
        Some(false) => "no".into(),
        None => "?".into(),
    }
}

fn sessions(page: &Value) -> String {
    let names = ["account_id", "name", "kind"];
    let all = rows(page, "accounts").map(|its| names.map(|name| cell(its, name)));
    table(["account", "name", "kind"], all) + &more(page)
}

fn cluster(cluster: &Value) -> String {
    let words = format!(
        "fleet {}, release {}, {} gateways\n",
        cell(cluster, "fleet"),
        cell(cluster, "version"),
        cell(cluster, "gateways"),
    );
    let all = rows(cluster, "processes").map(|process| {
        let is_up = process["linked"].as_bool().unwrap_or(false);
        [
            cell(process, "tier"),
            cell(process, "id"),
            cell(process, "address"),
            if is_up { "up" } else { "down" }.to_owned(),
        ]
    });
    words + &table(["tier", "id", "address", "link"], all)
}

fn audit(page: &Value) -> String {
    let all = rows(page, "records").map(|record| {
        let at_s = record["at_ms"].as_u64().unwrap_or(0) / 1000;
        let outcome = match record["code"].as_str() {
            Some(code) => format!("{} {code}", text(record, "outcome")),
            None => text(record, "outcome").to_owned(),
        };
        [
            time(at_s),
            cell(record, "account"),
            cell(record, "address"),
            cell(record, "action"),
            cell(record, "target"),
            outcome,
        ]
    });
    let names = ["at (UTC)", "account", "from", "action", "target", "outcome"];
    table(names, all) + &more(page)
}

/// A moment, in seconds since the Unix epoch, as people write it.
pub(crate) fn time(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days of the civil calendar, counted from March of year 0.
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments_are_written_by_the_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(time(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(time(1_767_225_600), "2026-01-01 00:00:00");
    }

    #[test]
    fn robots_and_records_are_lines_that_end_with_how_to_go_on() {
        let page = json!({"robots": [{"account_id": "7", "name": "叉车", "online": true, "model": "",
            "actions": [{"name": "抬起"}, {"name": "sweep"}]}], "next": "7"});
        let told = robots(&page);
        assert!(
            told.contains("抬起 sweep") && told.ends_with("more: --after 7\n"),
            "{told}"
        );
        let page = json!({"records": [{"at_ms": 0, "account": "ana", "address": "::1",
            "action": "group.create", "target": "g7", "outcome": "refused", "code": "FORBIDDEN"}]});
        assert!(
            audit(&page).ends_with("g7      refused FORBIDDEN\n"),
            "{}",
            audit(&page)
        );
    }
}
