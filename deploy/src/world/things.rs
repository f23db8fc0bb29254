//! What is on the floor: things that are carried, and the models of robots.

use super::map::{Cell, PLACES, place};

/// A thing that may be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// How commands name it, for example "box-1".
    pub id: String,
    /// "box" or "pallet".
    pub kind: &'static str,
    /// How people name it.
    pub aliases: Vec<String>,
    /// Too heavy to be carried unless a lifting robot has raised it.
    pub heavy: bool,
    pub(crate) raised: bool,
    pub(crate) rests: Rests,
}

/// Where a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rests {
    On(Cell),
    /// The index of the robot that carries it.
    With(usize),
}

/// A kind of thing: its words in English and Chinese.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectKind {
    /// "box".
    pub kind: &'static str,
    /// Every word for it.
    pub words: &'static [&'static str],
}

/// The kinds there are.
pub(crate) const OBJECT_KINDS: [ObjectKind; 2] = [
    ObjectKind {
        kind: "box",
        words: &["boxes", "box", "箱子", "纸箱", "箱"],
    },
    ObjectKind {
        kind: "pallet",
        words: &["pallets", "pallet", "托盘", "栈板"],
    },
];

/// What stands where when the day begins.
pub(crate) fn objects() -> Vec<Object> {
    let stock = [
        ("box", 1, "area-a", 0),
        ("box", 2, "area-a", 1),
        ("box", 3, "area-a", 2),
        ("pallet", 1, "dock-2", 0),
        ("pallet", 2, "dock-2", 1),
        ("box", 4, "area-b", 0),
    ];
    stock
        .map(|(kind, n, at, nth)| object(kind, n, at, nth))
        .to_vec()
}

fn object(kind: &'static str, n: u32, at: &str, nth_cell: usize) -> Object {
    let words = OBJECT_KINDS
        .iter()
        .find(|known| known.kind == kind)
        .map_or(&[][..], |known| known.words);
    let chinese = words.get(words.len() / 2).copied().unwrap_or(kind);
    let mut aliases = vec![format!("{kind} {n}"), format!("{n}号{chinese}")];
    aliases.extend(words.iter().map(|&word| word.into()));
    let place = place(at).unwrap_or(&PLACES[0]);
    let cell = place.cells().nth(nth_cell).unwrap_or((0, 0));
    Object {
        id: format!("{kind}-{n}"),
        kind,
        aliases,
        heavy: kind == "pallet",
        raised: false,
        rests: Rests::On(cell),
    }
}

/// What a robot of a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Carries things.
    Carrier,
    /// Raises heavy things, so that they can be carried.
    Lifter,
    /// Looks at every corner of an area.
    Inspector,
}

/// Something that a robot may be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// `carry{object, to}`.
    Carry,
    /// `lift{object}`.
    Lift,
    /// `inspect{area}`.
    Inspect,
    /// `charge{}`.
    Charge,
}

impl Model {
    /// The models of a fleet of so many: each model is there from three robots on.
    pub fn fleet(count: usize) -> impl Iterator<Item = Self> {
        let pattern = [Self::Carrier, Self::Lifter, Self::Inspector, Self::Carrier];
        pattern.into_iter().cycle().take(count)
    }

    /// The word in its robots' names.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Carrier => "carrier",
            Self::Lifter => "lifter",
            Self::Inspector => "inspector",
        }
    }

    /// What it can do. All can charge.
    #[must_use]
    pub const fn abilities(self) -> [Ability; 2] {
        match self {
            Self::Carrier => [Ability::Carry, Ability::Charge],
            Self::Lifter => [Ability::Lift, Ability::Charge],
            Self::Inspector => [Ability::Inspect, Ability::Charge],
        }
    }
}
