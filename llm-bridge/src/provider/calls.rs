//! Calls of tools, collected from their fragments. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::chat::ToolCall;
use super::error::ModelError;
use crate::plan::ANSWER_BYTES_MAX;

/// Calls in one answer.
pub(super) const TOOL_CALLS_MAX: usize = 64;

/// Calls that come in fragments, by their place.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<u64, ToolCall>);

/// A fragment of a call, or all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallPart {
    index: Option<u64>,
    id: Option<String>,
    function: FunctionPart,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionPart {
    name: Option<String>,
    arguments: Option<Value>,
}

impl Calls {
    /// Takes the fragments of one chunk.
    pub(super) fn push(&mut self, parts: Vec<CallPart>) -> Result<(), ModelError> {
        for (place, part) in (0_u64..).zip(parts) {
            let index = part.index.unwrap_or(place);
            if self.0.len() >= TOOL_CALLS_MAX && !self.0.contains_key(&index) {
                return Err(ModelError::TooLong);
            }
            let call = self.0.entry(index).or_default();
            // Given once, or again and again, or as an empty text after the first time.
            for (kept, told) in [
                (&mut call.id, part.id),
                (&mut call.name, part.function.name),
            ] {
                if let Some(told) = told.filter(|told| !told.is_empty()) {
                    *kept = told;
                }
            }
            match part.function.arguments {
                None | Some(Value::Null) => {}
                Some(Value::String(fragment)) => call.arguments.push_str(&fragment),
                // Some servers give the object itself.
                Some(object) => call.arguments = object.to_string(),
            }
            if call.arguments.len() > ANSWER_BYTES_MAX {
                return Err(ModelError::TooLong);
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn finish(self) -> Vec<ToolCall> {
        self.0.into_values().collect()
    }
}
