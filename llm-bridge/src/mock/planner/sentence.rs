//! From meanings to sentences of one verb each: split at "and" and "then" and before a second verb,
//! and what has no verb goes where it belongs.

use super::lexicon::{Meaning, Token, Verb};
use super::wording::Reason;

/// A verb and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) verb: Verb,
    pub(super) tokens: Vec<Token>,
    /// Whether it begins after everything before it is done.
    pub(super) sequential: bool,
    /// Whether the verb is that of the sentence before it.
    pub(super) elliptic: bool,
}

#[derive(Debug, Default)]
struct Segment {
    tokens: Vec<Token>,
    sequential: bool,
}

/// Splits an instruction.
pub(super) fn split(tokens: Vec<Token>) -> Result<Vec<Sentence>, Reason> {
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut waiting: Option<Segment> = None;
    for segment in segments(tokens) {
        let segment = match waiting.take() {
            Some(before) => join(before, segment),
            None => segment,
        };
        if let Some(verb) = segment.verb() {
            sentences.push(Sentence {
                verb,
                tokens: segment.tokens,
                sequential: segment.sequential,
                elliptic: false,
            });
            continue;
        }
        match sentences.last_mut() {
            Some(before) if !segment.looks_forward() => {
                let sentence = attach(segment, before);
                sentences.extend(sentence);
            }
            _ => waiting = Some(segment),
        }
    }
    match waiting {
        Some(_) => Err(Reason::Unclear),
        None if sentences.is_empty() => Err(Reason::NothingToDo),
        None => Ok(sentences),
    }
}

fn join(before: Segment, after: Segment) -> Segment {
    let mut tokens = before.tokens;
    tokens.push(and());
    tokens.extend(after.tokens);
    Segment {
        tokens,
        sequential: before.sequential,
    }
}

/// What has no verb continues the sentence before it, or is one more of its kind.
fn attach(segment: Segment, before: &mut Sentence) -> Option<Sentence> {
    let another_destination = segment.has(&Meaning::To) && has(&before.tokens, &Meaning::To);
    if segment.sequential || another_destination {
        let mut tokens = vec![Token {
            meaning: Meaning::Verb(before.verb),
            word: String::new(),
        }];
        tokens.extend(segment.tokens);
        return Some(Sentence {
            verb: before.verb,
            tokens,
            sequential: segment.sequential,
            elliptic: true,
        });
    }
    before.tokens.push(and());
    before.tokens.extend(segment.tokens);
    None
}

fn segments(tokens: Vec<Token>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut segment = Segment::default();
    let mut sequential = false;
    for token in tokens {
        let joins = matches!(token.meaning, Meaning::And | Meaning::Then);
        if joins || segment.ends_before(&token) {
            let rest = if joins {
                Vec::new()
            } else {
                segment.take_mark()
            };
            if !segment.tokens.is_empty() {
                segments.push(std::mem::take(&mut segment));
                sequential = false;
            }
            segment.tokens = rest;
            sequential |= token.meaning == Meaning::Then;
            segment.sequential = sequential;
        }
        if !joins {
            segment.push(token);
        }
    }
    if !segment.tokens.is_empty() {
        segments.push(segment);
    }
    segments
}

impl Segment {
    fn verb(&self) -> Option<Verb> {
        self.tokens.iter().find_map(|token| {
            if let Meaning::Verb(verb) = token.meaning {
                Some(verb)
            } else {
                None
            }
        })
    }

    fn has(&self, meaning: &Meaning) -> bool {
        has(&self.tokens, meaning)
    }

    /// 把 begins something; "go to A" is on the way to doing something there.
    fn looks_forward(&self) -> bool {
        self.has(&Meaning::Mark)
            || self
                .tokens
                .first()
                .is_some_and(|token| token.meaning == Meaning::Go)
    }

    /// Whether a second verb begins something new.
    fn ends_before(&self, token: &Token) -> bool {
        let Meaning::Verb(next) = token.meaning else {
            return false;
        };
        self.verb()
            .is_some_and(|verb| verb != next && !self.is_sending_to(next))
    }

    /// "Send all robots to charge" is charging.
    fn is_sending_to(&self, next: Verb) -> bool {
        let robots =
            |token: &Token| matches!(token.meaning, Meaning::Robots(_) | Meaning::EveryRobot);
        let things = |token: &Token| matches!(token.meaning, Meaning::Things(_));
        next == Verb::Charge && self.tokens.iter().any(robots) && !self.tokens.iter().any(things)
    }

    fn push(&mut self, token: Token) {
        if token.meaning == Meaning::Verb(Verb::Charge) {
            let is_verb = |token: &Token| matches!(token.meaning, Meaning::Verb(_));
            self.tokens.retain(|token| !is_verb(token));
        }
        self.tokens.push(token);
    }

    /// What follows the last 把 after the verb belongs to the next verb.
    fn take_mark(&mut self) -> Vec<Token> {
        let last = |wanted: fn(&Meaning) -> bool| {
            self.tokens.iter().rposition(|token| wanted(&token.meaning))
        };
        let verb = last(|meaning| matches!(meaning, Meaning::Verb(_)));
        match last(|meaning| *meaning == Meaning::Mark) {
            Some(mark) if Some(mark) > verb => self.tokens.split_off(mark),
            _ => Vec::new(),
        }
    }
}

fn has(tokens: &[Token], meaning: &Meaning) -> bool {
    tokens.iter().any(|token| token.meaning == *meaning)
}

fn and() -> Token {
    Token {
        meaning: Meaning::And,
        word: String::new(),
    }
}
