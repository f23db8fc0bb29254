//! Whether the floor looks as an instruction wants it, judged from the instruction and the grid
//! alone. It reads the instruction by itself and knows nothing of plans, so that a planner cannot
//! err and be believed. What it cannot read is never done.

mod words;

use std::collections::BTreeSet;

use crate::world::World;
use crate::world::map::PLACES;

use words::{Deed, Word};

/// What must be so in the end, in the order of the instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    what: What,
    /// It is done after everything before it.
    afterwards: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Exactly so many of these things stand there.
    Stands {
        things: Vec<String>,
        count: usize,
        place: &'static str,
    },
    Lifted {
        things: Vec<String>,
        count: usize,
    },
    Inspected(&'static str),
    /// These robots, or so many of any.
    Charged {
        robots: Vec<String>,
        count: usize,
    },
}

impl Goal {
    /// Reads an instruction in the world as it is before. `None`: it cannot be read, or what it
    /// wants does not exist.
    #[must_use]
    pub fn read(instruction: &str, world: &World) -> Option<Self> {
        let words = words::read(instruction, world);
        if words.contains(&Word::Not) {
            return None;
        }
        let clauses = clauses(words)?;
        let mut reader = Reader {
            world,
            conditions: Vec::new(),
            named: Vec::new(),
            them: Vec::new(),
        };
        let mut before = None;
        let lifts_for_carrying = |i: usize, clause: &Clause| {
            let next = clauses.get(i + 1);
            clause.deed == Deed::Lift
                && clause.has_no_thing()
                && next.is_some_and(|next| next.deed == Deed::Move)
        };
        for (i, clause) in clauses.iter().enumerate() {
            if !lifts_for_carrying(i, clause) {
                reader.clause(clause, before)?;
            }
            before = Some(clause.deed);
        }
        let conditions = reader.conditions;
        (!conditions.is_empty()).then_some(Self { conditions })
    }

    /// Whether all of it is so, in the order that was asked for.
    #[must_use]
    pub fn holds(&self, world: &World) -> bool {
        let mut done_at = 0;
        for condition in &self.conditions {
            let after = if condition.afterwards { done_at } else { 0 };
            match condition.what.done_at(world, after) {
                Some(tick) => done_at = done_at.max(tick),
                None => return false,
            }
        }
        true
    }
}

impl What {
    /// The tick at which it was done, at the earliest after another.
    fn done_at(&self, world: &World, after: u64) -> Option<u64> {
        match self {
            Self::Stands {
                things,
                count,
                place,
            } => {
                let stands = |id: &&String| {
                    let mut objects = world.objects().iter();
                    let object = objects.find(|object| object.id == **id);
                    object.and_then(|object| world.place_of(object)) == Some(*place)
                };
                let standing: Vec<&String> = things.iter().filter(stands).collect();
                let of_them = |object: &String| standing.contains(&object);
                let mut deliveries = world.deliveries().iter();
                let last = deliveries.rfind(|delivery| of_them(&delivery.object));
                // None: it stood there before.
                let tick = last.map_or(0, |delivery| delivery.tick);
                (standing.len() == *count && tick >= after).then_some(tick)
            }
            Self::Lifted { things, count } => {
                let lifts = world.lifts().iter();
                let mine = lifts.filter(|lift| lift.tick >= after && things.contains(&lift.object));
                nth_distinct(mine.map(|lift| (&lift.object, lift.tick)), *count)
            }
            Self::Inspected(area) => {
                let mut inspections = world.inspections().iter();
                // It takes time: one that is finished in the same tick was begun too early.
                let is_it = |tick: u64| tick > after || after == 0;
                inspections
                    .find(|inspection| inspection.area == *area && is_it(inspection.tick))
                    .map(|inspection| inspection.tick)
            }
            Self::Charged { robots, count } => {
                let charges = world.charges().iter();
                let mine = charges.filter(|charge| {
                    charge.tick >= after && (robots.is_empty() || robots.contains(&charge.robot))
                });
                nth_distinct(mine.map(|charge| (&charge.robot, charge.tick)), *count)
            }
        }
    }
}

/// When the last of so many different ones came.
fn nth_distinct<'a>(all: impl Iterator<Item = (&'a String, u64)>, count: usize) -> Option<u64> {
    let mut seen = BTreeSet::new();
    for (one, tick) in all {
        seen.insert(one);
        if seen.len() >= count {
            return Some(tick);
        }
    }
    None
}

/// One deed and the words around it.
#[derive(Debug)]
struct Clause {
    deed: Deed,
    is_put: bool,
    afterwards: bool,
    words: Vec<Word>,
}

impl Clause {
    fn has_no_thing(&self) -> bool {
        !self.words.iter().any(Word::is_thing)
    }
}

/// Cut at pauses, at "then", and at "and" before a deed. Words without a deed belong to the next.
fn clauses(words: Vec<Word>) -> Option<Vec<Clause>> {
    let mut clauses = Vec::new();
    let (mut part, mut afterwards) = (Vec::new(), false);
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let next_is_deed = words.peek().is_some_and(is_deed);
        let is_pause = word == Word::Pause || word == Word::Then;
        let cuts = is_pause || (word == Word::And && next_is_deed);
        let is_then = word == Word::Then;
        if !cuts {
            part.push(word);
            continue;
        }
        if part.iter().any(is_deed) {
            clauses.push(clause(std::mem::take(&mut part), afterwards)?);
            afterwards = false;
        }
        afterwards |= is_then;
    }
    let is_rest = |word: &Word| word.place().is_some() || word.is_thing();
    if part.iter().any(is_deed) {
        clauses.push(clause(part, afterwards)?);
    } else if part.iter().any(is_rest) {
        return None;
    }
    Some(clauses)
}

fn is_deed(word: &Word) -> bool {
    word.deed().is_some()
}

fn clause(words: Vec<Word>, afterwards: bool) -> Option<Clause> {
    let mut deeds = words.iter().filter_map(Word::deed);
    let deed = deeds.next()?;
    // "Inspect and report" in one breath is an inspection.
    let others = deeds.filter(|other| *other != Deed::Report);
    let all_alike = others.into_iter().all(|other| other == deed);
    all_alike.then_some(Clause {
        deed,
        is_put: words.contains(&Word::Put),
        afterwards,
        words,
    })
}

struct Reader<'a> {
    world: &'a World,
    conditions: Vec<Condition>,
    /// Every place so far.
    named: Vec<&'static str>,
    /// What was carried last.
    them: Vec<String>,
}

impl Reader<'_> {
    fn clause(&mut self, clause: &Clause, before: Option<Deed>) -> Option<()> {
        let places: Vec<&'static str> = places(&clause.words);
        let named_before = self.named.clone();
        self.named.extend(&places);
        let whats = match clause.deed {
            Deed::Move => self.moved(clause)?,
            Deed::Lift => {
                let (things, count) = self.things(clause, &places)?;
                vec![What::Lifted { things, count }]
            }
            Deed::Inspect => inspected(clause, places)?,
            Deed::Report if !places.is_empty() => inspected(clause, places)?,
            Deed::Report if clause.words.contains(&Word::Blocked) => match before {
                Some(Deed::Inspect) => Vec::new(),
                _ => {
                    let areas: BTreeSet<_> = named_before.into_iter().collect();
                    areas.into_iter().map(What::Inspected).collect()
                }
            },
            Deed::Report => Vec::new(),
            Deed::Charge => vec![self.charged(clause)],
        };
        let afterwards = clause.afterwards;
        let conditions = whats.into_iter().map(|what| Condition { what, afterwards });
        self.conditions.extend(conditions);
        Some(())
    }

    fn moved(&mut self, clause: &Clause) -> Option<Vec<What>> {
        let place = destination(clause)?;
        let mut sources = places(&clause.words);
        sources.retain(|source| *source != place);
        let (things, count) = self.things(clause, &sources)?;
        self.them.clone_from(&things);
        Some(vec![What::Stands {
            things,
            count,
            place,
        }])
    }

    /// The things that are meant, and how many of them.
    fn things(&self, clause: &Clause, sources: &[&'static str]) -> Option<(Vec<String>, usize)> {
        let mut things = Vec::new();
        let mut count = 0;
        let mut number = None;
        for word in &clause.words {
            number = word.number().or(number);
            if !word.is_thing() {
                continue;
            }
            let is_counted = matches!(word, Word::Kind(_));
            let meant = self.meant(word, sources);
            let wanted = number.take().filter(|_| is_counted).unwrap_or(meant.len());
            if wanted == 0 || wanted > meant.len() {
                return None;
            }
            count += wanted;
            things.extend(meant);
        }
        let is_everything = clause.words.contains(&Word::All) && !sources.is_empty();
        if things.is_empty() && is_everything {
            let all = self.world.objects().iter();
            let here = all.filter(|object| self.stands_in(object, sources));
            things = here.map(|object| object.id.clone()).collect();
            count = things.len();
        }
        // A number that counts nothing was not understood.
        (!things.is_empty() && number.is_none()).then_some((things, count))
    }

    fn meant(&self, word: &Word, sources: &[&'static str]) -> Vec<String> {
        if let Word::Kind(kind) = word {
            self.of_kind(kind, sources)
        } else if let Word::Thing(id) = word {
            vec![id.clone()]
        } else {
            self.them.clone()
        }
    }

    fn of_kind(&self, kind: &str, sources: &[&'static str]) -> Vec<String> {
        let objects = self.world.objects().iter();
        let meant = objects.filter(|object| {
            object.kind == kind && (sources.is_empty() || self.stands_in(object, sources))
        });
        meant.map(|object| object.id.clone()).collect()
    }

    fn stands_in(&self, object: &crate::world::Object, places: &[&'static str]) -> bool {
        let place = self.world.place_of(object);
        place.is_some_and(|place| places.contains(&place))
    }

    fn charged(&self, clause: &Clause) -> What {
        let names = clause.words.iter().filter_map(Word::robot);
        let robots: Vec<String> = names.map(str::to_owned).collect();
        let number = clause.words.iter().find_map(Word::number);
        let count = if robots.is_empty() {
            let everybody = clause.words.contains(&Word::All);
            let all = self.world.robot_names().count();
            number.unwrap_or(if everybody { all } else { 1 })
        } else {
            robots.len()
        };
        What::Charged { robots, count }
    }
}

fn inspected(clause: &Clause, places: Vec<&'static str>) -> Option<Vec<What>> {
    let areas = match places {
        none if none.is_empty() && clause.words.contains(&Word::All) => {
            PLACES.iter().map(|place| place.id).collect()
        }
        some => some,
    };
    (!areas.is_empty()).then(|| areas.into_iter().map(What::Inspected).collect())
}

fn places(words: &[Word]) -> Vec<&'static str> {
    words.iter().filter_map(Word::place).collect()
}

/// The place after "to", else the last one that is no source.
fn destination(clause: &Clause) -> Option<&'static str> {
    let pairs = || clause.words.windows(2).rev();
    let after_to = pairs().find_map(|pair| match pair {
        [before, place] if *before == Word::To => place.place(),
        _ => None,
    });
    let last = || {
        let deed_at = clause.words.iter().position(is_deed)?;
        let place_at = clause
            .words
            .iter()
            .rposition(|word| word.place().is_some())?;
        let before = clause.words.get(place_at.checked_sub(1)?)?;
        let is_source = *before == Word::From || (*before == Word::At && !clause.is_put);
        let place = clause.words.get(place_at)?.place();
        place.filter(|_| place_at > deed_at && !is_source)
    };
    after_to.or_else(last)
}

#[cfg(test)]
mod tests;
