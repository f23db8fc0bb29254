//! What requests came to: a line for each, written and read back. Pure.

/// The first line of the file.
pub const HEADER: &str = "unix_ms,client,model,status,prompt_tokens,answer_tokens,told\n";

/// What one request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it ended.
    pub unix_ms: u64,
    /// Who asked.
    pub client: String,
    /// For which model.
    pub model: String,
    /// What the provider answered; 0 for nothing.
    pub status: u16,
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of the answer.
    pub answer_tokens: u64,
    /// Whether the provider has told them; else they are estimated.
    pub is_told: bool,
}

impl Line {
    /// As it is written.
    #[must_use]
    pub fn to_csv(&self) -> String {
        format!(
            "{},{},{},{},{},{},{}\n",
            self.unix_ms,
            plain(&self.client),
            plain(&self.model),
            self.status,
            self.prompt_tokens,
            self.answer_tokens,
            u8::from(self.is_told)
        )
    }

    /// As it was written; none for a line that is torn or none of ours.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim_end().split(',');
        let line = Self {
            unix_ms: fields.next()?.parse().ok()?,
            client: fields.next()?.into(),
            model: fields.next()?.into(),
            status: fields.next()?.parse().ok()?,
            prompt_tokens: fields.next()?.parse().ok()?,
            answer_tokens: fields.next()?.parse().ok()?,
            is_told: fields.next()? == "1",
        };
        fields.next().is_none().then_some(line)
    }
}

/// Nothing that would end a field or begin a formula in a spreadsheet.
fn plain(text: &str) -> String {
    let keeps = |c: char| {
        if c.is_alphanumeric() || "-_./:".contains(c) {
            c
        } else {
            '_'
        }
    };
    let text: String = text.chars().map(keeps).collect();
    text.trim_start_matches(['-', '=']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written_and_torn_ones_are_not() {
        let line = Line {
            unix_ms: 7,
            client: "planner-1".into(),
            model: "gpt-4.1-mini".into(),
            status: 200,
            prompt_tokens: 12,
            answer_tokens: 3,
            is_told: true,
        };
        let text = line.to_csv();
        assert_eq!(text, "7,planner-1,gpt-4.1-mini,200,12,3,1\n");
        assert_eq!(Line::parse(&text), Some(line.clone()));
        for torn in ["7,planner-1,gpt", HEADER, "", "7,a,b,200,1,2,1,9"] {
            assert_eq!(Line::parse(torn), None, "{torn}");
        }
        let odd = Line {
            client: "=a,\n\"b".into(),
            ..line
        };
        assert!(odd.to_csv().starts_with("7,_a___b,"), "{}", odd.to_csv());
    }
}
