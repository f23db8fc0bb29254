//! The highest rate that is sustained: doubled until one is not, halved in between until the answer
//! is close enough, and confirmed by a second run. Pure.

/// How close the answer is: a rate this much higher has failed, in percent.
pub const CLOSE_PERCENT: f64 = 5.0;

/// How much lower the next rate is when the confirmation failed, in percent: close to what failed.
const BACK_PERCENT: f64 = 4.0;

/// Runs of one search. When they are used up there is no answer.
pub const RUNS_MAX: u32 = 24;

/// The lowest rate that is tried, a second.
const RATE_MIN: f64 = 1.0;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Run at this rate, and tell whether it was sustained.
    Run {
        /// Sends a second.
        per_s: f64,
        /// Whether it is the second run at the rate that is about to be the answer.
        confirms: bool,
    },
    /// This is the answer; `None`: nothing was sustained, or not twice.
    Found(Option<f64>),
}

/// A search under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    next: Next,
    /// The highest rate that was sustained once.
    sustained: Option<f64>,
    /// The lowest that was not.
    failed: Option<f64>,
    runs: u32,
}

impl Search {
    /// From this rate.
    #[must_use]
    pub const fn from(per_s: f64) -> Self {
        Self {
            next: Next::Run {
                per_s,
                confirms: false,
            },
            sustained: None,
            failed: None,
            runs: 0,
        }
    }

    /// What to do next.
    #[must_use]
    pub const fn next(&self) -> Next {
        self.next
    }

    /// What became of the run that was asked for.
    pub fn told(&mut self, sustained: bool) {
        let Next::Run { per_s, confirms } = self.next else {
            return;
        };
        self.runs += 1;
        self.next = match (confirms, sustained) {
            (true, true) => Next::Found(Some(per_s)),
            (true, false) => {
                // What a second run does not confirm is not sustained; the truth is below it.
                self.failed = Some(per_s);
                self.sustained = None;
                Self::run(per_s * (1.0 - BACK_PERCENT / 100.0), false)
            }
            (false, true) => {
                self.sustained = Some(per_s);
                self.narrow()
            }
            (false, false) => {
                self.failed = Some(per_s);
                self.narrow()
            }
        };
        if let Next::Run { per_s, .. } = self.next
            && (self.runs >= RUNS_MAX || per_s < RATE_MIN)
        {
            self.next = Next::Found(None);
        }
    }

    fn narrow(&self) -> Next {
        match (self.sustained, self.failed) {
            (Some(good), None) => Self::run(good * 2.0, false),
            (None, Some(bad)) => Self::run(bad / 2.0, false),
            (Some(good), Some(bad)) if bad / good <= 1.0 + CLOSE_PERCENT / 100.0 => {
                Self::run(good, true)
            }
            (Some(good), Some(bad)) => Self::run(f64::midpoint(good, bad), false),
            (None, None) => self.next,
        }
    }

    const fn run(per_s: f64, confirms: bool) -> Next {
        Next::Run { per_s, confirms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a server whose n-th run sustains rates up to `limit(n)`.
    fn search(from: f64, limit: impl Fn(u32) -> f64) -> (Option<f64>, u32) {
        let mut search = Search::from(from);
        let mut runs = 0;
        loop {
            match search.next() {
                Next::Run { per_s, .. } => {
                    search.told(per_s <= limit(runs));
                    runs += 1;
                }
                Next::Found(found) => return (found, runs),
            }
        }
    }

    #[test]
    fn the_answer_is_close_from_above_and_from_below() {
        for from in [1.0, 100.0, 12_345.0, 1e6] {
            let (found, runs) = search(from, |_| 12_345.0);
            let found = found.unwrap();
            let close = 12_345.0 / (1.0 + CLOSE_PERCENT / 100.0);
            assert!((close..=12_345.0).contains(&found), "{from}: {found}");
            assert!(runs <= RUNS_MAX, "{runs}");
        }
    }

    #[test]
    fn what_is_not_confirmed_is_not_the_answer() {
        // The tenth run and those after it find a slower server.
        let (found, _) = search(1_000.0, |run| if run < 9 { 10_000.0 } else { 8_000.0 });
        assert!((7_500.0..=8_000.0).contains(&found.unwrap()), "{found:?}");
    }

    #[test]
    fn a_server_that_sustains_nothing_has_no_answer() {
        assert_eq!(search(1_000.0, |_| 0.0).0, None);
    }

    #[test]
    fn a_search_ends_whatever_it_is_told() {
        let (found, runs) = search(10.0, |_| f64::INFINITY);
        assert_eq!((found, runs), (None, RUNS_MAX));
        let mut ended = Search::from(1.0);
        ended.next = Next::Found(None);
        ended.told(true);
        assert_eq!(ended.next(), Next::Found(None));
    }
}
