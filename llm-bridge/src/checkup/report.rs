//! The report of a check: for the terminal, and as a dated file. It names no key.

use super::{Part, Verdict};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The provider, as the configuration names it.
    pub name: String,
    /// Where it is.
    pub base_url: String,
    /// Its model.
    pub model: String,
}

/// A date in UTC, as in 2026-11-30.
#[must_use]
pub fn date(unix_ms: u64) -> String {
    // Days to a civil date: years that begin in March, in eras of 400 years.
    let days = unix_ms / DAY_MS + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The name of the file.
#[must_use]
pub fn file_name(subject: &Subject, unix_ms: u64) -> String {
    format!("provider-check-{}-{}.md", subject.name, date(unix_ms))
}

/// One part, on one line.
#[must_use]
pub fn line(part: &Part) -> String {
    let name = part.name;
    match &part.verdict {
        Verdict::Passed(seen) => format!("passed   {name}: {seen}"),
        Verdict::Skipped(why) => format!("skipped  {name}: {why}"),
        Verdict::Failed { seen, mend } => format!("FAILED   {name}: {seen}\n         mend: {mend}"),
    }
}

/// The file.
#[must_use]
pub fn markdown(subject: &Subject, parts: &[Part], unix_ms: u64) -> String {
    let failed = parts.iter().filter(|part| part.has_failed()).count();
    let mut text = format!(
        "# Provider check: {}\n\n- date: {} (UTC)\n- base URL: {}\n- model: {}\n- failed: {failed} of {}\n\n\
         | part | verdict | seen | mend |\n|---|---|---|---|\n",
        subject.name,
        date(unix_ms),
        subject.base_url,
        subject.model,
        parts.len()
    );
    for part in parts {
        let (verdict, seen, mend) = match &part.verdict {
            Verdict::Passed(seen) => ("passed", seen.as_str(), ""),
            Verdict::Skipped(why) => ("skipped", why.as_str(), ""),
            Verdict::Failed { seen, mend } => ("**failed**", seen.as_str(), mend.as_str()),
        };
        let row = [part.name, verdict, seen, mend].map(cell).join(" | ");
        text.push_str(&format!("| {row} |\n"));
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_735_689_599, "2024-12-31"),
            (1_796_083_200, "2026-12-01"),
        ] {
            assert_eq!(date(unix_s * 1000), expected);
        }
    }

    #[test]
    fn a_report_has_a_row_for_each_part() {
        let subject = Subject {
            name: "qwen".into(),
            base_url: "https://example/v1".into(),
            model: "qwen-plus".into(),
        };
        let parts = [
            Part::new("auth", Verdict::Passed("a|b".into())),
            Part::new(
                "usage",
                Verdict::Failed {
                    seen: "none".into(),
                    mend: "ask".into(),
                },
            ),
        ];
        let text = markdown(&subject, &parts, 0);
        assert!(text.contains("| auth | passed | a\\|b |  |"), "{text}");
        assert!(
            text.contains("| usage | **failed** | none | ask |"),
            "{text}"
        );
        assert!(text.contains("failed: 1 of 2"), "{text}");
        assert_eq!(file_name(&subject, 0), "provider-check-qwen-1970-01-01.md");
        assert!(line(&parts[1]).contains("mend: ask"));
    }
}
