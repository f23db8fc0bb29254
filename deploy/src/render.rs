//! Entries of a log as lines of a terminal. Pure.

use std::collections::BTreeMap;

use client_sdk::content::{self, Content, References};
use client_sdk::protocol::wire::{self, Outcome};
use client_sdk::{Account, AccountId, AccountKind, Entry, EntryKind, Message, Role};

use crate::story::state_word;

/// The names of the accounts that are known.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<AccountId, String>);

impl Names {
    /// Of the members of a group.
    #[must_use]
    pub fn of(members: &[Account]) -> Self {
        let named = |member: &Account| (member.id, member.name.clone());
        Self(members.iter().map(named).collect())
    }

    /// Whether this account has a name here.
    #[must_use]
    pub fn knows(&self, account: AccountId) -> bool {
        account.0 == 0 || self.0.contains_key(&account)
    }

    /// Learns who these are.
    pub fn learn_all(&mut self, accounts: &[Account]) {
        let named = |account: &Account| (account.id, account.name.clone());
        self.0.extend(accounts.iter().map(named));
    }

    /// Learns who comes.
    pub fn learn(&mut self, content: &Content) {
        if let Content::Membership(membership) = content {
            for change in &membership.changes {
                let account = AccountId(change.account_id);
                self.0.insert(account, change.name.clone());
            }
        }
    }

    fn get(&self, account: AccountId) -> String {
        match self.0.get(&account) {
            Some(name) => name.clone(),
            None if account.0 == 0 => "server".into(),
            None => format!("account {account}"),
        }
    }
}

/// A message as it comes.
#[must_use]
pub fn message(message: &Message, names: &mut Names) -> String {
    names.learn(&message.content);
    let who = names.get(message.sender);
    let time = &timestamp(message.committed_at_ms)[11..];
    let words = references(&message.refers, names) + &words(&message.content);
    let words = on_one_screen(&words);
    format!("{time} #{} {who}: {words}", message.sequence)
}

/// An entry of history.
#[must_use]
pub fn entry(entry: &Entry, names: &mut Names) -> String {
    let time = timestamp(entry.committed_at_ms);
    let number = entry.sequence;
    let Some(told) = &entry.content else {
        let is_recalled = entry.kind == EntryKind::Recalled;
        let why = if is_recalled {
            "taken back"
        } else {
            "not to be read"
        };
        return format!("{time} #{number} ({why})");
    };
    names.learn(told);
    let who = names.get(entry.sender);
    let words = on_one_screen(&(references(&entry.refers, names) + &words(told)));
    format!("{time} #{number} {who}: {words}")
}

fn words(content: &Content) -> String {
    match content {
        Content::Text(text) => text.text.clone(),
        Content::Data(data) => format!("({}, {} bytes)", data.schema, data.payload.len()),
        Content::Instruction(instruction) => format!("asks: {}", instruction.text),
        Content::Plan(plan) => plan_lines(plan),
        Content::Command(command) => format!(
            "command {}: {} {}",
            command.step_id, command.action, command.arguments_json
        ),
        Content::StepUpdate(update) => step_update(update),
        Content::Summary(summary) => format!(
            "{}, {} of {} steps finished, {} failed: {}",
            outcome_word(summary.outcome()),
            summary.steps_finished,
            summary.steps_planned,
            summary.steps_failed,
            summary.text
        ),
        Content::Membership(membership) => changes(membership),
        Content::Recall(recall) => format!("takes #{} back", recall.target_sequence),
        Content::Edit(edit) => {
            let anew = content::edited(edit).map_or_else(String::new, |anew| words(&anew));
            format!("says #{} anew: {anew}", edit.target_sequence)
        }
        Content::Group(change) => regrouped(change),
        Content::Media(media) => {
            let (name, caption) = (&media.name, &media.caption);
            format!(
                "({} {name}, {} bytes) {caption}",
                media.media_type, media.bytes
            )
        }
        Content::Pose(pose) => place(pose),
        Content::Estop(stop) => format!("EMERGENCY STOP: {}", stop.reason),
        Content::EstopRelease(release) => format!(
            "releases {} emergency stop(s): {}",
            release.stop_ids.len(),
            release.reason
        ),
    }
}

fn place(pose: &wire::Pose) -> String {
    match &pose.place {
        Some(wire::pose::Place::OnMap(at)) => {
            format!("at {:.2}, {:.2} on {}", at.x, at.y, at.map_id)
        }
        Some(wire::pose::Place::OnEarth(at)) => {
            format!("at {:.6}, {:.6}", at.latitude, at.longitude)
        }
        None => "at an unknown place".into(),
    }
}

/// What stands before the words of a message that refers to something.
fn references(refers: &References, names: &Names) -> String {
    let mut words = String::new();
    if let Some(entry) = refers.reply_to {
        words += &format!("(to #{entry}) ");
    }
    for account in &refers.mentions {
        words += &format!("@{} ", names.get(*account));
    }
    words
}

fn plan_lines(plan: &wire::Plan) -> String {
    let mut lines = vec![format!(
        "plan {} ({}): {}",
        plan.version, plan.model, plan.note
    )];
    lines.extend(plan.steps.iter().map(|step| {
        let after = match step.depends_on.as_slice() {
            [] => String::new(),
            steps => format!(" after {}", steps.join(", ")),
        };
        let (id, robot) = (&step.step_id, &step.robot_name);
        format!(
            "{id}{after}: {robot} {} {}",
            step.action, step.arguments_json
        )
    }));
    lines.join("\n")
}

fn step_update(update: &wire::StepUpdate) -> String {
    let state = state_word(update.state());
    let words = match (update.reason.as_str(), update.result_json.as_str()) {
        ("", "") => String::new(),
        ("", result) => format!(" {result}"),
        (reason, _) => format!(": {reason}"),
    };
    format!("step {} {state}{words}", update.step_id)
}

fn changes(membership: &wire::MembershipChange) -> String {
    let names = |joined: bool| {
        let changes = membership.changes.iter();
        let such = changes.filter(|change| change.joined == joined);
        let names: Vec<_> = such.map(|change| change.name.as_str()).collect();
        names.join(", ")
    };
    let becomes = |change: &wire::RoleChange| {
        let role = role_word(change.role());
        format!("{} is {role} now", change.name)
    };
    if membership.changes.is_empty() {
        let roles: Vec<_> = membership.roles.iter().map(becomes).collect();
        return roles.join(", ");
    }
    match (names(true), names(false)) {
        (joined, left) if left.is_empty() => format!("joined: {joined}"),
        (joined, left) if joined.is_empty() => format!("left: {left}"),
        (joined, left) => format!("joined: {joined}; left: {left}"),
    }
}

fn regrouped(change: &wire::GroupChange) -> String {
    if change.dissolved {
        return "dissolved the group".into();
    }
    let mut words = Vec::new();
    if !change.name.is_empty() {
        words.push(format!("the group is called {}", change.name));
    }
    let set = change.set.iter();
    words.extend(set.map(|its| format!("{} = {}", its.key, its.value)));
    words.extend(change.unset.iter().map(|key| format!("no {key}")));
    words.join(", ")
}

/// A role for people.
#[must_use]
pub const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "nothing",
        Role::Owner => "owner",
        Role::Admin => "admin",
        Role::Member => "member",
        Role::Observer => "observer",
    }
}

/// A kind of account for people.
#[must_use]
pub const fn kind_word(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Unspecified => "unknown",
        AccountKind::Robot => "robot",
        AccountKind::Operator => "operator",
        AccountKind::Planner => "planner",
    }
}

/// The planner's verdict for people.
#[must_use]
pub const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "no outcome",
        Outcome::Done => "done",
        Outcome::PartlyDone => "partly done",
        Outcome::Declined => "declined",
    }
}

/// What others wrote must not steer the terminal; further lines are indented.
pub(crate) fn on_one_screen(words: &str) -> String {
    let harmless = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    let words: String = words.chars().map(harmless).collect();
    words.trim_end().replace('\n', "\n    ")
}

/// UTC, as "2026-01-31 23:59:59".
fn timestamp(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date (Hinnant): years of 365.2425 days that begin in March.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_999, "2000-02-28 23:59:59"),
            (951_868_799_000, "2000-02-29 23:59:59"),
            (1_704_067_200_000, "2024-01-01 00:00:00"),
            (1_740_787_199_000, "2025-02-28 23:59:59"),
            (1_740_787_200_000, "2025-03-01 00:00:00"),
        ] {
            assert_eq!(timestamp(unix_ms), text);
        }
    }

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        assert_eq!(
            on_one_screen("a\u{1b}[2Jb\r\n箱子\n"),
            "a\u{fffd}[2Jb\u{fffd}\n    箱子"
        );
    }

    #[test]
    fn who_comes_is_known_from_then_on() {
        let mut names = Names::default();
        assert_eq!(names.get(AccountId(7)), format!("account {}", AccountId(7)));
        let change = wire::MemberChange {
            account_id: 7,
            name: "lift-1".into(),
            joined: true,
            ..wire::MemberChange::default()
        };
        let membership = wire::MembershipChange {
            roles: vec![],
            changes: vec![change],
        };
        assert_eq!(changes(&membership), "joined: lift-1");
        names.learn(&Content::Membership(membership));
        assert_eq!(names.get(AccountId(7)), "lift-1");
        assert_eq!(names.get(AccountId(0)), "server");
    }
}
