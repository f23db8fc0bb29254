//! How a request is answered: after which delays, and with which failure. From the configuration,
//! or for one request from its header.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// The request header that changes the behaviour for one request.
pub const HEADER: &str = "x-mock-behaviour";

/// How long a delay may be, in milliseconds.
const DELAY_MS_MAX: u64 = 600_000;

/// How a request fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NumberOrWord")]
pub enum Fail {
    /// It does not.
    #[default]
    None,
    /// 401: the key is wrong.
    Unauthorized,
    /// 429: too many requests.
    RateLimited,
    /// 500: the server's fault.
    ServerError,
    /// 503: overloaded.
    Unavailable,
    /// No answer at all.
    Hang,
    /// The connection breaks in the middle of the answer.
    Cut,
}

/// How requests are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Behaviour {
    /// Before the answer, in milliseconds.
    pub delay_ms: u64,
    /// Before each chunk of a streamed answer, in milliseconds.
    pub chunk_delay_ms: u64,
    /// How it fails.
    pub fail: Fail,
    /// Only so many first requests fail; 0 is all of them.
    pub fail_first_n: u64,
    /// Whether the plan is cut off in its middle.
    pub malformed: bool,
}

/// A header that does not say how to behave.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{HEADER}: {0}")]
pub struct BadBehaviour(String);

/// TOML and the environment have 429 as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrWord {
    Number(u16),
    Word(String),
}

impl TryFrom<NumberOrWord> for Fail {
    type Error = String;

    fn try_from(value: NumberOrWord) -> Result<Self, String> {
        match value {
            NumberOrWord::Number(number) => number.to_string().parse(),
            NumberOrWord::Word(word) => word.parse(),
        }
    }
}

impl FromStr for Fail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "401" => Ok(Self::Unauthorized),
            "429" => Ok(Self::RateLimited),
            "500" => Ok(Self::ServerError),
            "503" => Ok(Self::Unavailable),
            "hang" => Ok(Self::Hang),
            "cut" => Ok(Self::Cut),
            other => Err(format!(
                "behaviour.fail: `{other}` is none of none, 401, 429, 500, 503, hang, cut"
            )),
        }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Unauthorized => "401",
            Self::RateLimited => "429",
            Self::ServerError => "500",
            Self::Unavailable => "503",
            Self::Hang => "hang",
            Self::Cut => "cut",
        })
    }
}

impl Behaviour {
    /// This behaviour with what the header asks for over it.
    ///
    /// # Errors
    /// When the header does not parse.
    pub fn with_header(&self, header: &str) -> Result<Self, BadBehaviour> {
        let mut behaviour = self.clone();
        for part in header.split(',').map(str::trim) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(BadBehaviour(format!(
                    "`{part}` is not of the form key=value"
                )));
            };
            let value = value.trim();
            match key.trim() {
                "delay_ms" => behaviour.delay_ms = number(value)?,
                "chunk_delay_ms" => behaviour.chunk_delay_ms = number(value)?,
                "fail" => behaviour.fail = value.parse().map_err(BadBehaviour)?,
                "fail_first_n" => behaviour.fail_first_n = number(value)?,
                "malformed" => {
                    behaviour.malformed = value
                        .parse()
                        .map_err(|_| BadBehaviour(format!("`{value}` is not true or false")))?;
                }
                other => return Err(BadBehaviour(format!("unknown key `{other}`"))),
            }
        }
        Ok(behaviour)
    }

    /// What holds for the nth request, the first being 1: without the failures that are over.
    #[must_use]
    pub fn of_request(&self, nth: u64) -> Self {
        if self.fail_first_n == 0 || nth <= self.fail_first_n {
            return self.clone();
        }
        Self {
            fail: Fail::None,
            malformed: false,
            ..self.clone()
        }
    }

    /// Before the answer.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.min(DELAY_MS_MAX))
    }

    /// Before each chunk.
    #[must_use]
    pub fn chunk_delay(&self) -> Duration {
        Duration::from_millis(self.chunk_delay_ms.min(DELAY_MS_MAX))
    }
}

fn number(text: &str) -> Result<u64, BadBehaviour> {
    text.parse()
        .map_err(|_| BadBehaviour(format!("`{text}` is not a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_changes_only_what_it_names() {
        let base = Behaviour {
            delay_ms: 7,
            ..Behaviour::default()
        };
        let asked = base
            .with_header("fail=429, fail_first_n=2,malformed=true")
            .unwrap();
        let expected = Behaviour {
            delay_ms: 7,
            fail: Fail::RateLimited,
            fail_first_n: 2,
            malformed: true,
            chunk_delay_ms: 0,
        };
        assert_eq!(asked, expected);
        for header in [
            "",
            "fail",
            "fail=418",
            "delay_ms=soon",
            "replay_file=/etc/passwd",
        ] {
            assert!(base.with_header(header).is_err(), "{header}");
        }
    }

    #[test]
    fn failures_end_after_the_first_n() {
        let behaviour = Behaviour {
            fail: Fail::Unavailable,
            fail_first_n: 2,
            ..Behaviour::default()
        };
        let fails = [1, 2, 3].map(|nth| behaviour.of_request(nth).fail);
        assert_eq!(fails, [Fail::Unavailable, Fail::Unavailable, Fail::None]);
        let always = Behaviour {
            fail_first_n: 0,
            ..behaviour
        };
        assert_eq!(always.of_request(1_000).fail, Fail::Unavailable);
    }

    #[test]
    fn a_failure_is_written_as_it_is_read() {
        for word in ["none", "401", "429", "500", "503", "hang", "cut"] {
            assert_eq!(word.parse::<Fail>().unwrap().to_string(), word);
        }
    }
}
