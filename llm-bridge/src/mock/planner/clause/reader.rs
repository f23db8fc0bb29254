//! One sentence, word by word, to a clause.

use super::{Chosen, Clause, Selection, Spot};
use crate::mock::planner::lexicon::{Meaning, Token, Verb};
use crate::mock::planner::sentence::Sentence;
use crate::mock::planner::wording::Reason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Source,
    Destination,
    /// "In A".
    In,
    /// A alone.
    Bare,
}

#[derive(Debug)]
struct Mention {
    role: Role,
    places: Vec<usize>,
    there: bool,
    /// Joined by "and" to the mention before it.
    joined: bool,
    /// What follows is of this place.
    before_things: bool,
}

#[derive(Debug)]
enum Piece {
    Things(Selection),
    Them,
    Mention(Mention),
}

pub(super) struct Reader<'a> {
    sentence: &'a Sentence,
    verb_seen: bool,
    /// What the next place is.
    role: Option<Role>,
    amount: Option<usize>,
    pieces: Vec<Piece>,
    robots: Chosen,
    blocked: bool,
    everything: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(sentence: &'a Sentence) -> Self {
        Self {
            sentence,
            verb_seen: false,
            role: None,
            amount: None,
            pieces: Vec::new(),
            robots: Chosen::Any,
            blocked: false,
            everything: false,
        }
    }

    /// Reads the sentence; an elliptic one has from the clause before it what it does not say.
    pub(super) fn read(mut self, before: Option<&Clause>) -> Result<Clause, Reason> {
        for (index, token) in self.sentence.tokens.iter().enumerate() {
            self.token(index, token)?;
        }
        if let Some(count) = self.amount.take() {
            let [selection] = before.map_or(&[][..], |before| &before.selections) else {
                return Err(Reason::LooseNumber(count));
            };
            let count = Some(count);
            self.pieces.insert(
                0,
                Piece::Things(Selection {
                    count,
                    ..selection.clone()
                }),
            );
        }
        if self.role == Some(Role::Source) {
            return Err(Reason::Unclear);
        }
        self.clause()
    }

    fn token(&mut self, index: usize, token: &Token) -> Result<(), Reason> {
        match &token.meaning {
            Meaning::Verb(_) => {
                if self.role.take() == Some(Role::Source) {
                    return Err(Reason::Unclear);
                }
                self.verb_seen = true;
            }
            // "From" without a place.
            Meaning::From | Meaning::To | Meaning::Go | Meaning::In
                if self.role == Some(Role::Source) =>
            {
                return Err(Reason::Unclear);
            }
            Meaning::From => self.role = Some(Role::Source),
            Meaning::To | Meaning::Go if self.verb_seen => self.role = Some(Role::Destination),
            Meaning::To | Meaning::Go | Meaning::In => self.role = Some(Role::In),
            Meaning::Places(places) => self.mention(index, places.clone(), false)?,
            Meaning::There => self.mention(index, Vec::new(), true)?,
            Meaning::Things(things) => {
                let count = self.amount.take();
                let word = token.word.clone();
                self.pieces.push(Piece::Things(Selection {
                    word,
                    things: things.clone(),
                    count,
                    sources: Vec::new(),
                }));
            }
            Meaning::Them => self.pieces.push(Piece::Them),
            Meaning::Everything => self.everything = true,
            Meaning::Robots(robots) => self.choose(robots)?,
            Meaning::EveryRobot => {
                self.robots = self.amount.take().map_or(Chosen::Every, Chosen::Count);
            }
            Meaning::Number(number) => {
                let digits = token.word.starts_with(|char: char| char.is_ascii_digit());
                let is_name = self.before(index).is_some_and(|before| {
                    matches!(before.meaning, Meaning::Places(_)) && before.word.is_ascii()
                });
                if digits && is_name {
                    // "Area 3" is no place here, and not three of anything.
                    return Err(Reason::LooseNumber(*number));
                }
                self.count(*number)?;
            }
            Meaning::Article => {
                let next = self
                    .sentence
                    .tokens
                    .get(index + 1)
                    .map(|token| &token.meaning);
                if matches!(next, Some(Meaning::Things(_) | Meaning::EveryRobot)) {
                    self.count(1)?;
                }
            }
            Meaning::Blocked => self.blocked = true,
            Meaning::All
            | Meaning::Mark
            | Meaning::And
            | Meaning::Then
            | Meaning::Beside
            | Meaning::Filler => {}
        }
        Ok(())
    }

    fn before(&self, index: usize) -> Option<&'a Token> {
        self.sentence.tokens.get(index.checked_sub(1)?)
    }

    fn count(&mut self, number: usize) -> Result<(), Reason> {
        match self.amount.replace(number) {
            Some(before) => Err(Reason::LooseNumber(before)),
            None => Ok(()),
        }
    }

    /// Several robots by name, or so many of a model.
    fn choose(&mut self, robots: &[usize]) -> Result<(), Reason> {
        let mut robots = robots.to_vec();
        if let Some(count) = self.amount.take() {
            if count > robots.len() {
                return Err(Reason::LooseNumber(count));
            }
            robots.truncate(count);
        }
        if let Chosen::Named(named) = &mut self.robots {
            named.extend(robots);
        } else {
            self.robots = Chosen::Named(robots);
        }
        Ok(())
    }

    fn mention(&mut self, index: usize, places: Vec<usize>, there: bool) -> Result<(), Reason> {
        let tokens = &self.sentence.tokens;
        let previous = self.before(index).map(|token| &token.meaning);
        let before_things = things_follow(&tokens[index + 1..]);
        // "3 docks", but in "3 area A boxes" the number is the boxes'.
        if let Some(Meaning::Number(count)) = previous
            && !before_things
        {
            self.amount = None;
            if *count != places.len() {
                return Err(Reason::LooseNumber(*count));
            }
        }
        let follows_and = previous == Some(&Meaning::And);
        let before = match self.pieces.last() {
            Some(Piece::Mention(before)) if follows_and && self.role.is_none() => Some(before.role),
            _ => None,
        };
        let role = before.or_else(|| self.role.take()).unwrap_or(Role::Bare);
        self.role = None;
        self.pieces.push(Piece::Mention(Mention {
            role,
            places,
            there,
            joined: before.is_some(),
            before_things,
        }));
        Ok(())
    }

    fn clause(mut self) -> Result<Clause, Reason> {
        match self.sentence.verb {
            Verb::Put => self.put_down_at_last(&[Role::Bare, Role::In]),
            Verb::Move => self.put_down_at_last(&[Role::Bare]),
            Verb::Take | Verb::Lift | Verb::Inspect | Verb::Charge | Verb::Report => {}
        }
        let verb = match self.sentence.verb {
            Verb::Take | Verb::Put => Verb::Move,
            verb @ (Verb::Move | Verb::Lift | Verb::Inspect | Verb::Charge | Verb::Report) => verb,
        };
        let mut clause = Clause {
            verb,
            sequential: self.sentence.sequential,
            selections: Vec::new(),
            them: false,
            destination: None,
            places: Vec::new(),
            robots: self.robots,
            blocked: self.blocked,
            everything: self.everything,
        };
        if matches!(verb, Verb::Move | Verb::Lift) {
            carry(&mut clause, self.pieces)?;
        } else {
            look(&mut clause, self.pieces);
        }
        Ok(clause)
    }

    /// "Put the boxes in the storage", "move them beside it": what the sentence ends with is the
    /// destination if nothing else is.
    fn put_down_at_last(&mut self, roles: &[Role]) {
        let is_destination = |piece: &Piece| matches!(piece, Piece::Mention(mention) if mention.role == Role::Destination);
        if self.pieces.iter().any(is_destination) {
            return;
        }
        if let Some(Piece::Mention(last)) = self.pieces.last_mut()
            && roles.contains(&last.role)
        {
            last.role = Role::Destination;
        }
    }
}

/// Whether a place before these words is one that things are at: "the area A boxes", 「A区的三个箱子」.
fn things_follow(rest: &[Token]) -> bool {
    let mut rest = rest.iter().map(|token| &token.meaning);
    while let Some(meaning) = rest.next() {
        let is_of_things = matches!(
            meaning,
            Meaning::Number(_) | Meaning::Article | Meaning::All | Meaning::Mark | Meaning::Verb(_)
        );
        let one_more = *meaning == Meaning::And && matches!(rest.next(), Some(Meaning::Places(_)));
        if !is_of_things && !one_more {
            return matches!(meaning, Meaning::Things(_));
        }
    }
    false
}

/// Where each thing is and where it goes.
fn carry(clause: &mut Clause, pieces: Vec<Piece>) -> Result<(), Reason> {
    let mut ahead: Vec<usize> = Vec::new();
    let mut bound: Option<Vec<usize>> = None;
    for piece in pieces {
        let mention = match piece {
            Piece::Things(selection) => {
                let said = selection.sources.clone();
                let sources = if said.is_empty() { ahead.clone() } else { said };
                clause.selections.push(Selection {
                    sources,
                    ..selection
                });
                continue;
            }
            Piece::Them => {
                clause.them = true;
                continue;
            }
            Piece::Mention(mention) => mention,
        };
        if mention.role == Role::Destination {
            let spot = match (mention.there, mention.places.as_slice()) {
                (true, _) => Spot::There,
                (false, [place]) => Spot::Place(*place),
                (false, _) => return Err(Reason::SeveralDestinations),
            };
            if clause
                .destination
                .replace(spot)
                .is_some_and(|before| before != spot)
            {
                return Err(Reason::SeveralDestinations);
            }
        } else if mention.there {
            return Err(Reason::Unclear);
        } else if mention.joined
            && let Some(bound) = &bound
        {
            for index in bound {
                clause.selections[*index].sources.extend(&mention.places);
            }
        } else if mention.joined {
            ahead.extend(mention.places);
        } else if mention.before_things || clause.selections.is_empty() {
            (ahead, bound) = (mention.places, None);
        } else {
            bound = Some(clause.bind(&mention.places)?);
        }
    }
    if clause.selections.is_empty() {
        clause.places = ahead;
    }
    if clause.verb == Verb::Lift && clause.destination.is_some() {
        clause.verb = Verb::Move;
    }
    Ok(())
}

/// Every place is one to look at; "them" and "there" are what the clauses before were about.
fn look(clause: &mut Clause, pieces: Vec<Piece>) {
    for piece in pieces {
        match piece {
            Piece::Things(selection) => clause.selections.push(selection),
            Piece::Them => clause.them = true,
            Piece::Mention(mention) => clause.places.extend(mention.places),
        }
    }
}
