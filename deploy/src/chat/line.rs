//! What a person types in a chat. Pure.

/// What `/help` shows.
pub(super) const HELP: &str = "\
a line          a text to the group
/do WORDS       an instruction for the planner
/members        who is in the group, and what robots can do
/history [N]    the last N entries of the log (20)
/help           this
/quit           ends the chat
//...           a text that begins with one /";

/// Entries that `/history` shows when it is not told how many.
pub(super) const HISTORY_ENTRIES: usize = 20;

/// The longest text, in bytes: what is longer was pasted by mistake.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Nothing,
    Text(String),
    Instruction(String),
    Members,
    History(usize),
    Help,
    Quit,
    /// What is wrong with it.
    Wrong(String),
}

pub(super) fn read(line: &str) -> Line {
    let line = line.trim();
    if line.len() > TEXT_BYTES_MAX {
        let bytes = line.len();
        return Line::Wrong(format!(
            "{bytes} bytes are too long, {TEXT_BYTES_MAX} are not"
        ));
    }
    let Some(command) = line.strip_prefix('/') else {
        return match line {
            "" => Line::Nothing,
            text => Line::Text(text.to_owned()),
        };
    };
    if command.starts_with('/') {
        return Line::Text(command.to_owned());
    }
    let (word, rest) = match command.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (command, ""),
    };
    match (word, rest) {
        ("do", "") => Line::Wrong("what shall be done? /do WORDS".into()),
        ("do", words) => Line::Instruction(words.to_owned()),
        ("members", "") => Line::Members,
        ("history", "") => Line::History(HISTORY_ENTRIES),
        ("history", number) => match number.parse() {
            Ok(entries) => Line::History(entries),
            Err(_) => Line::Wrong(format!("{number:?} is no number of entries")),
        },
        ("help", "") => Line::Help,
        ("quit" | "exit", "") => Line::Quit,
        (word, _) => Line::Wrong(format!("there is no /{word} like that; see /help")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_texts_and_slashes_are_commands() {
        for (line, meant) in [
            ("你好，机器人\n", Line::Text("你好，机器人".into())),
            ("  ", Line::Nothing),
            ("/do 把箱子搬走", Line::Instruction("把箱子搬走".into())),
            (
                "/do\u{3000}把箱子搬走",
                Line::Instruction("把箱子搬走".into()),
            ),
            ("//etc/passwd", Line::Text("/etc/passwd".into())),
            ("/members", Line::Members),
            ("/history", Line::History(HISTORY_ENTRIES)),
            ("/history 3", Line::History(3)),
            ("/help", Line::Help),
            ("/quit", Line::Quit),
        ] {
            assert_eq!(read(line), meant, "{line:?}");
        }
        for wrong in ["/do", "/history many", "/dance", "/quit now", "/"] {
            assert!(matches!(read(wrong), Line::Wrong(_)), "{wrong}");
        }
        assert!(matches!(read(&"x".repeat(20_000)), Line::Wrong(_)));
    }
}
