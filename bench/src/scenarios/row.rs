//! What a scenario reports: rows of named figures, as a table for people and as JSON for machines.

use std::fmt;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

/// The longest text in a column, in bytes; longer ones stand below the table.
const COLUMN_BYTES_MAX: usize = 24;

/// The figures of one run, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    figures: Vec<(&'static str, Value)>,
    void: Option<String>,
}

impl Row {
    /// Of this scenario.
    #[must_use]
    pub fn new(scenario: &str) -> Self {
        Self {
            figures: vec![("scenario", scenario.into())],
            void: None,
        }
    }

    /// One figure more. A float is kept to one digit: figures are for reading.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.put(key, value);
        self
    }

    /// The same.
    pub fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        let value = value.into();
        let rounded = value.as_f64().filter(|_| value.is_f64());
        let value = rounded.map_or(value, |exact| ((exact * 10.0).round() / 10.0).into());
        self.figures.push((key, value));
    }

    /// A share or a number of cores: to four digits.
    pub fn put_exactly(&mut self, key: &'static str, value: f64) {
        let value = (value * 10_000.0).round() / 10_000.0;
        self.figures.push((key, value.into()));
    }

    /// The same, added to what stands there.
    pub fn add_exactly(&mut self, key: &'static str, value: f64) {
        let before = self.get(key).and_then(Value::as_f64).unwrap_or_default();
        self.figures.retain(|(known, _)| *known != key);
        self.put_exactly(key, before + value);
    }

    /// The run says nothing of the server, for this reason.
    pub fn make_void(&mut self, why: impl Into<String>) {
        self.void = Some(why.into());
    }

    /// Why the run says nothing, if it does not.
    #[must_use]
    pub fn void(&self) -> Option<&str> {
        self.void.as_deref()
    }

    /// A figure by its key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let found = self.figures.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.figures {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry("void", &self.void.is_some())?;
        if let Some(why) = &self.void {
            map.serialize_entry("void_reason", why)?;
        }
        map.end()
    }
}

/// Rows of the same scenario.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows(pub Vec<Row>);

impl Rows {
    /// Whether every row says something.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        self.0.iter().all(|row| row.void.is_none())
    }
}

impl Rows {
    /// Whether nothing was lost, repeated or out of order.
    #[must_use]
    pub fn are_whole(&self) -> bool {
        let broken = ["lost", "duplicated", "out_of_order"];
        let count = |row: &Row| {
            let counts = broken.iter().filter_map(|key| row.get(key)?.as_u64());
            counts.sum::<u64>()
        };
        self.0.iter().all(|row| count(row) == 0)
    }
}

impl From<Row> for Rows {
    fn from(row: Row) -> Self {
        Self(vec![row])
    }
}

/// One row is written as an object, several as an array.
impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [row] => row.serialize(serializer),
            rows => rows.serialize(serializer),
        }
    }
}

/// A column for each row, a line for each figure: there are more figures than rows. What is too long
/// for a column stands below.
impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys: Vec<&str> = Vec::new();
        let mut below = Vec::new();
        for (number, row) in self.0.iter().enumerate() {
            for (key, value) in &row.figures {
                let long = long_texts(value);
                if long.is_empty() {
                    if !keys.contains(key) {
                        keys.push(key);
                    }
                } else {
                    let line = |text| format!("{key} (row {}): {text}", number + 1);
                    below.extend(long.into_iter().map(line));
                }
            }
            if let Some(why) = row.void() {
                below.push(format!("void (row {}): {why}", number + 1));
            }
        }
        let key_width = keys.iter().map(|key| key.len()).max().unwrap_or(0);
        let texts: Vec<Vec<String>> = self.0.iter().map(|row| texts(row, &keys)).collect();
        let mut lines = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let mut line = format!("{key:<key_width$}");
            for column in &texts {
                let width = column.iter().map(String::len).max().unwrap_or(0);
                line.push_str(&format!("  {:>width$}", column[place]));
            }
            lines.push(line);
        }
        lines.extend(below);
        f.write_str(&lines.join("\n"))
    }
}

/// The texts of a value that is no figure: a list, or a sentence.
fn long_texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(ToString::to_string).collect(),
        Value::String(text) if text.len() > COLUMN_BYTES_MAX => vec![text.clone()],
        Value::Object(_) => vec![value.to_string()],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn texts(row: &Row, keys: &[&str]) -> Vec<String> {
    let text = |key: &&str| match row.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    keys.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object_and_several_are_an_array() {
        let row = Row::new("idle").with("sessions", 7).with("share", 0.123);
        let json = serde_json::to_value(Rows::from(row.clone())).unwrap();
        assert_eq!(json["sessions"], 7);
        assert_eq!(json["share"], 0.1);
        assert_eq!(json["void"], false);
        let mut second = row.clone();
        second.make_void("no CPU left");
        let rows = Rows(vec![row, second]);
        assert!(!rows.are_sound());
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[1]["void_reason"], "no CPU left");
        assert!(rows.are_whole());
        assert!(!Rows::from(Row::new("send").with("lost", 1)).are_whole());
    }

    #[test]
    fn people_read_a_column_for_each_row() {
        let few = Row::new("growth").with("members", 10);
        let mut many = Row::new("growth").with("members", 1000).with("lost", 0);
        many.make_void("too late");
        let text = Rows(vec![few, many]).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "scenario  growth  growth");
        assert_eq!(lines[1], "members       10    1000");
        assert_eq!(lines[2], "lost           -       0");
        assert_eq!(lines[3], "void (row 2): too late");
        let searched = Row::new("send").with("tried", vec![1, 2]);
        let text = Rows::from(searched).to_string();
        assert_eq!(text, "scenario  send\ntried (row 1): 1\ntried (row 1): 2");
    }
}
