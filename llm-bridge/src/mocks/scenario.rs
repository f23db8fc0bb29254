//! What a request meets: which words, which end, which error, and how the stream is cut.

use serde::Deserialize;

/// What one request meets. Without anything: the words that the request asks for, whole and at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// The words; `None` for what the request asks for.
    pub say: Option<String>,
    /// How the answer ends.
    pub end: End,
    /// A documented error instead of an answer, by its name at the provider.
    pub error: Option<String>,
    /// A documented error in the middle of the stream, by its name.
    pub error_in_stream: Option<String>,
    /// The header Retry-After of an error, in seconds.
    pub retry_after_s: Option<u64>,
    /// Before the answer begins, in milliseconds.
    pub first_delay_ms: u64,
    /// Before each piece of a stream, in milliseconds.
    pub piece_delay_ms: u64,
    /// Where the stream is cut into pieces.
    pub cut: Cut,
    /// Whether the connection breaks at such a cut, after the first half of the stream.
    pub breaks: bool,
    /// Whether the stream ends without its usage, as it may when it is interrupted.
    pub without_usage: bool,
    /// Whether characters beyond ASCII are written as escapes.
    pub ascii: bool,
    /// Whether lines end in CR LF.
    pub crlf: bool,
    /// Whether thoughts come before the words, where the provider has such a thing.
    pub thinks: bool,
}

impl Scenario {
    /// With these words.
    #[must_use]
    pub fn say(words: &str) -> Self {
        Self {
            say: Some(words.into()),
            ..Self::default()
        }
    }

    /// With this error.
    #[must_use]
    pub fn error(name: &str) -> Self {
        Self {
            error: Some(name.into()),
            ..Self::default()
        }
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Everything is said.
    #[default]
    Stop,
    /// The bound of tokens is reached.
    Length,
    /// The model says that it will not.
    Refusal,
    /// The provider's filter has cut it.
    Filtered,
    /// The model calls a tool.
    ToolCalls,
}

/// Where a stream is cut into pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// After each event.
    #[default]
    AfterEvents,
    /// Everywhere.
    EveryByte,
    /// In the middle of each character of several bytes.
    InCharacter,
    /// In the middle of each event, and between the two line ends after it.
    InEvent,
    /// In the middle of the name of a field.
    InField,
    /// In JSON strings: after a backslash, and within the digits of an escape.
    InString,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AfterEvents,
        Self::EveryByte,
        Self::InCharacter,
        Self::InEvent,
        Self::InField,
        Self::InString,
    ];
}
