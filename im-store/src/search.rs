//! What of an entry is searched, and what a question finds. Pure.
//!
//! Both engines have a full-text index, and neither cuts Chinese into words. So the words are made
//! here, for both: runs of Chinese, Japanese and Korean characters become overlapping pairs, other
//! letters and digits whole words, all small. Written in ASCII, so that no tokenizer, stop word or
//! collation of an engine changes them. An index finds candidates; that an entry says what was asked
//! for is decided by its content ([`Query::finds`]).

use protocol::content::{self, Content};
use protocol::wire::{Entry, EntryKind};
use protocol::{ConversationId, Refusal};

/// The text of an entry beyond it is not searched, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A question, in bytes.
const QUESTION_BYTES_MAX: usize = 512;

/// Words and runs of a question.
const TERMS_MAX: usize = 16;

/// A word beyond it is cut, in characters: engines have a longest word.
const WORD_CHARS_MAX: usize = 40;

/// A piece of text that belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    /// Letters and digits that stand together.
    Word(String),
    /// Characters of a script without spaces.
    Characters(Vec<char>),
}

/// What people can read of an entry; empty: nothing.
#[must_use]
pub fn text(entry: &Entry) -> String {
    let said = match content::decode(&entry.content) {
        Ok(said) if entry.kind() != EntryKind::Recalled => said,
        Ok(_) | Err(_) => return String::new(),
    };
    let mut text = text_of(&said);
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

fn text_of(said: &Content) -> String {
    match said {
        Content::Text(text) => text.text.clone(),
        Content::Instruction(instruction) => instruction.text.clone(),
        Content::Plan(plan) => plan.note.clone(),
        Content::Summary(summary) => summary.text.clone(),
        Content::StepUpdate(update) => update.reason.clone(),
        Content::Media(media) => format!("{} {}", media.name, media.caption),
        Content::Edit(edit) => content::edited(edit).map_or_else(String::new, |it| text_of(&it)),
        Content::Group(change) => change.name.clone(),
        Content::Estop(stop) => stop.reason.clone(),
        Content::EstopRelease(release) => release.reason.clone(),
        Content::Data(_)
        | Content::Command(_)
        | Content::Membership(_)
        | Content::Recall(_)
        | Content::Pose(_) => String::new(),
    }
}

/// The line of an entry in the index; empty: it is not there.
#[must_use]
pub fn line(conversation: ConversationId, text: &str) -> String {
    let runs = runs(text);
    if runs.is_empty() {
        return String::new();
    }
    let mut line = place(conversation);
    for run in &runs {
        for word in index_words(run) {
            line.push(' ');
            line += &word;
        }
    }
    line
}

/// A conversation as a word of its own: a question is asked of one.
fn place(conversation: ConversationId) -> String {
    let bytes = conversation.as_bytes().iter();
    let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    format!("c{hex}")
}

fn runs(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut goes_on = false;
    for c in text.chars().flat_map(|c| narrow(c).to_lowercase()) {
        if !c.is_alphanumeric() {
            goes_on = false;
            continue;
        }
        match (is_dense(c), runs.last_mut().filter(|_| goes_on)) {
            (true, Some(Run::Characters(run))) => run.push(c),
            (false, Some(Run::Word(word))) => word.push(c),
            (true, Some(Run::Word(_)) | None) => runs.push(Run::Characters(vec![c])),
            (false, Some(Run::Characters(_)) | None) => runs.push(Run::Word(c.into())),
        }
        goes_on = true;
    }
    runs
}

/// Full-width letters, digits and signs as they are typed elsewhere.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xff01 + 0x21).unwrap_or(c),
        other => other,
    }
}

/// Whether it is of a script that is written without spaces between its words.
const fn is_dense(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}'     // Thai, Lao
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30ff}'   // kana
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}'   // hangul
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3fffd}')
}

/// The pairs of a run, and its last character alone: so every character begins one.
fn index_words(run: &Run) -> Vec<String> {
    match run {
        Run::Word(word) => vec![word_of(word)],
        Run::Characters(run) => {
            let mut words: Vec<_> = run.windows(2).map(pair).collect();
            words.extend(run.last().map(|last| first_of(*last)));
            words
        }
    }
}

/// Its prefix makes the shortest word as long as an engine wants it, and no stop word.
fn word_of(word: &str) -> String {
    let mut written = String::from("wd");
    for c in word.chars().take(WORD_CHARS_MAX) {
        if c.is_ascii_alphanumeric() {
            written.push(c);
        } else {
            written += &format!("z{:x}", u32::from(c));
        }
    }
    written.truncate(2 * WORD_CHARS_MAX);
    written
}

fn pair(two: &[char]) -> String {
    two.iter()
        .map(|c| first_of(*c))
        .collect::<Vec<_>>()
        .concat()
}

/// What every pair begins with that begins with this character.
fn first_of(c: char) -> String {
    format!("b{:x}x", u32::from(c))
}

/// What is looked for: all of its terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    terms: Vec<Run>,
}

impl Query {
    /// From what a person typed.
    ///
    /// # Errors
    /// When it is too long, or has no letter in it.
    pub fn parse(question: &str) -> Result<Self, Refusal> {
        if question.len() > QUESTION_BYTES_MAX {
            let why = format!("text: at most {QUESTION_BYTES_MAX} bytes");
            return Err(Refusal::bad_request(why));
        }
        let terms = runs(question);
        if terms.is_empty() || terms.len() > TERMS_MAX {
            let why = format!("text: 1 to {TERMS_MAX} words");
            return Err(Refusal::bad_request(why));
        }
        Ok(Self { terms })
    }

    /// As SQLite's FTS5 has it.
    #[must_use]
    pub fn fts5(&self, conversation: ConversationId) -> String {
        let terms = self.terms.iter().map(|term| match words_of(term) {
            Asked::Beginning(word) => format!("{word} *"),
            Asked::Phrase(words) => format!("\"{}\"", words.join(" ")),
        });
        let terms: Vec<_> = std::iter::once(place(conversation)).chain(terms).collect();
        terms.join(" AND ")
    }

    /// As MySQL's boolean mode has it.
    #[must_use]
    pub fn boolean(&self, conversation: ConversationId) -> String {
        let terms = self.terms.iter().map(|term| match words_of(term) {
            Asked::Beginning(word) => format!("+{word}*"),
            Asked::Phrase(words) => format!("+\"{}\"", words.join(" ")),
        });
        let terms: Vec<_> = std::iter::once(format!("+{}", place(conversation)))
            .chain(terms)
            .collect();
        terms.join(" ")
    }

    /// Whether a text says all of it: words begin as they were asked for, characters stand as they
    /// were asked for.
    #[must_use]
    pub fn finds(&self, text: &str) -> bool {
        let runs = runs(text);
        self.terms
            .iter()
            .all(|term| runs.iter().any(|run| holds(run, term)))
    }
}

fn holds(run: &Run, term: &Run) -> bool {
    match (run, term) {
        (Run::Word(word), Run::Word(asked)) => word.starts_with(asked.as_str()),
        (Run::Characters(run), Run::Characters(asked)) => {
            run.windows(asked.len()).any(|some| some == asked)
        }
        (Run::Word(_), Run::Characters(_)) | (Run::Characters(_), Run::Word(_)) => false,
    }
}

enum Asked {
    Beginning(String),
    Phrase(Vec<String>),
}

fn words_of(term: &Run) -> Asked {
    match term {
        Run::Word(word) => Asked::Beginning(word_of(word)),
        Run::Characters(run) if run.len() == 1 => Asked::Beginning(first_of(run[0])),
        Run::Characters(run) => Asked::Phrase(run.windows(2).map(pair).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> ConversationId {
        ConversationId::group(7)
    }

    fn finds(question: &str, text: &str) -> bool {
        Query::parse(question).unwrap().finds(text)
    }

    #[test]
    fn chinese_is_found_anywhere_and_words_by_their_beginning() {
        let text = "把三个箱子搬到Charging-Station旁边,３号门。";
        for found in [
            "箱子",
            "箱",
            "个箱子搬",
            "边",
            "charg",
            "STATION",
            "3",
            "箱子 station",
        ] {
            assert!(finds(found, text), "{found}");
        }
        for not in ["子箱", "搬箱", "arging", "4", "箱子 gate"] {
            assert!(!finds(not, text), "{not}");
        }
    }

    #[test]
    fn what_finds_is_in_the_line() {
        let line = line(at(), "搬到dock");
        let place = "c00000000000000000000000000000007";
        let expected = format!("{place} b642cxb5230x b5230x wddock");
        assert_eq!(line, expected);
        let query = Query::parse("搬到 d").unwrap();
        assert_eq!(
            query.fts5(at()),
            format!("{place} AND \"b642cxb5230x\" AND wdd *")
        );
        assert_eq!(
            query.boolean(at()),
            format!("+{place} +\"b642cxb5230x\" +wdd*")
        );
        assert_eq!(super::line(at(), " ,。"), "");
    }

    #[test]
    fn nothing_that_is_typed_is_more_than_words() {
        for question in ["\" OR x", "+a -b", "a* NEAR(b", "'; DROP TABLE x", "%_\\"] {
            if let Ok(query) = Query::parse(question) {
                let (one, other) = (query.fts5(at()), query.boolean(at()));
                let harmless = |c: char| c.is_ascii_alphanumeric() || " \"*+".contains(c);
                assert!(
                    one.chars().all(harmless) && other.chars().all(harmless),
                    "{one}"
                );
                assert!(!one.contains("OR") && !one.contains("NEAR"), "{one}");
            }
        }
        assert!(Query::parse("  ").is_err() && Query::parse("?!").is_err());
        assert!(Query::parse(&"字".repeat(200)).is_err());
        assert!(Query::parse(&"a ".repeat(TERMS_MAX + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_piece_of_a_text_finds_it(text in "[一-龥a-z ]{1,40}", from in 0_usize..40, len in 1_usize..6) {
            let chars: Vec<char> = text.chars().collect();
            let from = from.min(chars.len() - 1);
            // A word is asked for from its beginning.
            let begins = from == 0 || is_dense(chars[from]) || !chars[from - 1].is_ascii_lowercase();
            let piece: String = chars[from..].iter().take(len).collect();
            if let (true, Ok(query)) = (begins, Query::parse(&piece)) {
                proptest::prop_assert!(query.finds(&text), "{piece:?} in {text:?}");
            }
        }
    }
}
