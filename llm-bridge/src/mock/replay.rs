//! A recording of answers: a `chat.completion` object a line, as a provider sent it.

use serde::Deserialize;
use thiserror::Error;

/// Recorded answers, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    contents: Vec<String>,
}

/// A file that is not a recording.
#[derive(Debug, Error)]
pub enum BadRecording {
    /// It has no line.
    #[error("the recording is empty")]
    Empty,
    /// A line is not an answer.
    #[error("line {line} is not a chat.completion with a text: {source}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A line has no choice.
    #[error("line {0} has no choice")]
    NoChoice(usize),
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// When a line is no answer, or there is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadRecording> {
        let mut contents = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let line_number = index + 1;
            let completion: Completion =
                serde_json::from_slice(line).map_err(|source| BadRecording::Line {
                    line: line_number,
                    source,
                })?;
            let choice = completion.choices.into_iter().next();
            let choice = choice.ok_or(BadRecording::NoChoice(line_number))?;
            contents.push(choice.message.content);
        }
        if contents.is_empty() {
            return Err(BadRecording::Empty);
        }
        Ok(Self { contents })
    }

    /// The content for the nth request, the first being 1; the last for every one after it.
    #[must_use]
    pub fn content(&self, nth: u64) -> &str {
        let index = usize::try_from(nth.saturating_sub(1)).unwrap_or(usize::MAX);
        let last = self.contents.len().saturating_sub(1);
        self.contents
            .get(index.min(last))
            .map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_the_last_stays() {
        let line = |text: &str| format!(r#"{{"choices":[{{"message":{{"content":"{text}"}}}}]}}"#);
        let file = format!("{}\n\n{}\n", line("one"), line("two"));
        let recording = Recording::parse(file.as_bytes()).unwrap();
        let contents = [1, 2, 3].map(|nth| recording.content(nth));
        assert_eq!(contents, ["one", "two", "two"]);
    }

    #[test]
    fn what_is_no_answer_is_refused_with_its_line() {
        for (file, reason) in [
            ("", "the recording is empty"),
            ("\n{}", "line 2 is not"),
            (r#"{"choices":[]}"#, "line 1 has no choice"),
        ] {
            let error = Recording::parse(file.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
