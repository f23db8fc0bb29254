//! Names of accounts, and patterns of names. Pure.

use protocol::limits::ACCOUNT_NAME_BYTES_MAX;
use protocol::{ErrorCode, Refusal};

/// Whether an account can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=ACCOUNT_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_name)
}

const fn is_of_name(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-')
}

/// Whether it is a pattern: a name, with `*` for any part of it.
///
/// # Errors
/// *Bad request*.
pub fn check(pattern: &str) -> Result<(), Refusal> {
    let is_good = |c: u8| is_of_name(c) || c == b'*';
    if (1..=ACCOUNT_NAME_BYTES_MAX).contains(&pattern.len()) && pattern.bytes().all(is_good) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "name_pattern: 1 to {ACCOUNT_NAME_BYTES_MAX} of A-Z, a-z, 0-9, `.`, `_`, `-` and `*`"
    )))
}

/// Whether the pattern has this name.
///
/// # Errors
/// *Enrolment refused*.
pub fn admit(pattern: &str, name: &str) -> Result<(), Refusal> {
    if matches(pattern.as_bytes(), name.as_bytes()) {
        return Ok(());
    }
    let why = format!("the enrolment token is for names like `{pattern}`");
    Err(Refusal::new(ErrorCode::EnrolmentRefused, why))
}

/// Goes back to the last `*` only, so that it takes no longer than one length times the other.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_the_names_that_it_says() {
        for (pattern, name, expected) in [
            ("lift-1", "lift-1", true),
            ("lift-1", "lift-12", false),
            ("lift-*", "lift-12", true),
            ("lift-*", "lift-", true),
            ("lift-*", "tug-1", false),
            ("*-b-*", "hall-b-b-7", true),
            ("*a*a*", "aba", true),
            ("*a*a*", "ab", false),
            ("*", "anything", true),
        ] {
            assert_eq!(admit(pattern, name).is_ok(), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_long_pattern_takes_no_long_time() {
        let pattern = "*a".repeat(32);
        assert!(!matches(pattern.as_bytes(), "a".repeat(31).as_bytes()));
        assert!(!matches(pattern.as_bytes(), &b"b".repeat(64)));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a b", "机器人", "lift~*", &"x".repeat(65)] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check("lift-*").is_ok() && is_name("lift-1") && !is_name("lift-*"));
    }
}
