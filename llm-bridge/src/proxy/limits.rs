//! Who may ask now: requests a minute and at once, tokens a day, reserved before a request and
//! settled after it, so that requests at the same time cannot slip past. Pure.

use std::collections::HashMap;

use thiserror::Error;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// The bounds of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// A full bucket; it fills in a minute.
    pub requests_per_minute: u32,
    /// Requests at once.
    pub concurrent_max: u32,
    /// In a day, by UTC.
    pub tokens_per_day: u64,
    /// Clients that are remembered.
    pub clients_max: usize,
}

/// Why a client may not ask now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Too many in a minute.
    #[error("too many requests in a minute")]
    Rate {
        /// When there is room for one more.
        retry_after_s: u64,
    },
    /// Too many at once.
    #[error("too many requests at once")]
    Concurrency,
    /// The day's tokens are spent, or what is left is less than this request may take.
    #[error("the day's tokens are spent")]
    Tokens,
    /// More clients than are remembered.
    #[error("too many clients")]
    Clients,
}

/// What is known of all clients.
#[derive(Debug)]
pub struct Limits {
    bounds: Bounds,
    clients: HashMap<String, Client>,
}

#[derive(Debug, Default)]
struct Client {
    /// In thousandths of a request.
    bucket: u64,
    filled_ms: u64,
    running: u32,
    day: u64,
    /// Spent and reserved.
    tokens: u64,
}

/// Tokens that are set aside for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    day: u64,
    tokens: u64,
}

impl Limits {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            clients: HashMap::new(),
        }
    }

    fn full(&self) -> u64 {
        u64::from(self.bounds.requests_per_minute) * 1000
    }

    fn client(&mut self, name: &str, now_ms: u64) -> Result<&mut Client, Refusal> {
        let full = self.full();
        if !self.clients.contains_key(name) && self.clients.len() >= self.bounds.clients_max {
            // Who has done nothing today is as good as forgotten.
            let today = now_ms / DAY_MS;
            self.clients
                .retain(|_, client| client.running > 0 || client.day == today);
            if self.clients.len() >= self.bounds.clients_max {
                return Err(Refusal::Clients);
            }
        }
        let client = self.clients.entry(name.into()).or_insert_with(|| Client {
            bucket: full,
            filled_ms: now_ms,
            ..Client::default()
        });
        if client.day != now_ms / DAY_MS {
            client.day = now_ms / DAY_MS;
            client.tokens = 0;
        }
        Ok(client)
    }

    /// A request may go on, with so many tokens set aside.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn begin(&mut self, name: &str, tokens: u64, now_ms: u64) -> Result<Reservation, Refusal> {
        let (bounds, full) = (self.bounds, self.full());
        let client = self.client(name, now_ms)?;
        let since_ms = now_ms.saturating_sub(client.filled_ms).min(MINUTE_MS);
        client.bucket = (client.bucket + full * since_ms / MINUTE_MS).min(full);
        client.filled_ms = now_ms;
        if client.bucket < 1000 {
            let missing = 1000 - client.bucket;
            let retry_after_s = (missing * MINUTE_MS / full.max(1)).div_ceil(1000).max(1);
            return Err(Refusal::Rate { retry_after_s });
        }
        if client.running >= bounds.concurrent_max {
            return Err(Refusal::Concurrency);
        }
        if client.tokens.saturating_add(tokens) > bounds.tokens_per_day {
            return Err(Refusal::Tokens);
        }
        client.bucket -= 1000;
        client.running += 1;
        client.tokens += tokens;
        Ok(Reservation {
            day: client.day,
            tokens,
        })
    }

    /// A request has ended and taken so many tokens.
    pub fn end(&mut self, name: &str, reserved: Reservation, tokens: u64) {
        if let Some(client) = self.clients.get_mut(name) {
            client.running = client.running.saturating_sub(1);
            if client.day == reserved.day {
                client.tokens = (client.tokens + tokens).saturating_sub(reserved.tokens);
            }
        }
    }

    /// What was spent before a restart.
    pub fn spent(&mut self, name: &str, tokens: u64, then_ms: u64, now_ms: u64) {
        if then_ms / DAY_MS == now_ms / DAY_MS
            && let Ok(client) = self.client(name, now_ms)
        {
            client.tokens = client.tokens.saturating_add(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        requests_per_minute: 4,
        concurrent_max: 2,
        tokens_per_day: 1000,
        clients_max: 2,
    };

    #[test]
    fn tokens_are_set_aside_so_that_requests_at_once_do_not_slip_past() {
        let mut limits = Limits::new(BOUNDS);
        let first = limits.begin("a", 600, 0).unwrap();
        assert_eq!(limits.begin("a", 600, 0), Err(Refusal::Tokens));
        limits.end("a", first, 100);
        let second = limits.begin("a", 900, 0).unwrap();
        limits.end("a", second, 900);
        assert_eq!(limits.begin("a", 1, 0), Err(Refusal::Tokens));
        assert!(
            limits.begin("b", 1000, 0).is_ok(),
            "each client has its own"
        );
        let tomorrow = limits.begin("a", 1000, DAY_MS).unwrap();
        limits.end("a", tomorrow, 10);
    }

    #[test]
    fn a_request_that_began_yesterday_is_settled_in_no_other_day() {
        let mut limits = Limits::new(BOUNDS);
        let old = limits.begin("a", 600, DAY_MS - 1).unwrap();
        let new = limits.begin("a", 500, DAY_MS).unwrap();
        limits.end("a", old, 0);
        assert_eq!(limits.begin("a", 600, DAY_MS), Err(Refusal::Tokens));
        limits.end("a", new, 0);
        assert!(limits.begin("a", 600, DAY_MS).is_ok());
    }

    #[test]
    fn requests_are_bounded_in_a_minute_and_at_once() {
        let mut limits = Limits::new(BOUNDS);
        let one = limits.begin("a", 0, 0).unwrap();
        let two = limits.begin("a", 0, 0).unwrap();
        assert_eq!(limits.begin("a", 0, 0), Err(Refusal::Concurrency));
        limits.end("a", one, 0);
        limits.end("a", two, 0);
        for _ in 0..2 {
            let its = limits.begin("a", 0, 0).unwrap();
            limits.end("a", its, 0);
        }
        assert_eq!(
            limits.begin("a", 0, 0),
            Err(Refusal::Rate { retry_after_s: 15 })
        );
        assert!(limits.begin("a", 0, 15_000).is_ok());
    }

    #[test]
    fn clients_are_bounded_and_those_of_yesterday_forgotten() {
        let mut limits = Limits::new(BOUNDS);
        for name in ["a", "b"] {
            let its = limits.begin(name, 0, 0).unwrap();
            limits.end(name, its, 0);
        }
        assert_eq!(limits.begin("c", 0, 0), Err(Refusal::Clients));
        assert!(limits.begin("c", 0, DAY_MS).is_ok());
    }

    #[test]
    fn what_was_spent_today_outlives_a_restart() {
        let mut limits = Limits::new(BOUNDS);
        limits.spent("a", 900, 2 * DAY_MS, 2 * DAY_MS + 1);
        limits.spent("a", 900, DAY_MS, 2 * DAY_MS + 1);
        assert!(limits.begin("a", 100, 2 * DAY_MS + 2).is_ok());
        assert_eq!(limits.begin("a", 1, 2 * DAY_MS + 2), Err(Refusal::Tokens));
    }
}
