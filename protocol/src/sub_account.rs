//! Sub-accounts of an operator: many accounts over one token, for load tests and for drivers that
//! speak for many.
//!
//! `TOKEN~17` in Hello is the seventeenth sub-account of whoever the token speaks for, and its name
//! is `NAME~17`. No credential can be issued for such a name, and no token has a `~`, so that a
//! sub-account is never mistaken for an account of its own.

use std::fmt;

/// Stands between a token, or a name, and the number.
pub const SEPARATOR: char = '~';

/// A number that is none of a sub-account's: not a plain decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadNumber;

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a sub-account's number is decimal, without leading zeros"
        )
    }
}

impl std::error::Error for BadNumber {}

/// What a client presents for a sub-account, and what such an account is called.
#[must_use]
pub fn of(token_or_name: &str, number: u32) -> String {
    format!("{token_or_name}{SEPARATOR}{number}")
}

/// The token, and the number if it is for a sub-account. One number has one form.
///
/// # Errors
/// When what follows the separator is no number.
pub fn split(presented: &str) -> Result<(&str, Option<u32>), BadNumber> {
    let Some((token, digits)) = presented.split_once(SEPARATOR) else {
        return Ok((presented, None));
    };
    let number: u32 = digits.parse().map_err(|_| BadNumber)?;
    if number.to_string() == digits {
        Ok((token, Some(number)))
    } else {
        Err(BadNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_from_the_number_behind_it() {
        assert_eq!(split("a.b.c"), Ok(("a.b.c", None)));
        assert_eq!(split(&of("a.b.c", 0)), Ok(("a.b.c", Some(0))));
        assert_eq!(split(&of("a.b.c", u32::MAX)), Ok(("a.b.c", Some(u32::MAX))));
    }

    #[test]
    fn a_number_has_one_form() {
        for bad in [
            "t~",
            "t~01",
            "t~+1",
            "t~-1",
            "t~1~1",
            "t~x",
            "t~ 1",
            "t~4294967296",
        ] {
            assert_eq!(split(bad), Err(BadNumber), "{bad}");
        }
    }
}
