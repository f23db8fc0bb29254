//! A plan as a model writes it: its JSON, the schema of that, and reading it. Whether the plan makes
//! sense for these robots is not here.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

/// The longest answer that is read, in bytes. A plan that fits in one message is shorter.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The name under which the schema is given to a provider.
pub const SCHEMA_NAME: &str = "plan";

/// A plan for the robots, or why there is none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct ModelPlan {
    /// What is to be done. Empty only together with "declined".
    pub steps: Vec<ModelStep>,
    /// One or two sentences for the people in the group, in the language of the instruction.
    #[serde(default)]
    pub note: String,
    /// Why the instruction cannot be carried out by these robots, in the language of the
    /// instruction; null when there are steps.
    #[serde(default)]
    pub declined: Option<String>,
}

/// What one robot does.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct ModelStep {
    /// Unique within the plan, for example "s1".
    pub id: String,
    /// The name of one of the robots.
    pub robot: String,
    /// One of the actions of that robot.
    pub action: String,
    /// An object that satisfies the action's arguments_schema.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// The ids of the steps that must be finished before this one starts.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// How long the robot may take, in seconds.
    pub time_limit_s: u64,
}

/// An answer that is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// There is nothing in it.
    #[error("The answer is empty.")]
    Empty,
    /// It is not read at all.
    #[error("The answer is longer than {ANSWER_BYTES_MAX} bytes.")]
    TooLong,
    /// It is not the JSON that was asked for.
    #[error("The answer is not a JSON object of the schema: {0}.")]
    Json(String),
}

/// The JSON schema of an answer.
#[must_use]
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.meta_schema = None;
            settings.inline_subschemas = true;
        });
        settings
            .into_generator()
            .into_root_schema_for::<ModelPlan>()
            .to_value()
    });
    &SCHEMA
}

/// Reads an answer: the object itself, or one in a fenced block, or one with words around it.
pub fn parse(answer: &str) -> Result<ModelPlan, AnswerError> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(AnswerError::TooLong);
    }
    let trimmed = answer.trim();
    if trimmed.is_empty() {
        return Err(AnswerError::Empty);
    }
    let whole = match object(trimmed) {
        Ok(plan) => return Ok(plan),
        Err(error) => error,
    };
    // With words around an object, its own error is the one that helps.
    match fenced(trimmed).or_else(|| braced(trimmed)) {
        Some(inner) if inner != trimmed => object(inner),
        Some(_) | None => Err(whole),
    }
}

/// A list would do for a struct, and is no answer.
fn object(text: &str) -> Result<ModelPlan, AnswerError> {
    serde_json::from_str::<Map<String, Value>>(text)
        .and_then(|object| serde_json::from_value(Value::Object(object)))
        .map_err(|error| AnswerError::Json(error.to_string()))
}

/// What stands in the first block between a line that starts with three backticks and the next.
fn fenced(text: &str) -> Option<&str> {
    let start = text.find("```")?;
    let body = start + text[start..].find('\n')? + 1;
    let end = text[body..].find("\n```").map(|at| body + at)?;
    Some(text[body..end].trim())
}

/// From the first brace to the last.
fn braced(text: &str) -> Option<&str> {
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    (start < end).then(|| &text[start..=end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLAN: &str = r#"{"steps":[{"id":"s1","robot":"r1","action":"inspect","arguments":
        {"area":"走廊"},"depends_on":[],"time_limit_s":60}],"note":"巡检走廊","declined":null}"#;

    #[test]
    fn a_plan_is_read_with_and_without_a_fence_and_words() {
        let plain = parse(PLAN).unwrap();
        assert_eq!(plain.steps[0].arguments["area"], json!("走廊"));
        assert_eq!(plain.note, "巡检走廊");
        for around in [
            format!("```json\n{PLAN}\n```"),
            format!("```\n{PLAN}\n```\n"),
            format!("Here is the plan:\n```json\n{PLAN}\n```\nI hope it helps."),
            format!("好的。{PLAN} 完成"),
        ] {
            assert_eq!(parse(&around).as_ref(), Ok(&plain), "{around}");
        }
    }

    #[test]
    fn what_may_be_missing_is_empty() {
        let plan = parse(r#"{"steps":[],"declined":"no robot can fly"}"#).unwrap();
        assert_eq!(plan.declined.as_deref(), Some("no robot can fly"));
        let step = r#"{"steps":[{"id":"a","robot":"b","action":"charge","time_limit_s":1}]}"#;
        assert!(parse(step).unwrap().steps[0].arguments.is_empty());
    }

    #[test]
    fn what_is_no_plan_says_why() {
        assert_eq!(parse(" \n"), Err(AnswerError::Empty));
        assert_eq!(
            parse(&"x".repeat(ANSWER_BYTES_MAX + 1)),
            Err(AnswerError::TooLong)
        );
        for (answer, word) in [
            ("no", "expected"),
            ("{\"steps\":[{\"id\":\"s1\"", "EOF"),
            ("{}", "steps"),
            ("[]", "expected a map"),
            ("{\"steps\":[{\"id\":\"s1\"}]}", "robot"),
            ("```json\n{\"steps\":7}\n```", "sequence"),
        ] {
            let error = parse(answer).unwrap_err().to_string();
            assert!(error.contains(word), "{answer}: {error}");
        }
    }

    #[test]
    fn the_schema_accepts_the_plan_and_names_every_key() {
        let value: Value = serde_json::from_str(PLAN).unwrap();
        let validator = jsonschema::validator_for(schema()).unwrap();
        assert!(validator.is_valid(&value));
        assert!(!validator.is_valid(&json!({ "steps": [{ "id": "s1" }] })));
        let keys = schema()["properties"]["steps"]["items"]["properties"].clone();
        for key in [
            "id",
            "robot",
            "action",
            "arguments",
            "depends_on",
            "time_limit_s",
        ] {
            assert!(keys.get(key).is_some(), "{key}: {keys}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in "(`{0,3}|[a-z{}\\[\\]\":,\n ]|箱){0,60}") {
            drop(parse(&answer));
        }
    }
}
