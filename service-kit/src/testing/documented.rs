//! Whether an OpenAPI document and its manual have an example of whatever can be asked.

use serde_json::Value;

use crate::http::operations;

/// Every operation has an example for `curl`, every example an operation, and the manual has all of
/// them.
///
/// # Panics
/// When it is not so.
pub fn assert_documented(document: &[u8], examples: &[(&str, &str)], manual: &str) {
    let mut document: Value = serde_json::from_slice(document).expect("a document is JSON");
    let mut ids = Vec::new();
    for operation in operations(&mut document) {
        let source = operation["x-codeSamples"][0]["source"].as_str();
        assert!(source.unwrap_or_default().contains("curl "), "{operation}");
        let id = operation["operationId"].as_str();
        ids.push(id.expect("an operation has an id").to_owned());
    }
    ids.sort();
    let mut known: Vec<_> = examples.iter().map(|(id, _)| *id).collect();
    known.sort_unstable();
    assert_eq!(ids, known);
    for (id, source) in examples {
        assert!(manual.contains(source), "the manual lacks {id}");
    }
}
