//! The words that mean the same in every world, in English and Chinese. A table, no rules.

use super::lexicon::{Meaning, Verb};

/// Each meaning with its words.
#[rustfmt::skip] // A word a line would hide the table.
pub(super) static WORDS: [(Meaning, &[&str]); 26] = [
    (
        Meaning::Verb(Verb::Move),
        &[
            "bring", "carry", "move", "transport", "deliver", "haul", "transfer",
            "relocate", "shift", "send", "搬",
            "搬运", "运", "运输", "运送", "送", "移", "移动", "转移", "挪",
            "带", "拉",
        ],
    ),
    (
        Meaning::Verb(Verb::Take),
        &[
            "take", "fetch", "get", "pick up", "collect", "grab", "拿", "拿起", "取",
        ],
    ),
    (
        Meaning::Verb(Verb::Put),
        &[
            "put", "place", "set", "drop", "drop off", "store", "放", "放置", "存放", "摆", "摆放",
        ],
    ),
    (
        Meaning::Verb(Verb::Lift),
        &[
            "lift", "lift up", "raise", "hoist", "抬", "抬起", "举", "举起", "提起", "升起", "顶起",
        ],
    ),
    (
        Meaning::Verb(Verb::Inspect),
        &[
            "inspect", "inspection", "check", "check if", "check whether", "check out", "patrol",
            "survey", "examine", "scan", "look at", "look over", "look around", "take a look at",
            "have a look at", "see if", "see whether", "巡检", "巡视", "巡查", "巡逻", "检查",
            "查看", "察看", "视察", "看看", "看一看", "看一下", "检视",
        ],
    ),
    (
        Meaning::Verb(Verb::Charge),
        &[
            "charge", "charging", "recharge", "recharging", "充电", "充满电", "充一下电",
            "充个电",
        ],
    ),
    (
        Meaning::Verb(Verb::Report),
        &[
            "report", "report if", "report whether", "report back", "tell me", "tell me if",
            "tell me whether", "let me know", "let me know if", "let me know whether",
            "notify me", "报告", "汇报", "上报", "告诉我", "告知我", "通知我",
        ],
    ),
    (Meaning::EveryRobot, &["robot", "robots", "机器人"]),
    (
        Meaning::Everything,
        &[
            "everything", "everywhere", "所有东西", "所有物品", "所有货物", "全部东西",
            "全部物品", "全部货物", "所有地方", "各处", "全场",
        ],
    ),
    (Meaning::Article, &["a", "an", "any"]),
    (
        Meaning::All,
        &[
            "all", "all of", "every", "each", "所有", "全部", "全", "每个", "每一个", "各个",
            "一切",
        ],
    ),
    (Meaning::From, &["from", "out of", "从", "自"]),
    (
        Meaning::To,
        &[
            "to", "into", "onto", "towards", "over to", "到", "至", "往", "向", "进", "入",
        ],
    ),
    (
        Meaning::Go,
        &["go", "go over", "head", "drive", "去", "前往"],
    ),
    (
        Meaning::In,
        &["in", "at", "on", "inside", "within", "在", "位于"],
    ),
    (Meaning::Mark, &["把", "将"]),
    (Meaning::Them, &["it", "them", "they", "它", "它们", "他们"]),
    (
        Meaning::There,
        &["there", "that place", "那里", "那儿", "那边", "该处"],
    ),
    (
        Meaning::Beside,
        &[
            "beside", "next to", "near", "by", "close to", "旁边", "旁", "附近", "边上",
        ],
    ),
    (
        Meaning::Blocked,
        &[
            "blocked", "blocking", "blockage", "blockages", "obstructed", "obstacle", "obstacles",
            "obstruction", "obstructions", "in the way", "stuck", "堵", "堵住", "堵塞", "阻塞",
            "被堵", "障碍", "障碍物", "阻挡", "挡住", "不通", "拥堵",
        ],
    ),
    (
        Meaning::Then,
        &[
            "then", "and then", "afterwards", "after that", "finally", "next", "lastly",
            "followed by", "subsequently", "然后", "再", "接着", "接下来", "之后", "随后", "最后",
            "以后", "而后", "后", "完成后",
        ],
    ),
    (
        Meaning::And,
        &[
            "and", "plus", "as well as", "&", "+", ",", ";", ".", "!", "?", ":", "、", "。", "并",
            "并且", "且", "和", "跟", "与", "以及", "还有", "同时",
        ],
    ),
    (Meaning::Number(1), &["one"]),
    (
        Meaning::Number(2),
        &["two", "both", "a pair of", "a couple of"],
    ),
    (Meaning::Filler, ENGLISH_FILLERS),
    (Meaning::Filler, CHINESE_FILLERS),
];

/// The English numbers from three on.
#[rustfmt::skip]
pub(super) const NUMBERS_FROM_THREE: [&str; 18] = [
    "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
];

#[rustfmt::skip]
const ENGLISH_FILLERS: &[&str] = &[
    "please", "kindly", "can", "could", "would", "will", "should", "must", "you", "i", "we", "us",
    "me", "my", "our", "their", "its", "want", "need", "like", "help", "for", "of", "over",
    "along", "through", "across", "around", "that", "which", "this", "these", "those", "is",
    "are", "be", "being", "let", "let's", "lets", "have", "make", "do", "carry out", "perform",
    "start", "whole", "entire", "whether", "anything", "something", "what", "whatever", "also",
    "first", "once", "now", "just", "right", "back", "down", "up", "off", "away", "there is",
    "there are", "if there is", "if there are", "result", "results", "findings", "status",
    "carefully", "quickly", "safely", "immediately", "as soon as possible", "asap", "it is",
    "hello", "hi", "hey", "\"", "'", "(", ")", "\u{201c}", "\u{201d}",
];

#[rustfmt::skip]
const CHINESE_FILLERS: &[&str] = &[
    "请", "麻烦", "帮我", "帮忙", "帮", "给", "给我", "你", "你们", "我", "我们", "您", "先", "首先",
    "都", "也", "要", "需要", "想", "想要", "让", "叫", "派", "用", "由", "的", "了", "吧", "呢",
    "吗", "里", "里面", "中", "内", "上", "上面", "那", "这", "些", "那些", "这些", "个", "只",
    "件", "托", "块", "台", "辆", "过去", "过来", "回", "走", "完", "好", "完成", "被", "有",
    "是", "整个", "任何", "什么", "有没有", "是否", "有无", "任何情况", "情况", "结果", "地方",
    "一遍", "一下", "一次", "一圈", "一趟", "进行", "做", "开始", "尽快", "马上", "立即", "立刻",
    "小心", "小心地", "你好", "您好", "「", "」", "《", "》",
];
