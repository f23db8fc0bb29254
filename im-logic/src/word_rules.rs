//! Word lists: what words a message may not have (block), which are struck out (mask), and which are
//! only noted (flag).
//!
//! Pure. A word in Latin letters counts as a whole word and in either case; others, such as Chinese,
//! wherever they stand. Not here: the file ([`crate::content`]).

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Deserialize;
use thiserror::Error;

/// Words in all lists together: some 100 MiB at their longest.
pub const WORDS_MAX: usize = 50_000;

/// One word, in bytes.
pub const WORD_BYTES_MAX: usize = 256;

/// What is written in the place of each character of a masked word.
const MASK: char = '*';

/// The lists of a fleet.
#[derive(Debug)]
pub struct WordRules {
    lists: Vec<(String, Action)>,
    automaton: AhoCorasick,
    /// By pattern: the list that it is of.
    list_of: Vec<usize>,
}

/// What becomes of a message that has a word of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not sent.
    Block,
    /// The word is struck out.
    Mask,
    /// It is sent, and noted.
    Flag,
}

/// What was found in the words of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// The list that blocks it.
    pub blocked_by: Option<&'a str>,
    /// The words with those struck out that are to be.
    pub masked: Option<String>,
    /// The lists that only note it.
    pub flagged_by: Vec<&'a str>,
}

/// Lists that cannot be used.
#[derive(Debug, Error)]
pub enum RulesError {
    /// It is not the form of such a file.
    #[error("not a list of words: {0}")]
    Form(#[from] toml::de::Error),
    /// A word that is none.
    #[error("list `{list}`: a word of {bytes} bytes; it has 1 to {WORD_BYTES_MAX}")]
    Word {
        /// Of which list.
        list: String,
        /// How long it is.
        bytes: usize,
    },
    /// Too many.
    #[error("more than {WORDS_MAX} words")]
    TooMany,
    /// They cannot be searched for.
    #[error("the words cannot be searched for")]
    Build(#[from] aho_corasick::BuildError),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    list: Vec<List>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    name: String,
    action: Action,
    words: Vec<String>,
}

impl WordRules {
    /// From the text of a file.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let File { list } = toml::from_str(text)?;
        let (mut lists, mut words, mut list_of) = (Vec::new(), Vec::new(), Vec::new());
        for List {
            name,
            action,
            words: its,
        } in list
        {
            for word in its {
                if word.is_empty() || word.len() > WORD_BYTES_MAX {
                    return Err(RulesError::Word {
                        list: name,
                        bytes: word.len(),
                    });
                }
                words.push(word);
                list_of.push(lists.len());
            }
            lists.push((name, action));
        }
        if words.len() > WORDS_MAX {
            return Err(RulesError::TooMany);
        }
        // Every word is found, also one within another: a list that notes hides none that blocks.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(words)?;
        Ok(Self {
            lists,
            automaton,
            list_of,
        })
    }

    /// How many words there are.
    #[must_use]
    pub fn words(&self) -> usize {
        self.list_of.len()
    }

    /// What of the lists is in these words.
    #[must_use]
    pub fn find(&self, words: &str) -> Found<'_> {
        let mut found = Found::default();
        let mut masked: Vec<(usize, usize)> = Vec::new();
        for hit in self.automaton.find_overlapping_iter(words) {
            let (start, end) = (hit.start(), hit.end());
            if !is_whole(words, start, end) {
                continue;
            }
            let list = self.list_of.get(hit.pattern().as_usize());
            let Some((name, action)) = list.and_then(|list| self.lists.get(*list)) else {
                continue;
            };
            match action {
                Action::Block => found.blocked_by = found.blocked_by.or(Some(name)),
                Action::Mask => masked.push((start, end)),
                Action::Flag if !found.flagged_by.contains(&&name[..]) => {
                    found.flagged_by.push(name);
                }
                Action::Flag => {}
            }
        }
        if !masked.is_empty() {
            found.masked = Some(struck_out(words, masked));
        }
        found
    }
}

/// Whether a hit is no part of a longer word in Latin letters.
fn is_whole(words: &str, start: usize, end: usize) -> bool {
    let bytes = words.as_bytes();
    let is_letter = |at: Option<usize>| {
        let byte = at.and_then(|at| bytes.get(at));
        byte.is_some_and(u8::is_ascii_alphanumeric)
    };
    let cut_before = is_letter(Some(start)) && is_letter(start.checked_sub(1));
    let cut_after = is_letter(end.checked_sub(1)) && is_letter(Some(end));
    !cut_before && !cut_after
}

fn struck_out(words: &str, mut spans: Vec<(usize, usize)>) -> String {
    spans.sort_unstable();
    let mut spans = spans.into_iter().peekable();
    let mut out = String::with_capacity(words.len());
    let mut until = 0;
    for (at, character) in words.char_indices() {
        while let Some((_, end)) = spans.next_if(|(start, _)| *start <= at) {
            until = until.max(end);
        }
        out.push(if at < until { MASK } else { character });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: &str = r#"
        [[list]]
        name = "secrets"
        action = "block"
        words = ["核按钮", "launch code"]
        [[list]]
        name = "insults"
        action = "mask"
        words = ["笨蛋", "大笨蛋", "ass", "idiot"]
        [[list]]
        name = "rivals"
        action = "flag"
        words = ["核按", "acme"]
    "#;

    #[test]
    fn a_word_blocks_masks_or_is_noted() {
        let rules = WordRules::parse(LISTS).unwrap();
        assert_eq!(rules.words(), 8);
        assert_eq!(rules.find("把三号托盘搬到 B 区"), Found::default());
        let found = rules.find("你这个大笨蛋，IDIOT！");
        assert_eq!(found.masked.unwrap(), "你这个***，*****！");
        assert!(found.blocked_by.is_none() && found.flagged_by.is_empty());
        let found = rules.find("ask Acme, 问 acme");
        assert_eq!((found.flagged_by, found.masked), (vec!["rivals"], None));
        // A noted word within a blocking one hides nothing.
        let found = rules.find("不要碰核按钮");
        assert_eq!(found.blocked_by, Some("secrets"));
        assert_eq!(found.flagged_by, ["rivals"]);
        assert_eq!(rules.find("the LAUNCH CODE").blocked_by, Some("secrets"));
    }

    #[test]
    fn a_latin_word_counts_as_a_whole_and_a_chinese_one_anywhere() {
        let rules = WordRules::parse(LISTS).unwrap();
        assert_eq!(rules.find("a class of assets"), Found::default());
        assert_eq!(rules.find("ass2").masked, None);
        assert_eq!(rules.find("是ass吗").masked.unwrap(), "是***吗");
        assert_eq!(rules.find("小笨蛋们").masked.unwrap(), "小**们");
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        let wrong = [
            "[[list]]\nname = \"a\"\naction = \"shout\"\nwords = []",
            "[[list]]\nname = \"a\"\naction = \"flag\"\nwords = [\"\"]",
            "[[list]]\nname = \"a\"\nwords = []",
            "[[lists]]",
        ];
        for text in wrong {
            assert!(WordRules::parse(text).is_err(), "{text}");
        }
        assert_eq!(WordRules::parse("").unwrap().find("x"), Found::default());
        let word = "x".repeat(WORD_BYTES_MAX + 1);
        let long = format!("[[list]]\nname = \"a\"\naction = \"flag\"\nwords = [\"{word}\"]");
        assert!(WordRules::parse(&long).is_err());
    }
}
