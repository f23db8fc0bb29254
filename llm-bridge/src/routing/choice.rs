//! Which provider is asked next, and when: order, fallback, pauses, circuit breakers and bounds, from
//! the time and what became of the questions so far. Pure.
//!
//! What fails in passing is asked of the next provider at once; this one is asked again after a
//! pause that doubles. A provider that keeps failing is left alone for a while, then tried with one
//! question; one without money or with a wrong key for the longest while. What a provider does not
//! take is asked of the others; what it refuses for its content is asked of nobody else.

use std::time::Duration;

use tokio::time::Instant;

use crate::provider::{ErrorKind, ModelError};

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Requests for one answer, over all providers.
    pub attempts_max: u32,
    /// How long one answer may take, all requests and pauses together.
    pub patience: Duration,
    /// The first pause before a provider is asked again.
    pub backoff_first: Duration,
    /// The longest one.
    pub backoff_last: Duration,
    /// Who asks for a longer pause is not waited for.
    pub retry_after_max: Duration,
    /// So many failures in a row, and a provider is left alone.
    pub failures_max: u32,
    /// For so long at first; it doubles.
    pub alone_first: Duration,
    /// The longest.
    pub alone_last: Duration,
    /// Questions that may wait for a place.
    pub waiting_max: u32,
}

/// What is known of all providers.
#[derive(Debug)]
pub struct Choices {
    policy: Policy,
    targets: Vec<Target>,
    waiting: u32,
}

#[derive(Debug)]
struct Target {
    running_max: u32,
    running: u32,
    /// In a row.
    failures: u32,
    /// How often in a row it was left alone.
    times_alone: u32,
    alone_until: Option<Instant>,
    /// Whether the one question that tries it is under way.
    is_tried: bool,
    /// What it has asked for.
    not_before: Option<Instant>,
}

/// What is known of one question.
#[derive(Debug)]
pub struct Question {
    attempts: u32,
    until: Instant,
    targets: Vec<Asked>,
    error: Option<ModelError>,
    is_over: bool,
    /// Whether its request is the one that tries a provider that was left alone.
    tries: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Asked {
    times: u32,
    is_out: bool,
    not_before: Option<Instant>,
}

/// What is to be done about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask this provider.
    Ask(usize),
    /// Look again then.
    WaitUntil(Instant),
    /// Look again when a place is free, or then.
    WaitForPlace {
        /// When to look again at the latest.
        no_longer_than: Instant,
    },
    /// There is no answer.
    GiveUp(ModelError),
}

impl Question {
    /// Requests so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether its request is the one that tries a provider that was left alone.
    #[must_use]
    pub const fn tries(&self) -> bool {
        self.tries
    }
}

impl Choices {
    /// Providers with these bounds of questions at once.
    #[must_use]
    pub fn new(bounds: &[u32], policy: Policy) -> Self {
        let target = |bound: &u32| Target {
            running_max: (*bound).max(1),
            running: 0,
            failures: 0,
            times_alone: 0,
            alone_until: None,
            is_tried: false,
            not_before: None,
        };
        Self {
            policy,
            targets: bounds.iter().map(target).collect(),
            waiting: 0,
        }
    }

    /// A question begins.
    #[must_use]
    pub fn question(&self, now: Instant) -> Question {
        Question {
            attempts: 0,
            until: now + self.policy.patience,
            targets: vec![Asked::default(); self.targets.len()],
            error: None,
            is_over: false,
            tries: false,
        }
    }

    /// What is to be done. A provider that is to be asked has its place taken; who is told to wait
    /// for a place says so when it waits no more.
    pub fn next(&mut self, now: Instant, question: &mut Question) -> Step {
        if question.is_over || question.attempts >= self.policy.attempts_max {
            return give_up(question, "no attempt is left");
        }
        let (mut earliest, mut is_full) = (None::<Instant>, false);
        for (index, target) in self.targets.iter_mut().enumerate() {
            let asked = &mut question.targets[index];
            if asked.is_out {
                continue;
            }
            let waits = [target.alone_until, target.not_before, asked.not_before];
            match waits.into_iter().flatten().max().filter(|when| *when > now) {
                Some(when) => earliest = Some(earliest.map_or(when, |other| other.min(when))),
                None if target.running >= target.running_max || target.is_tried => is_full = true,
                None => {
                    target.running += 1;
                    question.tries = target.alone_until.is_some();
                    target.is_tried |= question.tries;
                    question.attempts += 1;
                    asked.times += 1;
                    return Step::Ask(index);
                }
            }
        }
        self.wait(now, question, earliest, is_full)
    }

    fn wait(
        &mut self,
        now: Instant,
        question: &mut Question,
        earliest: Option<Instant>,
        is_full: bool,
    ) -> Step {
        let in_time = earliest.filter(|when| *when <= question.until);
        if now >= question.until || (!is_full && in_time.is_none()) {
            return give_up(question, "no provider can be asked in time");
        }
        if !is_full {
            return Step::WaitUntil(in_time.unwrap_or(question.until));
        }
        if self.waiting >= self.policy.waiting_max {
            return give_up(question, "too many questions wait");
        }
        self.waiting += 1;
        Step::WaitForPlace {
            no_longer_than: in_time.unwrap_or(question.until),
        }
    }

    /// Who was told to wait for a place does not any more.
    pub const fn waits_no_more(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A question was dropped while this provider was asked, or tried: nothing is known of it.
    pub fn abandon(&mut self, target: usize, tries: bool) {
        let target = &mut self.targets[target];
        target.running = target.running.saturating_sub(1);
        target.is_tried &= !tries;
    }

    /// What became of a request: no error is an answer. `random` is in `0.0..1.0`. Whether the
    /// provider is left alone from now on.
    pub fn ended(
        &mut self,
        now: Instant,
        target: usize,
        question: &mut Question,
        error: Option<ModelError>,
        random: f64,
    ) -> bool {
        let policy = self.policy;
        let index = target;
        self.abandon(index, question.tries);
        let target = &mut self.targets[index];
        let Some(error) = error else {
            target.failures = 0;
            target.times_alone = 0;
            target.alone_until = None;
            question.is_over = true;
            return false;
        };
        let asked = &mut question.targets[index];
        let has_opened = match (error.kind(), &error) {
            (ErrorKind::Retryable, ModelError::RateLimited { retry_after }) => {
                if let Some(asks) = *retry_after {
                    target.not_before = target.not_before.max(Some(now + asks));
                    asked.is_out = asks > policy.retry_after_max;
                }
                // It is there, and says so.
                target.answered();
                false
            }
            (ErrorKind::Retryable, _) => target.failed(now, &policy),
            (ErrorKind::Quota | ErrorKind::Auth, _) => {
                asked.is_out = true;
                target.alone_until = Some(now + policy.alone_last);
                true
            }
            (ErrorKind::BadRequest, _) => {
                asked.is_out = true;
                target.answered();
                false
            }
            (ErrorKind::ContentRefused, _) => {
                question.is_over = true;
                target.answered();
                false
            }
        };
        asked.not_before = Some(now + policy.backoff(asked.times, random));
        question.error = Some(error);
        has_opened
    }
}

impl Target {
    fn answered(&mut self) {
        self.failures = 0;
        self.alone_until = None;
    }

    fn failed(&mut self, now: Instant, policy: &Policy) -> bool {
        self.failures += 1;
        if self.alone_until.is_some_and(|until| until > now) {
            // It was asked before it was left alone.
            return false;
        }
        let was_tried = self.alone_until.is_some();
        if self.failures < policy.failures_max && !was_tried {
            return false;
        }
        let doubled = 2_u32.saturating_pow(self.times_alone);
        let alone = policy
            .alone_first
            .saturating_mul(doubled)
            .min(policy.alone_last);
        self.times_alone = self.times_alone.saturating_add(1);
        self.alone_until = Some(now + alone);
        true
    }
}

impl Policy {
    /// The pause after so many requests to one provider.
    fn backoff(&self, times: u32, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(times.saturating_sub(1));
        let bound = self
            .backoff_first
            .saturating_mul(doubled)
            .min(self.backoff_last);
        bound.mul_f64(0.5 + random / 2.0)
    }
}

fn give_up(question: &mut Question, why: &str) -> Step {
    question.is_over = true;
    let error = question.error.take();
    Step::GiveUp(error.unwrap_or_else(|| ModelError::Unavailable(why.into())))
}

#[cfg(test)]
mod tests;
