//! The word lists of the fleet on the way of a message, read from a file that may change at any time.
//!
//! What was stored stays what it was: whether a message is a repeat is found out by the store, by
//! what its sender said. So a block travels with the message and holds for new ids alone, and what
//! is masked travels beside the original ([`crate::send::Outgoing`]). Not here: the search
//! ([`crate::word_rules`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use protocol::content::{self, Content};
use protocol::{AccountId, ErrorCode, Refusal};
use service_kit::drain::Drain;
use thiserror::Error;

use crate::events;
use crate::send::Outgoing;
use crate::word_rules::{RulesError, WordRules};

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest file, in bytes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The lists that hold now.
#[derive(Debug, Default)]
pub struct ContentRules {
    file: Option<PathBuf>,
    now: RwLock<Option<Arc<WordRules>>>,
}

/// A file that cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("content.rules: cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is too long.
    #[error("content.rules: {0} is longer than {FILE_BYTES_MAX} bytes")]
    TooLong(PathBuf),
    /// It makes no sense.
    #[error("content.rules: {path}")]
    Rules {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RulesError,
    },
}

/// When a file was written, and how long it is.
type Version = Option<(SystemTime, u64)>;

impl ContentRules {
    /// Of this file; an empty path: there are none.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(file: &Path) -> Result<Self, FileError> {
        if file.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let rules = read(file)?;
        events::content_rules_read(rules.words());
        Ok(Self {
            file: Some(file.to_owned()),
            now: RwLock::new(Some(Arc::new(rules))),
        })
    }

    /// Reads the file again whenever it has changed, until the drain. Ends at once when there is
    /// none.
    pub async fn keep_up(self: Arc<Self>, drain: Drain) {
        if let Some(file) = &self.file {
            tokio::select! {
                () = self.read_again(file) => {}
                () = drain.draining() => {}
            }
        }
    }

    async fn read_again(&self, file: &Path) {
        // What it is now may be newer than what was read: it is read once more.
        let mut seen: Version = None;
        loop {
            let version = version(file).await;
            if version != seen {
                seen = version;
                match read(file) {
                    Ok(rules) => {
                        events::content_rules_read(rules.words());
                        *self.now.write() = Some(Arc::new(rules));
                    }
                    // Those that were good stay.
                    Err(error) => events::content_rules_kept(&error),
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Applies the lists to what is about to be sent.
    pub fn apply(&self, message: &mut Outgoing, sender: AccountId) {
        let Some(words) = message.words.take() else {
            return;
        };
        let Some(rules) = self.now.read().clone() else {
            return;
        };
        let found = rules.find(&words);
        for list in &found.flagged_by {
            events::content_flagged(sender, message.conversation, list);
        }
        if let Some(list) = found.blocked_by {
            events::content_blocked(sender, message.conversation, list);
            let why = format!("content: a word of the list `{list}`; nothing was stored");
            message.refusal = Some(Refusal::new(ErrorCode::ContentBlocked, why));
            return;
        }
        if let Some(masked) = found.masked {
            events::content_masked(sender, message.conversation);
            if let Some(content) = with_words(&message.content, masked) {
                message.original = Some(std::mem::replace(&mut message.content, content));
            }
        }
    }
}

/// The same content with other words.
fn with_words(encoded: &[u8], words: String) -> Option<bytes::Bytes> {
    let (mut said, refers) = content::decode_with(encoded).ok()?;
    *words_of(&mut said)? = words;
    Some(content::encode_with(said, &refers))
}

/// The words that people read, of contents that are words.
pub(crate) fn words_of(said: &mut Content) -> Option<&mut String> {
    use protocol::wire::edit::Content as Edited;
    match said {
        Content::Text(text) => Some(&mut text.text),
        Content::Instruction(instruction) => Some(&mut instruction.text),
        Content::Summary(summary) => Some(&mut summary.text),
        Content::Edit(edit) => match edit.content.as_mut()? {
            Edited::Text(text) => Some(&mut text.text),
            Edited::Data(_) => None,
        },
        Content::Data(_)
        | Content::Plan(_)
        | Content::Command(_)
        | Content::StepUpdate(_)
        | Content::Membership(_)
        | Content::Recall(_)
        | Content::Group(_)
        | Content::Media(_)
        | Content::Pose(_)
        | Content::Estop(_)
        | Content::EstopRelease(_) => None,
    }
}

async fn version(file: &Path) -> Version {
    let metadata = tokio::fs::metadata(file).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(file: &Path) -> Result<WordRules, FileError> {
    let path = || file.to_owned();
    let unread = |source| FileError::Read {
        path: path(),
        source,
    };
    if std::fs::metadata(file).map_err(unread)?.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLong(path()));
    }
    let text = std::fs::read_to_string(file).map_err(unread)?;
    WordRules::parse(&text).map_err(|source| FileError::Rules {
        path: path(),
        source,
    })
}
