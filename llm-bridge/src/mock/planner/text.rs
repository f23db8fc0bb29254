//! Text made even, so that words can be compared: width, case, spaces, and the English article.

use crate::mock::tokens::is_cjk;

/// A character, and how it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Char {
    pub(super) even: char,
    pub(super) written: char,
}

/// Evens a text. Words of the lexicon go through it too.
pub(super) fn even(text: &str) -> Vec<Char> {
    let chars: Vec<Char> = text
        .trim()
        .chars()
        .map(|written| Char {
            even: even_char(written),
            written,
        })
        .collect();
    number_names(without_spaces(without_articles(chars)))
}

/// Evens a word of the lexicon.
pub(super) fn even_word(word: &str) -> Vec<char> {
    even(word).into_iter().map(|char| char.even).collect()
}

/// Whether a character is a part of an English word or a name.
pub(super) const fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '-' | '\'' | '_')
}

fn even_char(char: char) -> char {
    let char = match char {
        '\u{3000}' | '\t' | '\r' => ' ',
        '\n' => '.',
        '\u{2019}' => '\'',
        // Full-width forms lie in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(char) - 0xff01 + 0x21).unwrap_or(char),
        other => other,
    };
    char.to_ascii_lowercase()
}

/// Names have "the" or not, as people please.
fn without_articles(chars: Vec<Char>) -> Vec<Char> {
    let mut kept = Vec::with_capacity(chars.len());
    for word in chars.chunk_by(|a, b| is_word(a.even) == is_word(b.even)) {
        if word.iter().map(|char| char.even).ne("the".chars()) {
            kept.extend_from_slice(word);
        }
    }
    kept
}

/// Chinese has no spaces, English one between two words.
fn without_spaces(chars: Vec<Char>) -> Vec<Char> {
    let mut kept: Vec<Char> = Vec::with_capacity(chars.len());
    for (index, char) in chars.iter().enumerate() {
        let before = kept.last().map(|char| char.even);
        let after = chars[index + 1..].iter().find(|char| char.even != ' ');
        let needless = |neighbour: Option<char>| {
            neighbour.is_none_or(|neighbour| neighbour == ' ' || is_cjk(neighbour))
        };
        if char.even == ' ' && (needless(before) || needless(after.map(|char| char.even))) {
            continue;
        }
        kept.push(*char);
    }
    kept
}

/// 一号 is 1号: a name, not an amount.
fn number_names(mut chars: Vec<Char>) -> Vec<Char> {
    for index in 1..chars.len() {
        let before = index.checked_sub(2).map(|before| chars[before].even);
        let alone = before.and_then(digit).is_none() && before != Some('十');
        if chars[index].even == '号'
            && alone
            && let Some(digit) = digit(chars[index - 1].even)
        {
            chars[index - 1].even = char::from_digit(digit, 10).unwrap_or('0');
        }
    }
    chars
}

/// The value of a Chinese digit.
pub(super) const fn digit(char: char) -> Option<u32> {
    Some(match char {
        '零' => 0,
        '一' => 1,
        '二' | '两' => 2,
        '三' => 3,
        '四' => 4,
        '五' => 5,
        '六' => 6,
        '七' => 7,
        '八' => 8,
        '九' => 9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_mean_the_same_are_even() {
        for (text, expected) in [
            ("Bring  THE box", "bring box"),
            ("next to the charging station", "next to charging station"),
            ("A 区", "a区"),
            ("把 Ａ区　的 3 个箱子", "把a区的3个箱子"),
            ("一号码头", "1号码头"),
            ("二十一号", "二十一号"),
            ("theatre", "theatre"),
        ] {
            let even: String = even_word(text).into_iter().collect();
            assert_eq!(even, expected, "{text}");
        }
    }
}
