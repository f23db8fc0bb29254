//! JSON that satisfies a schema, from any model: held to it where the provider can, else asked for
//! in words, checked, and mended with the exact faults a few times.

use serde_json::Value;

use super::chat::{ChatRequest, Form, Message, Reply, Role};
use super::error::ModelError;
use super::{FormAbility, Service};

/// Faults that one request to mend names; the rest shows when these are mended.
const FAULTS_NAMED_MAX: usize = 10;

/// An answer of the right form.
#[derive(Debug, Clone, PartialEq)]
pub struct Structured {
    /// What was asked for.
    pub value: Value,
    /// All replies, the good one last: each has its cost.
    pub replies: Vec<Reply>,
}

/// Asks for JSON of the schema, with so many requests to mend it at most.
///
/// # Errors
/// When there is no answer, or none of the right form.
pub async fn ask(
    service: &Service,
    mut request: ChatRequest,
    name: &str,
    schema: &Value,
    repairs_max: u32,
) -> Result<Structured, ModelError> {
    if service.form() < FormAbility::Schema {
        request.messages.insert(0, demand(schema));
    }
    request.form = Form::Schema {
        name: name.to_owned(),
        schema: schema.clone(),
    };
    let own_messages = request.messages.len();
    let mut replies = Vec::new();
    loop {
        let reply = service.ask(&request).await?;
        let judged = judge(&reply.text, schema);
        let text = reply.text.clone();
        replies.push(reply);
        let faults = match judged {
            Ok(value) => return Ok(Structured { value, replies }),
            Err(faults) => faults,
        };
        if replies.len() > usize::try_from(repairs_max).unwrap_or(usize::MAX) {
            let first = faults.into_iter().next().unwrap_or_default();
            return Err(ModelError::Malformed(format!("not of the schema: {first}")));
        }
        request.messages.truncate(own_messages);
        request.messages.extend(mend(&text, &faults));
    }
}

/// The words for a model that cannot be held to a schema.
#[must_use]
pub fn demand(schema: &Value) -> Message {
    let words = format!(
        "Answer with one JSON object and nothing else, without a fence around it. \
         Its JSON schema:\n{schema}"
    );
    Message::new(Role::System, words)
}

/// What is asked of a model whose answer has faults.
#[must_use]
pub fn mend(answer: &str, faults: &[String]) -> [Message; 2] {
    let named = faults.iter().take(FAULTS_NAMED_MAX);
    let named: Vec<String> = named.map(|fault| format!("- {fault}")).collect();
    let words = format!(
        "That JSON is not as asked:\n{}\nAnswer with the whole JSON object again, \
         mended, and nothing else.",
        named.join("\n")
    );
    // A provider refuses an empty message.
    let answer = if answer.trim().is_empty() {
        "{}"
    } else {
        answer
    };
    [
        Message::new(Role::Assistant, answer),
        Message::new(Role::User, words),
    ]
}

/// The value, or its faults in words.
///
/// # Errors
/// When it is not JSON, or not of the schema.
pub fn judge(answer: &str, schema: &Value) -> Result<Value, Vec<String>> {
    let value = extract(answer).map_err(|fault| vec![fault])?;
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| vec![format!("the schema is none: {error}")])?;
    let faults: Vec<String> = validator
        .iter_errors(&value)
        .map(|error| format!("at {:?}: {error}", error.instance_path().to_string()))
        .collect();
    if faults.is_empty() {
        Ok(value)
    } else {
        Err(faults)
    }
}

/// The object itself, or the one in a fence, or the one with words around it.
fn extract(answer: &str) -> Result<Value, String> {
    let trimmed = answer.trim();
    let whole = match serde_json::from_str(trimmed) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let inner = trimmed
        .find('{')
        .zip(trimmed.rfind('}'))
        .filter(|(start, end)| start < end)
        .map(|(start, end)| &trimmed[start..=end]);
    match inner {
        Some(inner) => serde_json::from_str(inner).map_err(|error| format!("no JSON: {error}")),
        None => Err(format!("no JSON: {whole}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_found_among_words_and_its_faults_are_named() {
        let schema = json!({
            "type": "object",
            "properties": { "count": { "type": "integer" } },
            "required": ["count"],
        });
        for answer in [
            "{\"count\":3}",
            "```json\n{\"count\":3}\n```",
            "Here: {\"count\":3}. Good?",
        ] {
            assert_eq!(
                judge(answer, &schema),
                Ok(json!({ "count": 3 })),
                "{answer}"
            );
        }
        for answer in ["", "three", "{\"count\":", "{\"count\":\"三\"}", "{}", "}{"] {
            assert!(judge(answer, &schema).is_err(), "{answer}");
        }
        let faults = judge("{\"count\":\"三\"}", &schema).unwrap_err();
        assert!(faults[0].contains("/count"), "{faults:?}");
        let [answer, words] = mend("", &faults);
        assert_eq!(answer.content, "{}");
        assert!(words.content.contains(&faults[0]));
    }
}
