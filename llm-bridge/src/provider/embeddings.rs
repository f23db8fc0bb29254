//! Embeddings in the form of `OpenAI`. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use super::chat::Embeddings;
use super::error::ModelError;
use super::told::Told;

/// The request for embeddings.
pub(super) fn call(model: &str, texts: &[String]) -> Call {
    let body = json!({ "model": model, "input": texts, "encoding_format": "float" });
    Call::post("/embeddings", body)
}

#[derive(Debug, Deserialize)]
struct EmbeddingList {
    data: Vec<EmbeddingPart>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<UsagePart>,
}

#[derive(Debug, Deserialize)]
struct EmbeddingPart {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsagePart {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// Reads embeddings.
pub(super) fn read(body: &[u8], error: fn(&Told) -> ModelError) -> Result<Embeddings, ModelError> {
    let malformed = |error| ModelError::Malformed(format!("no embeddings: {error}"));
    let value: Value = serde_json::from_slice(body).map_err(malformed)?;
    if !value["error"].is_null() {
        return Err(error(&Told::of(200, None, &value)));
    }
    let list = EmbeddingList::deserialize(&value).map_err(malformed)?;
    let parts = list.data.into_iter().enumerate();
    let parts = parts.map(|(place, part)| (part.index.unwrap_or(place), part.embedding));
    Ok(Embeddings {
        vectors: in_order(parts.collect())?,
        model: list.model.unwrap_or_default(),
        tokens: list.usage.map_or(0, |usage| {
            usage
                .total_tokens
                .or(usage.prompt_tokens)
                .unwrap_or_default()
        }),
    })
}

/// Vectors in the order of their texts, none missing.
pub(super) fn in_order(mut parts: Vec<(usize, Vec<f32>)>) -> Result<Vec<Vec<f32>>, ModelError> {
    parts.sort_by_key(|(index, _)| *index);
    let is_dense = parts
        .iter()
        .enumerate()
        .all(|(place, (index, _))| place == *index);
    let length = parts.first().map_or(0, |(_, vector)| vector.len());
    if !is_dense
        || parts
            .iter()
            .any(|(_, vector)| vector.is_empty() || vector.len() != length)
    {
        return Err(ModelError::Malformed("embeddings of other texts".into()));
    }
    Ok(parts.into_iter().map(|(_, vector)| vector).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_are_in_the_order_of_their_texts() {
        let read = |body: &str| read(body.as_bytes(), Told::by_status);
        let list = r#"{"data":[{"index":1,"embedding":[2.0]},{"index":0,"embedding":[1.0]}],
            "model":"e","usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        let expected = Embeddings {
            vectors: vec![vec![1.0], vec![2.0]],
            model: "e".into(),
            tokens: 4,
        };
        assert_eq!(read(list), Ok(expected));
        for wrong in [
            r#"{"data":[{"index":1,"embedding":[2.0]}]}"#,
            r#"{"data":[{"embedding":[]}]}"#,
            r#"{"data":[{"embedding":[1.0]},{"embedding":[1.0,2.0]}]}"#,
            "{}",
        ] {
            assert_eq!(read(wrong).unwrap_err().class(), "malformed", "{wrong}");
        }
    }
}
