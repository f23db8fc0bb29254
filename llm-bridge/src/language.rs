//! The language of an instruction, so that it is answered in the same. Two are known.

/// A language that people here write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// And everything that is not the other.
    English,
    /// Simplified, as it is written.
    Chinese,
}

impl Language {
    /// One Chinese character makes a text Chinese: the names in it are often English.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text.contains(is_chinese) {
            Self::Chinese
        } else {
            Self::English
        }
    }

    /// The one of two texts that is in this language.
    #[must_use]
    pub fn pick<T>(self, english: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }
}

const fn is_chinese(character: char) -> bool {
    matches!(
        character,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3134f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_chinese_character_decides() {
        for (text, language) in [
            (
                "把A区的三个箱子搬到充电站旁边，然后巡检一遍走廊",
                Language::Chinese,
            ),
            ("让 robot-01 去 dock 2 充电", Language::Chinese),
            (
                "bring all pallets from dock 2 to storage and report anything blocked",
                Language::English,
            ),
            ("deplacer la caisse", Language::English),
            ("", Language::English),
            ("，。！", Language::English),
        ] {
            assert_eq!(Language::of(text), language, "{text}");
        }
    }
}
