//! From sentences to clauses: what is to be done with what, from where to where, by whom. Here are
//! the clauses and how they complete each other; one is read in [`reader`].

mod reader;

use super::lexicon::Verb;
use super::sentence::Sentence;
use super::wording::Reason;
use reader::Reader;

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    /// [`Verb::Move`] for all that move things.
    pub(super) verb: Verb,
    /// Whether it begins after everything before it is done.
    pub(super) sequential: bool,
    /// What is carried or lifted.
    pub(super) selections: Vec<Selection>,
    /// "Them": what the clause before was about.
    pub(super) them: bool,
    /// Where to.
    pub(super) destination: Option<Spot>,
    /// Where, or for "them" where from.
    pub(super) places: Vec<usize>,
    /// Who.
    pub(super) robots: Chosen,
    /// Whether it asks for what is blocked.
    pub(super) blocked: bool,
    /// Everything, or everywhere.
    pub(super) everything: bool,
}

/// Things of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// How they were called.
    pub(super) word: String,
    /// Those that are called so.
    pub(super) things: Vec<usize>,
    /// How many of them; all if nothing is said.
    pub(super) count: Option<usize>,
    /// Where they are; anywhere if nothing is said.
    pub(super) sources: Vec<usize>,
}

/// A place, or the one that was the last destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    Place(usize),
    There,
}

/// Which robots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    Any,
    Every,
    Count(usize),
    Named(Vec<usize>),
}

/// Reads the sentences of an instruction.
pub(super) fn read(sentences: Vec<Sentence>) -> Result<Vec<Clause>, Reason> {
    let mut clauses: Vec<Clause> = Vec::new();
    for sentence in sentences {
        let elliptic = sentence.elliptic;
        let mut clause = Reader::new(&sentence).read(clauses.last().filter(|_| elliptic))?;
        if !elliptic && clauses.last().is_some_and(Clause::has_things) {
            clause.add_them();
        }
        match clauses.last_mut() {
            Some(before) if before.is_unfinished() && clause.finishes() => {
                before.finish_with(clause)?;
            }
            Some(before) if before.is_sending() && clause.verb == Verb::Charge => {
                before.send_to_charge(clause);
            }
            Some(before) if before.is_bare_lift() && clause.verb == Verb::Move => *before = clause,
            _ => clauses.push(clause),
        }
    }
    for clause in &clauses {
        clause.check()?;
    }
    Ok(clauses)
}

impl Clause {
    /// "Pick up the boxes": where to follows.
    fn is_unfinished(&self) -> bool {
        self.verb == Verb::Move && self.destination.is_none()
    }

    /// "And bring them to the storage."
    fn finishes(&self) -> bool {
        self.verb == Verb::Move && self.selections.is_empty() && self.destination.is_some()
    }

    fn has_things(&self) -> bool {
        !self.selections.is_empty() || self.them || self.everything
    }

    /// 「再搬到仓库」: Chinese does not say "them".
    fn add_them(&mut self) {
        let robots_alone = self.robots != Chosen::Any;
        self.them |= self.verb == Verb::Move && !self.has_things() && !robots_alone;
    }

    /// "Send A": what to follows.
    fn is_sending(&self) -> bool {
        self.is_unfinished() && !self.has_things() && matches!(self.robots, Chosen::Named(_))
    }

    /// "And B to charge."
    fn send_to_charge(&mut self, charge: Self) {
        let before = std::mem::replace(&mut self.robots, charge.robots);
        if let (Chosen::Named(named), Chosen::Named(before)) = (&mut self.robots, before) {
            named.extend(before);
        }
        (self.verb, self.places) = (Verb::Charge, charge.places);
    }

    /// "Lift and carry the boxes": carrying has its lifting with it.
    fn is_bare_lift(&self) -> bool {
        self.verb == Verb::Lift && self.selections.is_empty() && !self.them
    }

    fn finish_with(&mut self, end: Self) -> Result<(), Reason> {
        self.destination = end.destination;
        self.bind(&end.places)?;
        if self.robots == Chosen::Any {
            self.robots = end.robots;
        }
        Ok(())
    }

    /// These places are where those things are of which that is not said yet.
    fn bind(&mut self, places: &[usize]) -> Result<Vec<usize>, Reason> {
        let mut bound = Vec::new();
        if places.is_empty() {
            return Ok(bound);
        }
        for (index, selection) in self.selections.iter_mut().enumerate() {
            if selection.sources.is_empty() {
                selection.sources = places.to_vec();
                bound.push(index);
            }
        }
        if bound.is_empty() {
            Err(Reason::Unclear)
        } else {
            Ok(bound)
        }
    }

    fn check(&self) -> Result<(), Reason> {
        let things = self.has_things();
        match self.verb {
            Verb::Move | Verb::Take | Verb::Put if !things && self.robots == Chosen::Any => {
                Err(Reason::NothingNamed)
            }
            Verb::Move | Verb::Take | Verb::Put if self.destination.is_none() => {
                Err(Reason::NoDestination)
            }
            Verb::Move | Verb::Take | Verb::Put if matches!(self.robots, Chosen::Count(_)) => {
                Err(Reason::Unclear)
            }
            Verb::Lift if !things => Err(Reason::NothingNamed),
            Verb::Inspect | Verb::Report if !self.selections.is_empty() => Err(Reason::Unclear),
            Verb::Charge if things => Err(Reason::Unclear),
            Verb::Move
            | Verb::Take
            | Verb::Put
            | Verb::Lift
            | Verb::Inspect
            | Verb::Report
            | Verb::Charge => Ok(()),
        }
    }
}
