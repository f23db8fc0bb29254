//! Expressions before they are parsed: bounds what they may cost, and makes them ASCII.
//!
//! Pure. The grammar of CEL has names of ASCII letters. A name with others becomes an alias here, and
//! is itself again in the parsed expression; a character in a text becomes its escape. Whatever place
//! the parser then speaks of is found in what was written ([`Scanned::place`]).
//!
//! Not here: the language itself.

use protocol::limits::QUERY_BYTES_MAX;

/// Names, numbers, texts, operators and brackets of an expression: how deep its tree can be follows
/// from it, and what one evaluation costs.
pub const TOKENS_MAX: usize = 160;

/// Brackets within each other: a parser is deep in its own calls for each.
pub const NESTING_MAX: usize = 12;

/// What begins an alias. A name that begins so is refused.
const ALIAS: &str = "__u";

/// A fault in an expression, and its place in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it begins.
    pub offset: usize,
    /// How long it is.
    pub length: usize,
    /// What is wrong.
    pub why: String,
}

/// An expression in ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// For the parser.
    pub source: String,
    /// What each alias stands for.
    names: Vec<String>,
    /// For each byte of the source: the character that it comes from.
    places: Vec<usize>,
    /// How many characters were written.
    length: usize,
}

impl Scanned {
    /// The name that is meant.
    #[must_use]
    pub fn name<'n>(&'n self, name: &'n str) -> &'n str {
        let number = name.strip_prefix(ALIAS).and_then(|it| it.parse().ok());
        let meant = number.and_then(|number: usize| self.names.get(number));
        meant.map_or(name, String::as_str)
    }

    /// The same text with the names that are meant.
    #[must_use]
    pub fn named(&self, mut text: String) -> String {
        for (number, name) in self.names.iter().enumerate().rev() {
            text = text.replace(&format!("{ALIAS}{number}"), name);
        }
        text
    }

    /// The character that a byte of the source comes from.
    #[must_use]
    pub fn place(&self, byte: usize) -> usize {
        self.places.get(byte).copied().unwrap_or(self.length)
    }

    /// A fault at these bytes of the source.
    #[must_use]
    pub fn fault(&self, from: usize, to: usize, why: impl Into<String>) -> Fault {
        let offset = self.place(from);
        // To the last character, and that included.
        let last = self.place(to.max(from + 1) - 1);
        Fault {
            offset,
            length: (last + 1).saturating_sub(offset).min(self.length - offset),
            why: why.into(),
        }
    }

    fn put(&mut self, text: &str, place: usize) {
        self.source.push_str(text);
        self.places.extend(text.bytes().map(|_| place));
    }
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    nesting: usize,
    tokens: usize,
    out: Scanned,
}

/// Makes an expression ASCII.
///
/// # Errors
/// Where it is too long, too deep or too much, or has characters that it cannot have.
pub fn scan(expression: &str) -> Result<Scanned, Fault> {
    let chars: Vec<char> = expression.chars().collect();
    let mut scanner = Scanner {
        out: Scanned {
            source: String::with_capacity(expression.len() * 2),
            names: Vec::new(),
            places: Vec::new(),
            length: chars.len(),
        },
        chars,
        at: 0,
        nesting: 0,
        tokens: 0,
    };
    if expression.len() > QUERY_BYTES_MAX {
        let (head, _) = expression.split_at(expression.floor_char_boundary(QUERY_BYTES_MAX));
        let from = head.chars().count();
        let why = format!("an expression has at most {QUERY_BYTES_MAX} bytes");
        return Err(scanner.fault(from, scanner.chars.len(), why));
    }
    while scanner.at < scanner.chars.len() {
        scanner.token()?;
    }
    Ok(scanner.out)
}

impl Scanner {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn token(&mut self) -> Result<(), Fault> {
        let (c, from) = (self.peek(0), self.at);
        if c == ' ' {
            self.out.put(" ", from);
            self.at += 1;
            return Ok(());
        }
        self.tokens += 1;
        if self.tokens > TOKENS_MAX {
            let why = format!("an expression has at most {TOKENS_MAX} words and signs");
            return Err(self.fault(from, self.chars.len(), why));
        }
        match c {
            '"' | '\'' => self.text(c),
            c if c.is_alphabetic() || c == '_' => self.name(),
            c if c.is_ascii_digit() => {
                self.number();
                Ok(())
            }
            '(' | '[' | '{' => {
                self.nesting += 1;
                if self.nesting > NESTING_MAX {
                    let why = format!("brackets nest at most {NESTING_MAX} deep");
                    return Err(self.fault(from, from + 1, why));
                }
                self.sign(1)
            }
            ')' | ']' | '}' => {
                self.nesting = self.nesting.saturating_sub(1);
                self.sign(1)
            }
            '/' if self.peek(1) == '/' => {
                let why = "an expression has no comments";
                Err(self.fault(from, self.chars.len(), why))
            }
            '&' | '|' | '=' | '!' | '<' | '>' if "&|=".contains(self.peek(1)) => self.sign(2),
            '!' | '<' | '>' | '+' | '-' | '*' | '/' | '%' | '?' | ':' | ',' | '.' => self.sign(1),
            '&' | '|' => Err(self.fault(from, from + 1, format!("`{c}` is written twice"))),
            '=' => Err(self.fault(from, from + 1, "`=`: equality is written `==`")),
            other => {
                let why = format!("`{}` is not in this language", other.escape_debug());
                Err(self.fault(from, from + 1, why))
            }
        }
    }

    fn sign(&mut self, chars: usize) -> Result<(), Fault> {
        for _ in 0..chars {
            let (c, at) = (self.peek(0), self.at);
            self.out.put(c.encode_utf8(&mut [0; 4]), at);
            self.at += 1;
        }
        Ok(())
    }

    /// Digits, and what may be among them.
    fn number(&mut self) {
        while self.peek(0).is_ascii_alphanumeric()
            || (self.peek(0) == '.' && self.peek(1).is_ascii_digit())
        {
            let (c, at) = (self.peek(0), self.at);
            self.out.put(c.encode_utf8(&mut [0; 4]), at);
            self.at += 1;
        }
    }

    fn name(&mut self) -> Result<(), Fault> {
        let from = self.at;
        let mut name = String::new();
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            name.push(self.peek(0));
            self.at += 1;
        }
        if "\"'".contains(self.peek(0)) {
            let why = "a text is written in plain quotes, with nothing before them";
            return Err(self.fault(from, self.at + 1, why));
        }
        if name.starts_with(ALIAS) {
            return Err(self.fault(from, self.at, format!("names do not begin with `{ALIAS}`")));
        }
        if name.is_ascii() {
            for (at, c) in name.char_indices() {
                self.out.put(c.encode_utf8(&mut [0; 4]), from + at);
            }
            return Ok(());
        }
        let known = self.out.names.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            self.out.names.push(name);
            self.out.names.len() - 1
        });
        let alias = format!("{ALIAS}{number}");
        self.out.put(&alias, from);
        // The end of a fault is that of the name.
        if let Some(last) = self.out.places.last_mut() {
            *last = self.at - 1;
        }
        Ok(())
    }

    fn text(&mut self, quote: char) -> Result<(), Fault> {
        let from = self.at;
        if self.peek(1) == quote && self.peek(2) == quote {
            let why = "a text is written in one pair of quotes";
            return Err(self.fault(from, from + 3, why));
        }
        self.sign(1)?;
        loop {
            let (c, at) = (self.peek(0), self.at);
            if at >= self.chars.len() {
                let why = "this text does not end";
                return Err(self.fault(from, at, why));
            }
            match c {
                '\\' if at + 1 < self.chars.len() && self.peek(1).is_ascii() => self.sign(2)?,
                c if c == quote => return self.sign(1),
                c if c.is_ascii() => self.sign(1)?,
                c => {
                    self.out.put(&format!("\\U{:08x}", u32::from(c)), at);
                    self.at += 1;
                }
            }
        }
    }

    fn fault(&self, from: usize, to: usize, why: impl Into<String>) -> Fault {
        Fault {
            offset: from,
            length: to.max(from + 1) - from,
            why: why.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(expression: &str) -> (usize, usize) {
        let fault = scan(expression).unwrap_err();
        (fault.offset, fault.length)
    }

    #[test]
    fn an_expression_becomes_ascii_and_its_places_are_found_again() {
        let scanned = scan("\"搬运\" in capabilities && 搬运.载重_kg >= 5").unwrap();
        assert!(scanned.source.is_ascii());
        let alias = scanned.source.find("__u1").unwrap();
        assert_eq!(scanned.name("__u1"), "载重_kg");
        assert_eq!(scanned.name("__u0"), "搬运");
        assert_eq!(scanned.name("__u9"), "__u9");
        let fault = scanned.fault(alias, alias + 4, "x");
        assert_eq!((fault.offset, fault.length), (27, 5));
        assert_eq!(
            scanned.named("no __u1 in __u0".into()),
            "no 载重_kg in 搬运"
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_its_place() {
        assert_eq!(place("zone = \"B\""), (5, 1));
        assert_eq!(place("区域 ＝ 5"), (3, 1));
        assert_eq!(place("a & b"), (2, 1));
        assert_eq!(place("zone == \"B"), (8, 2));
        assert_eq!(place("zone == r\"B\""), (8, 2));
        assert_eq!(place("zone == \"\"\"B\"\"\""), (8, 3));
        assert_eq!(place("a // b"), (2, 4));
        assert_eq!(place("__u1 == 5"), (0, 4));
        assert_eq!(place("a\n== 5"), (1, 1));
    }

    #[test]
    fn length_depth_and_number_are_bounded() {
        let long = "载".repeat(QUERY_BYTES_MAX);
        assert_eq!(place(&long).0, QUERY_BYTES_MAX / 3);
        let deep = "(".repeat(NESTING_MAX + 1);
        assert_eq!(place(&deep), (NESTING_MAX, 1));
        let many = "!".repeat(TOKENS_MAX + 1);
        assert_eq!(place(&many), (TOKENS_MAX, 1));
        assert!(
            scan(&"((((((1))))))".repeat(10)).is_ok(),
            "beside each other"
        );
    }
}
