//! Logins that fail, and how long the next attempt has to wait: twice as long each time.
//!
//! A failure is charged to the account that was claimed *and* the address that claimed it. So an
//! attacker delays neither an account for its owner elsewhere, nor the other robots behind its own
//! address; and a token that was good a while ago here passes whatever else fails beside it.
//!
//! Pure. Not here: whether a credential is good (logic).

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio::time::Instant;

use crate::addresses::site;

/// So many failures are free: a person mistypes, a token expires.
const FREE_FAILURES: u32 = 3;

/// The wait after the first that is not.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// After so long without a failure, none is remembered.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Who has failed, some 6 MiB. When full: those are forgotten whose wait is over; if that makes no
/// room, a new one is not remembered, and counted.
const FAILED_MAX: usize = 64 * 1024;

/// Credentials that were good, as hashes: 0.5 MiB. When full it begins anew.
const GOOD_MAX: usize = 32 * 1024;

/// What a client presents.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Where from.
    pub address: IpAddr,
    /// The subject of the certificate, which TLS has verified; empty: none.
    pub certificate_subject: &'a str,
    /// The token, which nobody has verified; empty: none.
    pub token: &'a str,
}

/// Who is counted: as hashes, so that one who fails chooses neither the size nor the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    address: IpAddr,
    claimed: u64,
    credential: u64,
}

/// All failures that are remembered.
#[derive(Debug, Default)]
pub struct Failures {
    hasher: RandomState,
    failed: HashMap<(IpAddr, u64), Failed>,
    good: HashSet<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    last: Instant,
}

/// Whether a failure could be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// Yes.
    Yes,
    /// There is no room.
    NoRoom,
}

impl Failures {
    /// Who this is, to be asked about and charged.
    #[must_use]
    pub fn attempt(&self, presented: &Presented<'_>) -> Attempt {
        let Presented {
            certificate_subject,
            token,
            ..
        } = *presented;
        // Nobody can claim in a token what a certificate says: they are charged apart.
        let claimed = if certificate_subject.is_empty() {
            // What makes no sense is one and the same at an address.
            ("token", claimed_subject(token).unwrap_or_default())
        } else {
            ("certificate", certificate_subject.to_owned())
        };
        // The number of a sub-account is no part of what is signed.
        let signed = token.split('~').next();
        Attempt {
            address: site(presented.address),
            claimed: self.hasher.hash_one(claimed),
            credential: self.hasher.hash_one((certificate_subject, signed)),
        }
    }

    /// One who asks for a credential in the name of this account. No success makes up for failures:
    /// who has failed may be somebody else.
    #[must_use]
    pub fn attempt_at(&self, address: IpAddr, realm: &'static str, name: &str) -> Attempt {
        Attempt {
            address: site(address),
            claimed: self.hasher.hash_one((realm, name)),
            credential: self.hasher.hash_one((realm, name, "never good")),
        }
    }

    /// Whether it may try now, or how long it has to wait.
    ///
    /// # Errors
    /// How long.
    pub fn check(&self, attempt: &Attempt, now: Instant) -> Result<(), Duration> {
        if self.good.contains(&attempt.credential) {
            return Ok(());
        }
        let Some(failed) = self.failed.get(&(attempt.address, attempt.claimed)) else {
            return Ok(());
        };
        let until = failed.last + failed.delay();
        match until.checked_duration_since(now) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => Ok(()),
        }
    }

    /// It has failed.
    pub fn failed(&mut self, attempt: &Attempt, now: Instant) -> Remembered {
        self.good.remove(&attempt.credential);
        let key = (attempt.address, attempt.claimed);
        if self.failed.len() >= FAILED_MAX && !self.failed.contains_key(&key) {
            self.failed
                .retain(|_, failed| now < failed.last + failed.delay());
            if self.failed.len() >= FAILED_MAX {
                return Remembered::NoRoom;
            }
        }
        let failed = self.failed.entry(key).or_insert(Failed {
            times: 0,
            last: now,
        });
        if now.saturating_duration_since(failed.last) > FORGOTTEN_AFTER {
            failed.times = 0;
        }
        failed.times = failed.times.saturating_add(1);
        failed.last = now;
        Remembered::Yes
    }

    /// It was let in. What others failed at in its name is not forgiven.
    pub fn succeeded(&mut self, attempt: &Attempt) {
        if self.good.len() >= GOOD_MAX {
            self.good.clear();
        }
        self.good.insert(attempt.credential);
    }
}

impl Failed {
    fn delay(&self) -> Duration {
        match self.times.checked_sub(FREE_FAILURES) {
            None | Some(0) => Duration::ZERO,
            Some(charged) => {
                let doubled = 1_u32.checked_shl(charged - 1).unwrap_or(u32::MAX);
                FIRST_DELAY.saturating_mul(doubled).min(DELAY_MAX)
            }
        }
    }
}

/// Whom a token says that it speaks for. Not verified: it says who is to be charged, and nothing
/// more.
fn claimed_subject(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(claims.sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn token(subject: &str, signature: &str) -> String {
        let claims = format!(r#"{{"sub":"{subject}","iat":0,"exp":1}}"#);
        format!("e30.{}.{signature}", URL_SAFE_NO_PAD.encode(claims))
    }

    fn by_token(address: IpAddr, token: &str) -> Presented<'_> {
        Presented {
            address,
            certificate_subject: "",
            token,
        }
    }

    /// How long the wait is after so many failures.
    fn delays(failures: &mut Failures, attempt: &Attempt, now: Instant) -> Vec<u64> {
        let delay = |_| {
            failures.failed(attempt, now);
            let wait = failures.check(attempt, now).err().unwrap_or_default();
            u64::try_from(wait.as_millis()).unwrap()
        };
        (0..13).map(delay).collect()
    }

    #[test]
    fn waits_double_up_to_a_minute_and_are_forgotten() {
        let mut failures = Failures::default();
        let forged = token("ana", "x");
        let attempt = failures.attempt(&by_token(HERE, &forged));
        let now = Instant::now();
        let expected = [
            0, 0, 0, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000,
        ];
        assert_eq!(delays(&mut failures, &attempt, now), expected);
        assert!(failures.check(&attempt, now + DELAY_MAX).is_ok());
        let later = now + FORGOTTEN_AFTER + Duration::from_millis(1);
        failures.failed(&attempt, later);
        assert!(failures.check(&attempt, later).is_ok(), "free again");
    }

    #[test]
    fn who_fails_is_charged_and_nobody_beside_it() {
        let mut failures = Failures::default();
        let now = Instant::now();
        let (forged, again) = (token("ana", "x"), token("ana", "y"));
        let attempt = failures.attempt(&by_token(HERE, &forged));
        delays(&mut failures, &attempt, now);
        let may = |failures: &Failures, presented: &Presented<'_>| {
            failures.check(&failures.attempt(presented), now).is_ok()
        };
        // Another forgery in the same name, from the same address, is the same.
        assert!(!may(&failures, &by_token(HERE, &again)));
        let (good, in_its_name) = (token("ben", "z"), token("im://dev/robot/lift-1", "x"));
        let forger = failures.attempt(&by_token(HERE, &in_its_name));
        delays(&mut failures, &forger, now);
        let robot = Presented {
            address: HERE,
            certificate_subject: "im://dev/robot/lift-1",
            token: "",
        };
        assert!(may(&failures, &by_token(HERE, &good)), "another account");
        assert!(may(&failures, &by_token(THERE, &again)), "another address");
        assert!(may(&failures, &robot), "a robot beside it");
    }

    #[test]
    fn what_makes_no_sense_is_charged_to_its_address_as_one() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for n in 0..6 {
            let nonsense = format!("nonsense {n}");
            let attempt = failures.attempt(&by_token(HERE, &nonsense));
            failures.failed(&attempt, now);
        }
        let next = failures.attempt(&by_token(HERE, "something else"));
        assert!(failures.check(&next, now).is_err());
        let ana = token("ana", "x");
        let ana = failures.attempt(&by_token(HERE, &ana));
        assert!(failures.check(&ana, now).is_ok());
    }

    #[test]
    fn a_token_that_was_good_passes_whatever_fails_in_its_name() {
        let mut failures = Failures::default();
        let now = Instant::now();
        let (good, forged) = (token("ana", "good"), token("ana", "forged"));
        let ana = failures.attempt(&by_token(HERE, &good));
        failures.succeeded(&ana);
        let attacker = failures.attempt(&by_token(HERE, &forged));
        delays(&mut failures, &attacker, now);
        assert!(failures.check(&ana, now).is_ok());
        assert!(failures.check(&attacker, now).is_err());
        // Until it is refused itself.
        failures.failed(&ana, now);
        assert!(failures.check(&ana, now).is_err());
    }

    #[test]
    fn it_is_bounded() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for n in 0..FAILED_MAX as u64 {
            let attempt = Attempt {
                address: HERE,
                claimed: n,
                credential: n,
            };
            for _ in 0..5 {
                assert_eq!(failures.failed(&attempt, now), Remembered::Yes);
            }
        }
        let one_more = Attempt {
            address: THERE,
            claimed: 0,
            credential: 0,
        };
        assert_eq!(failures.failed(&one_more, now), Remembered::NoRoom);
        let later = now + DELAY_MAX;
        assert_eq!(failures.failed(&one_more, later), Remembered::Yes);
        assert_eq!(
            failures.failed.len(),
            1,
            "those whose wait is over made room"
        );
    }
}
