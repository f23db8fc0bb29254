//! The rules of sends: each ends in time, what was acknowledged is in the log and what was refused
//! is not, and what a journal kept is brought to an end by the next run.

use super::collect::{Collected, Send};
use super::numbers::{Log, sent_there};
use super::verdict::{Findings, Kind};
use crate::record::{Outcome, Says};

/// How much later than its send timeout an end may be recorded, beside what the harness was late by.
const LATE_GRACE_US: u64 = 1_000_000;

/// A send's end waits for its turn in the harness twice: in the client, and in the recorder.
const TURNS: u64 = 2;

/// The sends to one conversation.
pub(super) fn judge(number: u32, collected: &Collected, log: &mut Log, findings: &mut Findings) {
    let Some(conversation) = collected.conversations.get(&number) else {
        return;
    };
    for message in &conversation.sends {
        let Some(send) = collected.sends.get(message) else {
            continue;
        };
        findings.sent += 1;
        judge_time(*message, send, collected, findings);
        match send.ended.as_ref().map(|(_, outcome)| outcome) {
            Some(Outcome::Acked { sequence }) => {
                findings.acked += 1;
                let told = format!("acknowledged to client {}", send.client);
                log.agree(&told, *sequence, Says::Message(*message), findings);
            }
            Some(outcome @ (Outcome::Refused { .. } | Outcome::NotSent)) => {
                if matches!(outcome, Outcome::NotSent) {
                    findings.unanswered += 1;
                } else {
                    findings.refused += 1;
                }
                if let Some(place) = log.places.get(message) {
                    findings.broken(Kind::StoredThoughRefused, || {
                        format!("message {message} ended in {outcome:?} and is {place}")
                    });
                }
            }
            Some(Outcome::Unknown) | None => findings.unanswered += 1,
        }
        judge_resolved(*message, send, collected, log, findings);
    }
    for message in log.places.keys() {
        if !sent_there(collected, *message, number) {
            findings.broken(Kind::Altered, || format!("message {message} in the log"));
        }
    }
}

fn judge_time(message: u64, send: &Send, collected: &Collected, findings: &mut Findings) {
    let took = |at: u64| at.saturating_sub(send.at_us);
    let due = send.at_us.saturating_add(collected.send_timeout_us);
    let in_time = |at: u64| {
        at <= due + LATE_GRACE_US || at <= due + LATE_GRACE_US + TURNS * collected.lag(due, at)
    };
    if !send.ended.as_ref().is_some_and(|(at, _)| in_time(*at)) {
        findings.broken(Kind::LateSend, || match &send.ended {
            Some((at, _)) => format!(
                "message {message} of client {} took {} ms",
                send.client,
                took(*at) / 1000
            ),
            None => format!("message {message} of client {} never ended", send.client),
        });
    }
    if let Some((at, _)) = &send.ended {
        findings.slowest_send_ms = findings.slowest_send_ms.max(took(*at) / 1000);
    }
}

/// What became of it after a restart of its client, if that has a journal.
fn judge_resolved(
    message: u64,
    send: &Send,
    collected: &Collected,
    log: &mut Log,
    findings: &mut Findings,
) {
    let unknown = matches!(send.ended, Some((_, Outcome::Unknown)) | None);
    match &send.resolved {
        Some(Outcome::Acked { sequence }) => {
            findings.resolved += 1;
            let told = format!("acknowledged to client {} after a restart", send.client);
            log.agree(&told, *sequence, Says::Message(message), findings);
        }
        Some(outcome) => {
            findings.resolved += 1;
            if let Some(place) = log.places.get(&message) {
                findings.broken(Kind::StoredThoughRefused, || {
                    format!("message {message} was resolved as {outcome:?} and is {place}")
                });
            }
        }
        None => {
            let last_run = collected.last_runs.get(&send.client).copied();
            let has_next = send.run < last_run.unwrap_or(1);
            if unknown && has_next && collected.journals.contains(&send.client) {
                findings.broken(Kind::Forgotten, || {
                    format!(
                        "message {message} of run {} of client {}",
                        send.run, send.client
                    )
                });
            }
        }
    }
}
