//! What a prompt says: the last fenced JSON block of a user that has an instruction, read as the
//! planner needs it. Keys that are not known are ignored, those that are missing are empty.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// "system", "user" and so on.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// What is to be planned.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Prompt {
    /// What a person wants done.
    pub instruction: String,
    /// Who can do it.
    #[serde(default)]
    pub robots: Vec<Robot>,
    /// What is where.
    #[serde(default)]
    pub world: Option<World>,
    /// What became of an earlier plan.
    #[serde(default)]
    pub progress: Option<Progress>,
}

/// A robot.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Robot {
    /// How it is addressed.
    pub name: String,
    /// What it is.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub model: String,
    /// What it declares.
    #[serde(default)]
    pub actions: Vec<Action>,
}

/// Something that a robot declares that it does.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Action {
    /// "carry" and so on.
    pub name: String,
}

/// The world.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct World {
    /// Named parts of the floor.
    #[serde(default)]
    pub places: Vec<Place>,
    /// What can be carried.
    #[serde(default)]
    pub objects: Vec<Object>,
}

/// A place.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Place {
    /// How steps name it.
    pub id: String,
    /// What it is.
    #[serde(default)]
    pub kind: String,
    /// How people name it.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// A thing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Object {
    /// How steps name it.
    pub id: String,
    /// What it is.
    #[serde(default)]
    pub kind: String,
    /// How people name it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The id of the place where it is; none on the way.
    #[serde(default)]
    pub at: Option<String>,
    /// Whether it has to be lifted before it is carried.
    #[serde(default)]
    pub heavy: bool,
}

/// What became of an earlier plan for the same instruction.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Progress {
    /// Steps that are done.
    #[serde(default)]
    pub finished: Vec<PastStep>,
    /// Steps that are not going to be.
    #[serde(default)]
    pub failed: Vec<PastStep>,
}

/// A step of an earlier plan.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct PastStep {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Who had it.
    #[serde(default)]
    pub robot: String,
    /// What was to be done.
    #[serde(default)]
    pub action: String,
    /// With what.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The last block of the last user's message that has one: a request to mend a plan has none, and
/// is about the one before.
#[must_use]
pub fn find(messages: &[Message]) -> Option<Prompt> {
    messages
        .iter()
        .rev()
        .filter(|message| message.role == "user")
        .find_map(|message| blocks(&message.content).into_iter().rev().find_map(read))
}

fn read(block: &str) -> Option<Prompt> {
    let value: Value = serde_json::from_str(block).ok()?;
    value.get("instruction")?;
    serde_json::from_value(value).ok()
}

/// The JSON blocks: between a line that is "```json" and one that is "```".
fn blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut open = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        match (open, line.trim()) {
            (None, "```json") => open = Some(offset + line.len()),
            (Some(start), "```") => {
                blocks.push(&text[start..offset]);
                open = None;
            }
            (None | Some(_), _) => {}
        }
        offset += line.len();
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(content: &str) -> Message {
        Message {
            role: "user".into(),
            content: content.into(),
        }
    }

    #[test]
    fn the_last_block_with_an_instruction_counts() {
        let first = user("Plan:\n```json\n{\"instruction\":\"one\"}\n```\n");
        let two = user(
            "```json\n{\"instruction\":\"two\",\"world\":null}\n```\nreply like\n\
             ```json\n{\"steps\":[]}\n```\n",
        );
        let system = Message {
            role: "system".into(),
            content: "```json\n{\"instruction\":\"no\"}\n```".into(),
        };
        let mend = user("This is not valid: steps is missing.");
        let found = |messages: &[Message]| find(messages).map(|prompt| prompt.instruction);
        assert_eq!(found(std::slice::from_ref(&first)).unwrap(), "one");
        assert_eq!(found(&[first.clone(), two, mend]).unwrap(), "two");
        assert_eq!(found(&[first, system]).unwrap(), "one");
        assert_eq!(found(&[user("hello")]), None);
    }

    #[test]
    fn an_instruction_cannot_end_its_block() {
        let text = "```json\n{\"instruction\":\"a\\n```\\n{}\"}\n```";
        assert_eq!(find(&[user(text)]).unwrap().instruction, "a\n```\n{}");
    }
}
