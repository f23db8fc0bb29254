//! The OpenAPI document: generated from the code, with examples for `curl` that the tests run.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use service_kit::http::{self, Bearer};
use utoipa::OpenApi;

use super::{Http, download, media, messages, stream, upload};

/// By the id of the operation. They use the variables HTTP (`https://HOST:PORT`), CA (the fleet's
/// authority, a file), TOKEN, CONVERSATION and MESSAGE_ID; those of media also FILE, UPLOAD, SEQUENCE and
/// DOWNLOAD.
const EXAMPLES: [(&str, &str); 11] = [
    ("send_message", include_str!("examples/send_message.sh")),
    ("read_messages", include_str!("examples/read_messages.sh")),
    (
        "list_conversations",
        include_str!("examples/list_conversations.sh"),
    ),
    ("stream_events", include_str!("examples/stream_events.sh")),
    ("create_media", include_str!("examples/create_media.sh")),
    ("see_upload", include_str!("examples/see_upload.sh")),
    ("send_upload", include_str!("examples/send_upload.sh")),
    ("finish_upload", include_str!("examples/finish_upload.sh")),
    ("open_media", include_str!("examples/open_media.sh")),
    ("fetch_media", include_str!("examples/fetch_media.sh")),
    ("list_media", include_str!("examples/list_media.sh")),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Messages by HTTP",
        version = "1",
        description = "For clients that cannot hold a socket of the protocol. The same accounts, \
            rights, limits and errors. Robots present their certificate in the TLS handshake, \
            others a bearer token. A WebSocket with the protocol's frames is at /v1/ws.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        messages::send, messages::read_page, messages::list, stream::open,
        media::create, media::open, media::list, upload::see, upload::send, upload::finish,
        download::fetch,
    ),
    modifiers(&Bearer),
    security(("token" = []), ()),
)]
struct Document;

/// The document as it is served.
pub(super) fn document() -> Bytes {
    http::complete(&Document::openapi(), &EXAMPLES)
}

/// Serves it, to everybody.
pub(super) async fn serve(State(http): State<Arc<Http>>) -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, http.openapi.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use service_kit::testing::assert_documented;

    use super::*;

    #[test]
    fn every_operation_has_an_example_and_the_manual_has_them_all() {
        let read = |name| {
            let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/");
            std::fs::read_to_string(format!("{docs}{name}")).unwrap()
        };
        let manual = read("HTTP.md") + &read("MEDIA.md");
        assert_documented(&document(), &EXAMPLES, &manual);
    }

    #[test]
    fn forms_are_named_with_their_fields() {
        let document: Value = serde_json::from_slice(&document()).unwrap();
        let schemas = &document["components"]["schemas"];
        for name in [
            "SendBody",
            "SentBody",
            "Page",
            "Entry",
            "Content",
            "ErrorBody",
        ] {
            assert!(schemas[name].is_object(), "{name}");
        }
        let sent = &schemas["SentBody"]["properties"];
        assert!(sent["duplicate"]["description"].is_string());
    }
}
