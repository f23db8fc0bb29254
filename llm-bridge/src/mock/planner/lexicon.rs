//! From text to meanings: the longest word that is known, again and again. Words are those of the
//! table and the names that the prompt gives to robots, places and things.

use std::collections::BTreeMap;

use crate::mock::prompt::{Robot, World};
use crate::mock::tokens::is_cjk;

use super::text::{Char, digit, even, even_word, is_word};
use super::wording::Reason;
use super::words::{NUMBERS_FROM_THREE, WORDS};

/// The longest number in digits that is one.
const NUMBER_DIGITS_MAX: usize = 6;

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Bring things somewhere: "move it beside A", but not "move it in A", has a destination.
    Move,
    /// The same, where a place at the end is where the things are.
    Take,
    /// The same, where a place at the end is the destination.
    Put,
    Lift,
    Inspect,
    Charge,
    /// Say what is blocked.
    Report,
}

/// What a word means. Numbers in lists are indices into the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    Verb(Verb),
    Places(Vec<usize>),
    Things(Vec<usize>),
    Robots(Vec<usize>),
    EveryRobot,
    Everything,
    Number(usize),
    Article,
    All,
    From,
    To,
    /// "To" after a verb; before one, where something is.
    Go,
    In,
    /// 把: what is done to follows.
    Mark,
    Them,
    There,
    Beside,
    Blocked,
    Then,
    And,
    Filler,
}

/// A word of the instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) meaning: Meaning,
    pub(super) word: String,
}

/// All words that are known for a prompt.
pub(super) struct Lexicon {
    words: BTreeMap<Vec<char>, Meaning>,
    longest: usize,
}

impl Lexicon {
    /// The names of the prompt are stronger than the words of the table.
    pub(super) fn new(world: &World, robots: &[Robot]) -> Self {
        let mut lexicon = Self {
            words: BTreeMap::new(),
            longest: 0,
        };
        lexicon.add_robots(robots);
        lexicon.add_places(world);
        lexicon.add_things(world);
        for (meaning, words) in &WORDS {
            for word in *words {
                lexicon.add(word, meaning.clone());
            }
        }
        for (index, word) in NUMBERS_FROM_THREE.iter().enumerate() {
            lexicon.add(word, Meaning::Number(index + 3));
        }
        lexicon
    }

    fn add_robots(&mut self, robots: &[Robot]) {
        let mut models: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, robot) in robots.iter().enumerate() {
            self.add_name(&robot.name, &Meaning::Robots(vec![index]));
            models.entry(&robot.model).or_default().push(index);
        }
        for (model, robots) in models {
            self.add_kind(model, &Meaning::Robots(robots));
        }
    }

    fn add_places(&mut self, world: &World) {
        let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, place) in world.places.iter().enumerate() {
            let meaning = Meaning::Places(vec![index]);
            self.add_name(&place.id, &meaning);
            for alias in &place.aliases {
                self.add_name(alias, &meaning);
            }
            kinds.entry(&place.kind).or_default().push(index);
        }
        for (index, place) in world.places.iter().enumerate() {
            for alias in &place.aliases {
                let suffix = if alias.is_ascii() { " area" } else { "区域" };
                self.add(&format!("{alias}{suffix}"), Meaning::Places(vec![index]));
            }
        }
        for (kind, places) in kinds {
            self.add_kind(kind, &Meaning::Places(places));
        }
        let every: Vec<usize> = (0..world.places.len()).collect();
        for word in ["places", "areas", "区域"] {
            self.add(word, Meaning::Places(every.clone()));
        }
    }

    /// A word that several things share is their kind's; one with a number in it is a name.
    fn add_things(&mut self, world: &World) {
        let mut words: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, object) in world.objects.iter().enumerate() {
            let aliases = object.aliases.iter().map(String::as_str);
            for word in aliases.chain([object.id.as_str(), object.kind.as_str()]) {
                let things = words.entry(word).or_default();
                if !things.contains(&index) {
                    things.push(index);
                }
            }
        }
        for (word, things) in words {
            let meaning = Meaning::Things(things);
            if word.contains(|char: char| char.is_ascii_digit()) {
                self.add_name(word, &meaning);
            } else {
                self.add_kind(word, &meaning);
            }
        }
        let every: Vec<usize> = (0..world.objects.len()).collect();
        for word in [
            "objects", "things", "items", "goods", "stuff", "东西", "物品", "货物",
        ] {
            self.add(word, Meaning::Things(every.clone()));
        }
    }

    /// "dock-2" is also "dock 2" and "dock2".
    fn add_name(&mut self, name: &str, meaning: &Meaning) {
        self.add(name, meaning.clone());
        if name.contains(|char: char| char.is_ascii_digit()) {
            self.add(&name.replace(['-', '_'], " "), meaning.clone());
            self.add(&name.replace(['-', '_', ' '], ""), meaning.clone());
        }
    }

    fn add_kind(&mut self, word: &str, meaning: &Meaning) {
        self.add(word, meaning.clone());
        if !word.is_empty() && word.is_ascii() {
            self.add(&format!("{word}s"), meaning.clone());
            self.add(&format!("{word}es"), meaning.clone());
        }
    }

    /// The first meaning of a word stays.
    fn add(&mut self, word: &str, meaning: Meaning) {
        let word = even_word(word);
        if !word.is_empty() {
            self.longest = self.longest.max(word.len());
            self.words.entry(word).or_insert(meaning);
        }
    }

    /// Reads a text; every word of it is known, or there is a reason.
    pub(super) fn read(&self, text: &str) -> Result<Vec<Token>, Reason> {
        let text = even(text);
        let mut tokens = Vec::new();
        let mut unknown: Vec<String> = Vec::new();
        let mut unknown_until = None;
        let mut at = 0;
        while at < text.len() {
            if text[at].even == ' ' {
                at += 1;
                continue;
            }
            if let Some((meaning, length)) = self.word(&text, at) {
                if meaning != Meaning::Filler {
                    let word = written(&text[at..at + length]);
                    tokens.push(Token { meaning, word });
                }
                at += length;
                continue;
            }
            let length = unknown_length(&text[at..]);
            let word = written(&text[at..at + length]);
            let spaces = |from: usize| text[from..at].iter().all(|char| char.even == ' ');
            match (unknown_until, unknown.last_mut()) {
                (Some(end), Some(last)) if spaces(end) => {
                    last.push_str(&written(&text[end..at]));
                    last.push_str(&word);
                }
                _ => unknown.push(word),
            }
            at += length;
            unknown_until = Some(at);
        }
        if unknown.is_empty() {
            Ok(tokens)
        } else {
            Err(Reason::Unknown(unknown))
        }
    }

    /// The longest word at a place of the text, and its length.
    fn word(&self, text: &[Char], at: usize) -> Option<(Meaning, usize)> {
        let rest: Vec<char> = text[at..].iter().map(|char| char.even).collect();
        let number = number(&rest);
        let before = at.checked_sub(1).map(|before| text[before].even);
        let word = (1..=self.longest.min(rest.len())).rev().find_map(|length| {
            let meaning = self.words.get(&rest[..length])?;
            stands_alone(before, &rest, length).then(|| (meaning.clone(), length))
        });
        match (word, number) {
            (Some(word), Some(number)) if number.1 > word.1 => Some(number),
            (Some(word), _) => Some(word),
            (None, number) => number,
        }
    }
}

/// An English word does not begin or end within another; a number may stand before it.
fn stands_alone(before: Option<char>, rest: &[char], length: usize) -> bool {
    let (first, last) = (rest[0], rest[length - 1]);
    let glued_before = before.is_some_and(|before| {
        is_word(before) && (first.is_ascii_digit() || !before.is_ascii_digit())
    });
    let glued_after = rest.get(length).is_some_and(|after| is_word(*after));
    !(is_word(first) && glued_before || is_word(last) && glued_after)
}

/// A number in digits or in Chinese, and its length.
fn number(rest: &[char]) -> Option<(Meaning, usize)> {
    let run = |belongs: fn(&char) -> bool| rest.iter().take_while(|char| belongs(char)).count();
    let digits = run(char::is_ascii_digit);
    if digits > 0 {
        let text: String = rest[..digits].iter().collect();
        let value = text.parse().ok().filter(|_| digits <= NUMBER_DIGITS_MAX)?;
        return Some((Meaning::Number(value), digits));
    }
    let length = run(|char| *char == '十' || digit(*char).is_some());
    let value = match &rest[..length] {
        [one] if *one != '十' => digit(*one)?,
        ['十'] => 10,
        ['十', ones] => 10 + digit(*ones)?,
        [tens, '十'] => 10 * digit(*tens)?,
        [tens, '十', ones] => 10 * digit(*tens)? + digit(*ones)?,
        _ => return None,
    };
    Some((Meaning::Number(usize::try_from(value).ok()?), length))
}

/// An unknown English word is shown whole, an unknown Chinese text character by character.
fn unknown_length(rest: &[Char]) -> usize {
    let word = rest.iter().take_while(|char| is_word(char.even)).count();
    word.max(1)
}

fn written(chars: &[Char]) -> String {
    chars.iter().map(|char| char.written).collect()
}

/// "Beside" and a place are the place whose name says so.
pub(super) fn beside(tokens: Vec<Token>, world: &World) -> Result<Vec<Token>, Reason> {
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut waiting = false;
    for token in tokens {
        match (&token.meaning, waiting) {
            (Meaning::Places(places), true) => {
                waiting = false;
                let place = place_beside(places, world)?;
                kept.push(Token {
                    meaning: Meaning::Places(vec![place]),
                    ..token
                });
            }
            (Meaning::Beside, _) => {
                let before = kept.last_mut().filter(|_| token.word.contains(is_cjk));
                match before.map(|last| &mut last.meaning) {
                    Some(Meaning::Places(places)) => *places = vec![place_beside(places, world)?],
                    _ => waiting = true,
                }
            }
            _ => kept.push(token),
        }
    }
    if waiting {
        Err(Reason::Unclear)
    } else {
        Ok(kept)
    }
}

fn place_beside(places: &[usize], world: &World) -> Result<usize, Reason> {
    let [place] = places else {
        return Err(Reason::Unclear);
    };
    let beside = WORDS
        .iter()
        .filter(|(meaning, _)| *meaning == Meaning::Beside);
    let beside: Vec<String> = beside
        .flat_map(|(_, words)| *words)
        .map(|word| text(word))
        .collect();
    let names: Vec<String> = world.places[*place]
        .aliases
        .iter()
        .map(|name| text(name))
        .collect();
    let says_so = |alias: &String| {
        let alias = text(alias);
        beside.iter().any(|word| alias.contains(word))
            && names.iter().any(|name| alias.contains(name))
    };
    let mut others = world.places.iter().enumerate();
    others
        .find(|(index, other)| index != place && other.aliases.iter().any(says_so))
        .map(|(index, _)| index)
        .ok_or(Reason::NothingBeside(*place))
}

fn text(word: &str) -> String {
    even_word(word).into_iter().collect()
}
