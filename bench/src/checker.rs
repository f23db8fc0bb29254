//! The checker: reads the record of a run and says, per conversation, what was promised and not
//! kept. Pure.
//!
//! It shares no code with the servers or the SDK: it knows the lines of [`crate::record`] and
//! nothing else. Who was a member when is derived from the membership entries of the log that a
//! fresh client read back in the end.
//!
//! Read in this order: [`verdict`] (what can be wrong), `collect` (the record, sorted by
//! conversation), `members` (who may see what), `numbers` (the log and its numbers), `sends`,
//! `deliveries` (what each member was handed).

pub mod verdict;

mod collect;
mod deliveries;
mod members;
mod numbers;
mod sends;

use crate::record::Event;

pub use self::verdict::{Kind, Verdict};

use self::collect::Collected;
use self::verdict::Findings;

/// Judges a whole record.
///
/// # Errors
/// That of a line which could not be read.
pub fn check<E>(events: impl IntoIterator<Item = Result<Event, E>>) -> Result<Verdict, E> {
    let mut collected = Collected::default();
    for event in events {
        collected.take(event?);
    }
    Ok(judge(&collected))
}

fn judge(collected: &Collected) -> Verdict {
    let mut verdict = Verdict {
        incomplete: collected.incomplete(),
        ..Verdict::default()
    };
    for (number, conversation) in &collected.conversations {
        let mut findings = Findings::new(&conversation.id);
        let mut log = numbers::Log::of(conversation, collected, &mut findings);
        let memberships = members::of_log(conversation);
        for (client, handed) in &conversation.handed {
            numbers::judge_numbers(*client, *number, handed, collected, &mut log, &mut findings);
        }
        sends::judge(*number, collected, &mut log, &mut findings);
        numbers::judge_the_rest(collected, conversation, &log, &mut findings);
        deliveries::judge(collected, conversation, &log, &memberships, &mut findings);
        verdict.add(findings);
    }
    verdict
}

#[cfg(test)]
mod tests;
