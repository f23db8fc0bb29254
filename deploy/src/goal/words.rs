//! The words of an instruction that a goal is read from. English at word boundaries, Chinese
//! anywhere; what is not in the list is passed over.

use crate::world::World;
use crate::world::map::PLACES;
use crate::world::things::OBJECT_KINDS;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Move,
    Lift,
    Inspect,
    Charge,
    Report,
}

/// One meaning in an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Deed(Deed),
    /// "Put": a deed that ends at its place whatever stands between.
    Put,
    /// The id of a place.
    Place(&'static str),
    /// A kind of thing.
    Kind(&'static str),
    /// The id of a thing.
    Thing(String),
    /// The name of a robot.
    Robot(String),
    /// Robots in general.
    Robots,
    Number(usize),
    All,
    From,
    To,
    At,
    Beside,
    Them,
    Blocked,
    /// What follows comes after.
    Then,
    /// What follows may be another deed, or another thing.
    And,
    /// A comma or a full stop.
    Pause,
    /// Something is not to be done: more than this reads.
    Not,
}

impl Word {
    pub(super) const fn place(&self) -> Option<&'static str> {
        if let Self::Place(place) = self {
            Some(*place)
        } else {
            None
        }
    }

    pub(super) const fn number(&self) -> Option<usize> {
        if let Self::Number(number) = self {
            Some(*number)
        } else {
            None
        }
    }

    pub(super) fn robot(&self) -> Option<&str> {
        if let Self::Robot(name) = self {
            Some(name)
        } else {
            None
        }
    }

    /// To put is to move.
    pub(super) fn deed(&self) -> Option<Deed> {
        if let Self::Deed(deed) = self {
            return Some(*deed);
        }
        (*self == Self::Put).then_some(Deed::Move)
    }

    pub(super) const fn is_thing(&self) -> bool {
        matches!(self, Self::Kind(_) | Self::Thing(_) | Self::Them)
    }
}

const DEEDS: [(Deed, &[&str]); 5] = [
    (
        Deed::Move,
        &[
            "bring",
            "move",
            "carry",
            "take",
            "transport",
            "deliver",
            "fetch",
            "haul",
            "get",
            "搬",
            "搬运",
            "运",
            "运送",
            "送",
            "移",
            "移动",
            "拿",
            "取",
        ],
    ),
    (
        Deed::Lift,
        &["lift", "raise", "抬", "抬起", "举", "举起", "升起"],
    ),
    (
        Deed::Inspect,
        &[
            "inspect", "check", "patrol", "survey", "examine", "look at", "巡检", "巡查", "巡逻",
            "巡视", "检查", "查看",
        ],
    ),
    (Deed::Charge, &["charge", "recharge", "充电", "充满电"]),
    (
        Deed::Report,
        &["report", "tell", "list", "报告", "汇报", "告诉", "上报"],
    ),
];

const OTHERS: [(Word, &[&str]); 13] = [
    (
        Word::Put,
        &["put", "place", "set down", "放", "放下", "放置", "摆"],
    ),
    (Word::Robots, &["robots", "robot", "everyone", "机器人"]),
    (
        Word::All,
        &["all", "every", "each", "所有", "全部", "每", "都", "一切"],
    ),
    (Word::From, &["from", "out of", "从"]),
    (
        Word::To,
        &["to", "into", "onto", "到", "至", "往", "去", "进", "回"],
    ),
    (Word::At, &["in", "at", "on", "inside", "在", "里"]),
    (
        Word::Beside,
        &["beside", "next to", "near", "by", "旁边", "旁", "附近"],
    ),
    (
        Word::Them,
        &["them", "it", "these", "those", "它们", "它", "这些", "那些"],
    ),
    (
        Word::Blocked,
        &[
            "blocked",
            "obstructed",
            "blockage",
            "堵",
            "阻塞",
            "阻挡",
            "挡",
            "障碍",
        ],
    ),
    (
        Word::Then,
        &[
            "then",
            "after that",
            "afterwards",
            "finally",
            "然后",
            "接着",
            "之后",
            "随后",
            "再",
            "最后",
        ],
    ),
    (
        Word::And,
        &["and", "并", "并且", "和", "以及", "同时", "与"],
    ),
    (
        Word::Pause,
        &[
            ",", ".", ";", "!", "?", "，", "。", "；", "！", "？", "、", "\n",
        ],
    ),
    (
        Word::Not,
        &[
            "not", "don't", "never", "except", "without", "unless", "if", "不要", "别", "不",
            "除了", "除", "如果",
        ],
    ),
];

const NUMBERS: [(usize, &[&str]); 10] = [
    (1, &["a", "an", "one", "一"]),
    (2, &["two", "both", "二", "两"]),
    (3, &["three", "三"]),
    (4, &["four", "四"]),
    (5, &["five", "五"]),
    (6, &["six", "六"]),
    (7, &["seven", "七"]),
    (8, &["eight", "八"]),
    (9, &["nine", "九"]),
    (10, &["ten", "十"]),
];

/// Words that are written like others and mean nothing here.
const PASSED_OVER: [&str; 8] = [
    "一遍",
    "一下",
    "一趟",
    "一圈",
    "一起",
    "分别",
    "特别",
    "one more time",
];

/// The meanings of an instruction, in order.
pub(super) fn read(instruction: &str, world: &World) -> Vec<Word> {
    let lexicon = lexicon(world);
    let text: Vec<char> = instruction.to_lowercase().chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if let Some((number, end)) = digits(&text, at) {
            // A name may begin with a digit.
            if lexicon.iter().all(|(name, _)| !stands_at(name, &text, at)) {
                words.push(Word::Number(number));
                at = end;
                continue;
            }
        }
        let longest = lexicon
            .iter()
            .filter(|(name, _)| stands_at(name, &text, at))
            .max_by_key(|(name, _)| name.len());
        match longest {
            Some((name, word)) => {
                words.extend(word.clone());
                at += name.len();
            }
            None => at += 1,
        }
    }
    places_beside(words)
}

fn lexicon(world: &World) -> Vec<(Vec<char>, Option<Word>)> {
    let mut lexicon = Vec::new();
    let mut add = |text: &str, word: Option<Word>| {
        lexicon.push((text.to_lowercase().chars().collect::<Vec<char>>(), word));
    };
    for (word, texts) in OTHERS {
        texts.iter().for_each(|text| add(text, Some(word.clone())));
    }
    for (deed, texts) in DEEDS {
        texts
            .iter()
            .for_each(|text| add(text, Some(Word::Deed(deed))));
    }
    for (number, texts) in NUMBERS {
        texts
            .iter()
            .for_each(|text| add(text, Some(Word::Number(number))));
    }
    for text in PASSED_OVER {
        add(text, None);
    }
    for place in &PLACES {
        add(place.id, Some(Word::Place(place.id)));
        for alias in place.aliases {
            add(alias, Some(Word::Place(place.id)));
        }
    }
    for kind in &OBJECT_KINDS {
        for word in kind.words {
            add(word, Some(Word::Kind(kind.kind)));
        }
    }
    for object in world.objects() {
        let is_name = |alias: &&String| alias.contains(|c: char| c.is_ascii_digit());
        for name in object.aliases.iter().filter(is_name) {
            add(name, Some(Word::Thing(object.id.clone())));
        }
        add(&object.id, Some(Word::Thing(object.id.clone())));
    }
    for robot in world.robot_names() {
        add(robot, Some(Word::Robot(robot.to_owned())));
    }
    lexicon
}

fn stands_at(name: &[char], text: &[char], at: usize) -> bool {
    if text.get(at..at + name.len()) != Some(name) {
        return false;
    }
    let joins = |a: Option<&char>, b: Option<&char>| matches!((a, b), (Some(a), Some(b)) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric());
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    !joins(before, name.first()) && !joins(name.last(), text.get(at + name.len()))
}

fn digits(text: &[char], at: usize) -> Option<(usize, usize)> {
    let end = at + text[at..].iter().take_while(|c| c.is_ascii_digit()).count();
    let number = text[at..end].iter().collect::<String>().parse().ok()?;
    Some((number, end))
}

/// "Beside" and a place is a place of its own, where there is one.
fn places_beside(words: Vec<Word>) -> Vec<Word> {
    let beside = |place: &str| {
        let id = format!("beside-{place}");
        PLACES
            .iter()
            .find(|place| place.id == id)
            .map(|place| Word::Place(place.id))
    };
    let mut joined: Vec<Word> = Vec::new();
    for word in words {
        let pair = match (joined.last(), &word) {
            (Some(Word::Beside), Word::Place(place)) | (Some(Word::Place(place)), Word::Beside) => {
                beside(place)
            }
            _ => None,
        };
        match pair {
            Some(place) => {
                joined.pop();
                joined.push(place);
            }
            None => joined.push(word),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
