//! An estimate of tokens: a CJK character is one, and four characters of anything else are one,
//! begun fours counting whole. Not any provider's tokenizer; the point is that `usage` grows with
//! the text as theirs does.

/// Characters of a token, where they are not CJK.
const CHARS_PER_TOKEN: u64 = 4;

/// Estimates the tokens of a text.
#[must_use]
pub fn count(text: &str) -> u64 {
    let mut cjk = 0;
    let mut other: u64 = 0;
    for character in text.chars() {
        if is_cjk(character) {
            cjk += 1;
        } else {
            other += 1;
        }
    }
    cjk + other.div_ceil(CHARS_PER_TOKEN)
}

/// Whether a character is Chinese or of the scripts and punctuation beside it.
#[must_use]
pub const fn is_cjk(character: char) -> bool {
    matches!(character,
        '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_estimated_by_script() {
        for (text, tokens) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("箱子", 2)] {
            assert_eq!(count(text), tokens, "{text}");
        }
        assert_eq!(count("把A区的box搬走。"), 6 + 1);
    }
}
