//! What an OpenAPI document gets that its generator does not know: bearer tokens, and examples for
//! `curl`.

use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http as Scheme, HttpAuthScheme, SecurityScheme};

/// Adds the security scheme `token`.
#[derive(Debug)]
pub struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = SecurityScheme::Http(Scheme::new(HttpAuthScheme::Bearer));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
    }
}

/// The document as it is served, with these examples by the id of their operation.
#[must_use]
pub fn complete(openapi: &OpenApi, examples: &[(&str, &str)]) -> Bytes {
    let mut document =
        serde_json::to_value(openapi).expect("a document of strings always serialises");
    for operation in operations(&mut document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        if let Some((_, source)) = examples.iter().find(|(its, _)| *its == id) {
            operation["x-codeSamples"] = json!([{ "lang": "Shell", "source": source }]);
        }
    }
    document.to_string().into()
}

/// All that can be asked, of a document.
pub fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter();
    let items = paths.flat_map(|paths| paths.values_mut());
    let operations = items.filter_map(Value::as_object_mut);
    operations
        .flat_map(|item| item.values_mut())
        .filter(|operation| operation.get("operationId").is_some())
}
