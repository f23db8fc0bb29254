//! Media by HTTP: an upload goes on at the byte where it was cut, is verified, is fetched in whole
//! and in parts by whoever may read the message, and goes when no message refers to it.

use bench::cluster::Cluster;
use bench::wait::{metric_at_least, until};
use bytes::Bytes;
use client_sdk::protocol::wire::Media;
use client_sdk::{Content, ConversationId, ErrorCode, SendError};
use deploy::tiers::Tier;
use futures_util::stream;
use protocol::media::{from_hex, to_hex};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::http_client::{Web, message_id};
use crate::people::Group;

const MIB: usize = 1024 * 1024;

/// What a gateway writes at once.
const PART: usize = 4 * MIB;

/// Bytes that are nowhere the same.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .to_vec()
}

/// An upload by HTTP.
pub(crate) struct Upload<'a> {
    web: &'a Web,
    pub(crate) created: Value,
}

impl<'a> Upload<'a> {
    pub(crate) async fn create(
        web: &'a Web,
        n: u8,
        (bytes, sha256): (usize, &[u8]),
    ) -> (StatusCode, Value) {
        let body = json!({
            "client_message_id": message_id(n).to_string(), "bytes": bytes,
            "sha256": to_hex(sha256), "media_type": "image/png", "name": "现场.png",
        });
        let request = web.client.post(format!("{}/v1/media", web.base));
        let request = request.bearer_auth(&web.token).body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub(crate) async fn begin(web: &'a Web, n: u8, bytes: &[u8]) -> Self {
        let (status, created) = Self::create(web, n, (bytes.len(), &sha256(bytes))).await;
        assert_eq!(status, StatusCode::OK, "{created}");
        Self { web, created }
    }

    fn request(&self, method: Method) -> reqwest::RequestBuilder {
        let path = self.created["upload_url"].as_str().unwrap();
        self.web
            .client
            .request(method, format!("{}{path}", self.web.base))
    }

    pub(crate) async fn offset(&self) -> usize {
        let answer = self.request(Method::HEAD).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        answer.headers()["upload-offset"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(crate) async fn send(&self, from: usize, bytes: &[u8]) -> reqwest::Response {
        let request = self.request(Method::PATCH).header("Upload-Offset", from);
        request.body(bytes.to_vec()).send().await.unwrap()
    }

    pub(crate) async fn finish(&self) -> (StatusCode, Value) {
        let answer = self.request(Method::POST).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// All of it at once.
    pub(crate) async fn whole(web: &'a Web, n: u8, bytes: &[u8]) -> Self {
        let upload = Self::begin(web, n, bytes).await;
        let sent = upload.send(0, bytes).await;
        assert_eq!(sent.status(), StatusCode::NO_CONTENT);
        let (status, done) = upload.finish().await;
        assert_eq!(
            (status, &done["state"]),
            (StatusCode::OK, &json!("complete"))
        );
        upload
    }

    pub(crate) fn content(&self, bytes: &[u8]) -> Content {
        Content::Media(Media {
            reference: self.created["reference"].as_str().unwrap().into(),
            media_type: "image/png".into(),
            bytes: bytes.len() as u64,
            sha256: sha256(bytes).into(),
            name: "现场.png".into(),
            caption: "左边这一箱".into(),
        })
    }

    /// A request whose body stands still after these bytes, for as long as the sender is kept.
    pub(crate) fn hang(&self, from: usize, bytes: &[u8]) -> mpsc::Sender<Bytes> {
        let (sender, receiver) = mpsc::channel::<Bytes>(1);
        let first = Bytes::copy_from_slice(bytes);
        let rest = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|bytes| (bytes, receiver))
        });
        let all = futures_util::StreamExt::chain(stream::iter([first]), rest);
        let body = futures_util::StreamExt::map(all, Ok::<_, std::io::Error>);
        let request = self.request(Method::PATCH).header("Upload-Offset", from);
        let request = request.body(reqwest::Body::wrap_stream(body));
        // What becomes of it is seen by how far the upload is.
        tokio::spawn(async move { drop(request.send().await) });
        sender
    }
}

pub(crate) async fn open(
    web: &Web,
    conversation: ConversationId,
    sequence: u64,
) -> (StatusCode, Value) {
    let path = format!("/v1/conversations/{conversation}/messages/{sequence}/media");
    web.get(&path).await
}

pub(crate) fn url(web: &Web, opened: &Value) -> String {
    format!("{}{}", web.base, opened["download_url"].as_str().unwrap())
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_cut_and_is_fetched_in_parts() {
    let mut cluster = Cluster::start().await.unwrap();
    let group = Group::make(&cluster).await;
    let web = Web::new(&cluster, "ana");
    let bytes = noise(5 * PART + 77, 1);
    let upload = Upload::begin(&web, 1, &bytes).await;

    // Two parts and a half are sent, two are written; then the gateway is killed.
    let hanging = upload.hang(0, &bytes[..2 * PART + PART / 2]);
    let counter = "im_gateway_media_bytes_total";
    let written = 2 * PART as u64;
    metric_at_least(&cluster, Tier::Gateway, counter, written)
        .await
        .unwrap();
    cluster.kill(Tier::Gateway).await.unwrap();
    drop(hanging);
    let at = upload.offset().await;
    let sent = 2 * PART..=2 * PART + PART / 2;
    assert!(sent.contains(&at), "{at}");

    // Now only the connection breaks: what was sent is kept to the byte.
    let cut = at + PART + 12_345;
    let hanging = upload.hang(at, &bytes[at..cut]);
    metric_at_least(&cluster, Tier::Gateway, counter, PART as u64)
        .await
        .unwrap();
    let there = until(async || {
        // A newer attempt ends the one that hangs; it is not taken, for it begins elsewhere.
        upload.send(1, b"x").await;
        let there = upload.offset().await;
        (there >= at + PART).then_some(there)
    });
    let there = there.await.unwrap();
    assert!(there <= cut, "{there}");
    drop(hanging);

    let elsewhere = upload.send(7, b"x").await;
    assert_eq!(elsewhere.status(), StatusCode::CONFLICT);
    assert!(elsewhere.headers().contains_key("upload-offset"));
    let (early, said) = upload.finish().await;
    assert_eq!(early, StatusCode::CONFLICT, "{said}");
    // Nobody refers to what is not whole.
    let refused = group
        .ana
        .client
        .send(group.conversation, upload.content(&bytes))
        .await;
    let Err(SendError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.code, ErrorCode::NoSuchMedia);
    // What the attempt before had in hand may still be on its way into the store.
    let rest = until(async || {
        let from = upload.offset().await;
        let rest = upload.send(from, &bytes[from..]).await;
        (rest.status() == StatusCode::NO_CONTENT).then_some(rest)
    });
    let rest = rest.await.unwrap();
    assert_eq!(rest.headers()["upload-offset"], bytes.len().to_string());
    let (status, done) = upload.finish().await;
    assert_eq!(status, StatusCode::OK, "{done}");
    assert_eq!(
        from_hex(done["sha256"].as_str().unwrap()).unwrap(),
        sha256(&bytes)
    );
    assert_eq!(upload.finish().await.0, StatusCode::OK, "again");

    let sent = group
        .ana
        .client
        .send(group.conversation, upload.content(&bytes))
        .await;
    let sequence = sent.unwrap().sequence.0;
    fetched(&cluster, &group, sequence, &bytes).await;
    refusals(&cluster, &web, group.conversation, sequence).await;
    cluster.stop().await.unwrap();
}

/// By a member, in whole and in parts.
async fn fetched(cluster: &Cluster, group: &Group, sequence: u64, bytes: &[u8]) {
    let bo = Web::new(cluster, "bo");
    let (status, opened) = open(&bo, group.conversation, sequence).await;
    assert_eq!(status, StatusCode::OK, "{opened}");
    assert_eq!(opened["media"]["name"], "现场.png");
    let url = url(&bo, &opened);
    let get = async |headers: &[(&str, &str)]| {
        let mut request = bo.client.get(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let whole = get(&[]).await;
    assert_eq!(whole.status(), StatusCode::OK);
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.headers()["content-type"], "image/png");
    assert!(whole.bytes().await.unwrap() == bytes, "other bytes came");

    // Over the seam of two parts.
    let (first, last) = (PART - 3, PART + 4);
    let part = get(&[("Range", &format!("bytes={first}-{last}"))]).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    let there = format!("bytes {first}-{last}/{}", bytes.len());
    assert_eq!(part.headers()["content-range"], there);
    assert_eq!(part.bytes().await.unwrap(), &bytes[first..=last]);
    let tail = get(&[("Range", "bytes=-5"), ("If-Range", &etag)]).await;
    assert_eq!(tail.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(tail.bytes().await.unwrap(), &bytes[bytes.len() - 5..]);
    let other = get(&[("Range", "bytes=0-1"), ("If-Range", "\"0\"")]).await;
    assert_eq!(other.status(), StatusCode::OK);
    let none = get(&[("Range", &format!("bytes={}-", bytes.len()))]).await;
    assert_eq!(none.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        none.headers()["content-range"],
        format!("bytes */{}", bytes.len())
    );
    let known = get(&[("If-None-Match", &etag)]).await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);

    // Forged, and of another purpose.
    for (from, to) in [
        ("account=", "account=1"),
        ("expires=", "expires=9"),
        ("/media/", "/uploads/"),
    ] {
        let forged = bo.client.head(url.replace(from, to)).send().await.unwrap();
        assert_eq!(forged.status(), StatusCode::FORBIDDEN, "{to}");
    }
}

async fn refusals(cluster: &Cluster, web: &Web, conversation: ConversationId, sequence: u64) {
    let eve = Web::new(cluster, "eve");
    let (status, said) = open(&eve, conversation, sequence).await;
    let code = said["error"]["code"].as_str().unwrap();
    assert_eq!(
        (status, code),
        (StatusCode::FORBIDDEN, "NOT_A_MEMBER"),
        "{said}"
    );
    let (status, said) = open(web, conversation, 1).await;
    let code = said["error"]["code"].as_str().unwrap();
    assert_eq!(
        (status, code),
        (StatusCode::NOT_FOUND, "NO_SUCH_MEDIA"),
        "{said}"
    );

    // Other bytes than were said are removed, and the same request begins anew.
    let (bytes, other) = (noise(1000, 2), noise(1000, 3));
    let upload = Upload::begin(web, 2, &bytes).await;
    assert_eq!(
        upload.send(0, &other).await.status(),
        StatusCode::NO_CONTENT
    );
    let too_long = upload.send(1000, b"x").await;
    assert_eq!(too_long.status(), StatusCode::BAD_REQUEST);
    let (status, said) = upload.finish().await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{said}");
    assert!(
        said["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("sha256"),
        "{said}"
    );
    assert_eq!(upload.finish().await.0, StatusCode::NOT_FOUND);
    let (status, again) = Upload::create(web, 3, (1000, &sha256(&bytes))).await;
    assert_eq!(status, StatusCode::OK, "{again}");
    let huge = Upload::create(web, 4, (usize::MAX / 2, &sha256(&bytes))).await;
    assert_eq!(huge.0, StatusCode::PAYLOAD_TOO_LARGE, "{}", huge.1);
}
