//! A command's key, and the states of an outcome: what may follow what.

use std::fmt;
use std::str::FromStr;

use crate::error::Refusal;
use crate::id::ClientMessageId;
use crate::limits::COMMAND_WORD_BYTES_MAX;
use crate::wire::{self, OutcomeCounts, OutcomeState};

/// What makes a command the command that it is. Two with the same key are the same command, whoever
/// sends it and under whichever epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandKey {
    /// The plan, or the operator's own command.
    pub plan: ClientMessageId,
    /// The step within the plan.
    pub step_id: String,
    /// 1, then one more for each repeat of the step.
    pub attempt: u32,
}

impl CommandKey {
    /// Of the first attempt at a step.
    pub fn new(plan: ClientMessageId, step_id: impl Into<String>) -> Self {
        Self {
            plan,
            step_id: step_id.into(),
            attempt: 1,
        }
    }

    /// The command's own id, which is also that of the order that each robot gets.
    #[must_use]
    pub fn id(&self) -> ClientMessageId {
        self.plan.derive(&[
            b"order",
            self.step_id.as_bytes(),
            &self.attempt.to_be_bytes(),
        ])
    }

    /// From the wire.
    ///
    /// # Errors
    /// The field that makes no sense, and why.
    pub fn from_wire(key: Option<wire::CommandKey>) -> Result<Self, Refusal> {
        let key = key.ok_or_else(|| Refusal::bad_request("key: missing"))?;
        let plan = ClientMessageId::from_slice(&key.plan_id)
            .map_err(|error| Refusal::bad_request(format!("plan_id: {error}")))?;
        word("step_id", &key.step_id)?;
        if key.attempt == 0 {
            return Err(Refusal::bad_request("attempt: begins with 1"));
        }
        Ok(Self {
            plan,
            step_id: key.step_id,
            attempt: key.attempt,
        })
    }

    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> wire::CommandKey {
        wire::CommandKey {
            plan_id: self.plan.to_bytes(),
            step_id: self.step_id.clone(),
            attempt: self.attempt,
        }
    }
}

/// `PLAN/STEP/ATTEMPT`.
impl fmt::Display for CommandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.plan, self.step_id, self.attempt)
    }
}

/// Parses what `Display` writes.
impl FromStr for CommandKey {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let malformed = || Refusal::bad_request("write a command as PLAN/STEP/ATTEMPT");
        let (plan, rest) = text.split_once('/').ok_or_else(malformed)?;
        let (step_id, attempt) = rest.rsplit_once('/').ok_or_else(malformed)?;
        Self::from_wire(Some(wire::CommandKey {
            plan_id: plan.parse::<ClientMessageId>()?.to_bytes(),
            step_id: step_id.to_owned(),
            attempt: attempt.parse().map_err(|_| malformed())?,
        }))
    }
}

/// Checks the id of a step or the name of an action.
///
/// # Errors
/// When it is empty, too long, or has control characters or spaces around it.
pub fn word(field: &str, word: &str) -> Result<(), Refusal> {
    if word.is_empty() || word.len() > COMMAND_WORD_BYTES_MAX {
        return Err(Refusal::bad_request(format!(
            "{field}: 1 to {COMMAND_WORD_BYTES_MAX} bytes"
        )));
    }
    if word.chars().any(char::is_control) || word.trim() != word {
        return Err(Refusal::bad_request(format!(
            "{field}: has control characters, or spaces around it"
        )));
    }
    Ok(())
}

/// Every state, in the order of their numbers.
pub const STATES: [OutcomeState; 10] = [
    OutcomeState::Stored,
    OutcomeState::Delivered,
    OutcomeState::Accepted,
    OutcomeState::Running,
    OutcomeState::Finished,
    OutcomeState::Failed,
    OutcomeState::Rejected,
    OutcomeState::Cancelled,
    OutcomeState::Expired,
    OutcomeState::Superseded,
];

/// How far along a state is. An outcome only ever moves to a higher one.
#[must_use]
pub const fn rank(state: OutcomeState) -> u8 {
    match state {
        OutcomeState::Unspecified => 0,
        OutcomeState::Stored => 1,
        OutcomeState::Delivered => 2,
        OutcomeState::Accepted => 3,
        OutcomeState::Running => 4,
        // Said by the server in the robot's absence.
        OutcomeState::Expired => 5,
        OutcomeState::Finished
        | OutcomeState::Failed
        | OutcomeState::Rejected
        | OutcomeState::Cancelled
        | OutcomeState::Superseded => 6,
    }
}

/// Whether nothing more is expected.
#[must_use]
pub const fn is_over(state: OutcomeState) -> bool {
    rank(state) >= rank(OutcomeState::Expired)
}

/// Whether the robot may have begun.
#[must_use]
pub const fn has_begun(state: OutcomeState) -> bool {
    matches!(state, OutcomeState::Accepted | OutcomeState::Running)
}

/// The state after a robot's word. The word is taken if it leads forward: otherwise what stands,
/// stands.
///
/// A robot that was not heard of in time may still say how it ended; but what was expired before it
/// accepted cannot be accepted any more, so that nothing begins late.
#[must_use]
pub const fn after_report(present: OutcomeState, said: OutcomeState) -> OutcomeState {
    if rank(said) > rank(present) {
        said
    } else {
        present
    }
}

/// Adds this many targets in this state.
pub const fn add(counts: &mut OutcomeCounts, state: OutcomeState, targets: u32) {
    let of = match state {
        OutcomeState::Unspecified => return,
        OutcomeState::Stored => &mut counts.stored,
        OutcomeState::Delivered => &mut counts.delivered,
        OutcomeState::Accepted => &mut counts.accepted,
        OutcomeState::Running => &mut counts.running,
        OutcomeState::Finished => &mut counts.finished,
        OutcomeState::Failed => &mut counts.failed,
        OutcomeState::Rejected => &mut counts.rejected,
        OutcomeState::Cancelled => &mut counts.cancelled,
        OutcomeState::Expired => &mut counts.expired,
        OutcomeState::Superseded => &mut counts.superseded,
    };
    *of = of.saturating_add(targets);
}

/// How many targets are in this state.
#[must_use]
pub const fn count(counts: &OutcomeCounts, state: OutcomeState) -> u32 {
    match state {
        OutcomeState::Unspecified => 0,
        OutcomeState::Stored => counts.stored,
        OutcomeState::Delivered => counts.delivered,
        OutcomeState::Accepted => counts.accepted,
        OutcomeState::Running => counts.running,
        OutcomeState::Finished => counts.finished,
        OutcomeState::Failed => counts.failed,
        OutcomeState::Rejected => counts.rejected,
        OutcomeState::Cancelled => counts.cancelled,
        OutcomeState::Expired => counts.expired,
        OutcomeState::Superseded => counts.superseded,
    }
}

/// How many targets there are.
#[must_use]
pub fn total(counts: &OutcomeCounts) -> u32 {
    STATES.iter().map(|state| count(counts, *state)).sum()
}

/// Of how many targets more is expected.
#[must_use]
pub fn open(counts: &OutcomeCounts) -> u32 {
    let open = STATES.iter().filter(|state| !is_over(**state));
    open.map(|state| count(counts, *state)).sum()
}

/// The state's name, for people and in JSON: `finished`.
#[must_use]
pub fn name(state: OutcomeState) -> String {
    let name = state.as_str_name();
    let name = name.strip_prefix("OUTCOME_STATE_").unwrap_or(name);
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_state() -> impl Strategy<Value = OutcomeState> {
        proptest::sample::select(STATES.to_vec())
    }

    proptest! {
        #[test]
        fn an_outcome_only_moves_forward(words in proptest::collection::vec(any_state(), 0..20)) {
            let mut present = OutcomeState::Stored;
            let mut changes = 0;
            for said in words {
                let next = after_report(present, said);
                prop_assert!(next == present || rank(next) > rank(present));
                changes += u32::from(next != present);
                present = next;
            }
            prop_assert!(changes <= 5, "there are six ranks");
        }

        #[test]
        fn what_is_over_is_never_open_again(end in any_state(), said in any_state()) {
            prop_assume!(is_over(end));
            let next = after_report(end, said);
            prop_assert!(is_over(next));
            // Only the server's guess gives way, and only to how it ended.
            prop_assert!(next == end || end == OutcomeState::Expired);
        }

        #[test]
        fn the_order_of_repeats_and_late_words_does_not_matter(
            words in proptest::collection::vec(any_state(), 0..8), shuffled in any::<u64>()
        ) {
            // The same highest word wins, unless two of the highest rank contradict each other.
            let highest = words.iter().map(|word| rank(*word)).max().unwrap_or(0);
            let tops = words.iter().filter(|word| rank(**word) == highest);
            let tops: std::collections::BTreeSet<_> = tops.map(|word| *word as i32).collect();
            prop_assume!(tops.len() == 1);
            let mut other = words.clone();
            let by = usize::try_from(shuffled % 8).unwrap_or(0) % other.len().max(1);
            other.rotate_left(by);
            let fold = |words: &[OutcomeState]| {
                words.iter().fold(OutcomeState::Stored, |at, word| after_report(at, *word))
            };
            prop_assert_eq!(fold(&words), fold(&other));
        }
    }

    #[test]
    fn what_expired_or_was_cancelled_before_it_began_is_not_begun() {
        for end in [OutcomeState::Expired, OutcomeState::Cancelled] {
            assert_eq!(after_report(end, OutcomeState::Accepted), end);
            assert_eq!(after_report(end, OutcomeState::Running), end);
        }
        let late = after_report(OutcomeState::Expired, OutcomeState::Finished);
        assert_eq!(late, OutcomeState::Finished);
    }

    #[test]
    fn counts_add_up() {
        let mut counts = OutcomeCounts::default();
        for state in STATES {
            add(&mut counts, state, 2);
            assert_eq!(count(&counts, state), 2);
        }
        assert_eq!((total(&counts), open(&counts)), (20, 8));
        assert_eq!(name(OutcomeState::Superseded), "superseded");
    }

    /// These cannot change while a command is open anywhere.
    #[test]
    fn golden_ids() {
        let plan = ClientMessageId::new(1_700_000_000_123, [7; 10]);
        let mut key = CommandKey::new(plan, "步骤1");
        let first = key.id();
        key.attempt = 2;
        assert_ne!(first, key.id());
        assert_eq!(first.made_at_ms(), 1_700_000_000_123);
        assert_eq!(CommandKey::from_wire(Some(key.to_wire())), Ok(key.clone()));
        assert_eq!(key.to_string().parse(), Ok(key));
        for wrong in ["", "x/1/1", "018bcfe5-687b-829b-85dc-905096412341/1"] {
            assert!(wrong.parse::<CommandKey>().is_err(), "{wrong}");
        }
        let nameless = wire::CommandKey::default();
        assert!(CommandKey::from_wire(Some(nameless)).is_err());
    }
}
