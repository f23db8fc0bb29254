//! What the planner says, in the language of the instruction.

use std::collections::BTreeMap;

use crate::mock::prompt::World;
use crate::mock::tokens::is_cjk;

use super::Step;

/// The language of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Chinese,
}

impl Language {
    /// One Chinese character makes a text Chinese: names are often English.
    pub(super) fn of(text: &str) -> Self {
        if text.contains(is_cjk) {
            Self::Chinese
        } else {
            Self::English
        }
    }

    const fn mark(self) -> &'static str {
        match self {
            Self::English => "[mock model] ",
            Self::Chinese => "[模拟模型] ",
        }
    }
}

/// Why an instruction is declined. Numbers of places are indices into the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    NoInstruction,
    Empty,
    NoWorld,
    /// Words that are no words here.
    Unknown(Vec<String>),
    Unclear,
    NothingToDo,
    /// A verb without things.
    NothingNamed,
    NoDestination,
    SeveralDestinations,
    /// A number that counts nothing.
    LooseNumber(usize),
    NothingBeside(usize),
    TooFew {
        word: String,
        wanted: usize,
        found: usize,
        sources: Vec<usize>,
    },
    NothingThere {
        word: String,
        sources: Vec<usize>,
    },
    AlreadyThere {
        word: String,
        place: usize,
    },
    /// No robot has the action.
    NoRobot(&'static str),
    RobotCannot {
        robot: String,
        action: &'static str,
    },
    /// Robots are sent to charge and to work, not to places.
    RobotsAreNotSent,
    NothingLeft,
}

/// The note of a plan.
pub(super) fn note(language: Language, steps: &[Step], again: bool) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for step in steps {
        *counts.entry(step.action).or_default() += 1;
    }
    let mark = language.mark();
    let counts = counts.iter();
    match language {
        Language::English => {
            let counts: Vec<_> = counts.map(|(action, n)| format!("{action} {n}")).collect();
            let what = if again {
                "New plan for what is left"
            } else {
                "Plan"
            };
            format!("{mark}{what}: {}.", counts.join(", "))
        }
        Language::Chinese => {
            let counts: Vec<_> = counts
                .map(|(action, n)| format!("{}{n}步", doing(language, action)))
                .collect();
            let what = if again {
                "剩余部分的新计划"
            } else {
                "计划"
            };
            format!("{mark}{what}：{}。", counts.join("，"))
        }
    }
}

/// The note when there is no plan.
pub(super) fn declined_note(language: Language, reason: &str) -> String {
    let mark = language.mark();
    match language {
        Language::English => format!("{mark}No plan: {reason}"),
        Language::Chinese => format!("{mark}没有计划：{reason}"),
    }
}

/// A reason for people.
pub(super) fn reason(language: Language, reason: &Reason, world: &World) -> String {
    match language {
        Language::English => english(reason, world),
        Language::Chinese => chinese(reason, world),
    }
}

fn english(reason: &Reason, world: &World) -> String {
    let language = Language::English;
    let at = |sources: &[usize]| match names(language, sources, world) {
        names if names.is_empty() => "here".to_owned(),
        names => format!("at {}", names.join(" or ")),
    };
    match reason {
        Reason::NoInstruction => "There is no instruction in the prompt.".into(),
        Reason::Empty => "The instruction is empty.".into(),
        Reason::NoWorld => "I know of no places and things here.".into(),
        Reason::Unknown(words) => format!(
            "I do not know {}. Robots here carry, lift, inspect and charge.",
            words
                .iter()
                .map(|word| format!("\"{word}\""))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Reason::Unclear => "I do not understand how the parts belong together.".into(),
        Reason::NothingToDo => "It does not say what to do.".into(),
        Reason::NothingNamed => "It does not say with what.".into(),
        Reason::NoDestination => "It does not say where to.".into(),
        Reason::SeveralDestinations => "It names several destinations at once.".into(),
        Reason::LooseNumber(number) => format!("I do not see what {number} counts."),
        Reason::NothingBeside(place) => {
            format!(
                "There is no place next to {}.",
                name(language, *place, world)
            )
        }
        Reason::TooFew {
            word,
            wanted,
            found,
            sources,
        } => {
            format!(
                "{wanted} {word} are asked for; there are {found} {}.",
                at(sources)
            )
        }
        Reason::NothingThere { word, sources } => format!("There is no {word} {}.", at(sources)),
        Reason::AlreadyThere { word, place } => {
            format!("Already at {}: {word}.", name(language, *place, world))
        }
        Reason::NoRobot(action) => format!("No robot here can {action}."),
        Reason::RobotCannot { robot, action } => format!("{robot} cannot {action}."),
        Reason::RobotsAreNotSent => "Robots are not sent to places without work there.".into(),
        Reason::NothingLeft => "Nothing is left to do.".into(),
    }
}

fn chinese(reason: &Reason, world: &World) -> String {
    let language = Language::Chinese;
    let at = |sources: &[usize]| match names(language, sources, world) {
        names if names.is_empty() => "这里".to_owned(),
        names => names.join("或"),
    };
    match reason {
        Reason::NoInstruction => "提示中没有指令。".into(),
        Reason::Empty => "指令是空的。".into(),
        Reason::NoWorld => "我不知道这里有哪些地点和物品。".into(),
        Reason::Unknown(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("“{word}”")).collect();
            format!(
                "我不认识{}。这里的机器人会搬运、抬起、巡检和充电。",
                words.join("、")
            )
        }
        Reason::Unclear => "我不明白各部分之间的关系。".into(),
        Reason::NothingToDo => "没有说要做什么。".into(),
        Reason::NothingNamed => "没有说是什么东西。".into(),
        Reason::NoDestination => "没有说要送到哪里。".into(),
        Reason::SeveralDestinations => "同时说了几个目的地。".into(),
        Reason::LooseNumber(number) => format!("我不明白{number}指的是什么。"),
        Reason::NothingBeside(place) => {
            format!("{}旁边没有地点。", name(language, *place, world))
        }
        Reason::TooFew {
            word,
            wanted,
            found,
            sources,
        } => {
            format!("要{wanted}个{word}，{}只有{found}个。", at(sources))
        }
        Reason::NothingThere { word, sources } => format!("{}没有{word}。", at(sources)),
        Reason::AlreadyThere { word, place } => {
            format!("{word}已经在{}。", name(language, *place, world))
        }
        Reason::NoRobot(action) => format!("没有机器人会{}。", doing(language, action)),
        Reason::RobotCannot { robot, action } => {
            format!("{robot}不会{}。", doing(language, action))
        }
        Reason::RobotsAreNotSent => "没有任务时不派机器人去某个地点。".into(),
        Reason::NothingLeft => "没有剩下要做的事。".into(),
    }
}

fn doing(language: Language, action: &str) -> &str {
    match (language, action) {
        (Language::Chinese, "carry") => "搬运",
        (Language::Chinese, "lift") => "抬起",
        (Language::Chinese, "inspect") => "巡检",
        (Language::Chinese, "charge") => "充电",
        (Language::English | Language::Chinese, other) => other,
    }
}

fn names(language: Language, places: &[usize], world: &World) -> Vec<String> {
    places
        .iter()
        .map(|place| name(language, *place, world))
        .collect()
}

/// The first name of a place in the language, else its id.
fn name(language: Language, place: usize, world: &World) -> String {
    let Some(place) = world.places.get(place) else {
        return String::new();
    };
    let mut aliases = place.aliases.iter();
    aliases
        .find(|alias| Language::of(alias) == language)
        .unwrap_or(&place.id)
        .clone()
}
