//! `openai-proxy` as a process of its own, before a mock of the provider: whom it lets through to
//! what, how it bounds and counts, and that the real key is nowhere to be seen.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod running;

use std::time::Duration;

use llm_bridge::mocks::scenario::{Cut, Scenario};
use llm_bridge::provider::ChatRequest;
use llm_bridge::provider::chat::{Message, Role};
use llm_bridge::proxy::SUBJECT_PREFIX;
use serde_json::{Value, json};
use service_kit::clock;
use service_kit::token::TokenSigner;

use crate::running::{Running, free_address, new_keys, said};

const REAL_KEY: &str = "sk-real-98765432109876543210";

/// How long anything here is waited for.
const WITHIN: Duration = Duration::from_secs(30);

fn question(words: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::new(Role::User, words)],
        is_streamed: true,
        ..ChatRequest::default()
    }
}

fn body(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "x" }] })
}

#[tokio::test]
async fn the_bridge_asks_through_it_and_each_request_is_accounted() {
    let running = Running::start(&[]).await;
    let service = running.service();
    for cut in Cut::ALL {
        let words = "去 B区，\"拿\" 😀";
        assert!(running.mock.push(Scenario {
            cut,
            ..Scenario::say(words)
        }));
        let reply = service.ask(&question("去哪里？")).await.unwrap();
        assert_eq!(reply.text, words);
        assert!(reply.usage.is_some());
    }
    let embedded = service.embed(&["a".into(), "箱子".into()]).await.unwrap();
    assert_eq!(embedded.vectors.len(), 2);
    let seen = running.mock.take_seen();
    assert!(
        seen.iter()
            .all(|seen| seen.authorization == format!("Bearer {REAL_KEY}"))
    );
    let lines = running.lines(Cut::ALL.len() + 1).await;
    assert!(
        lines
            .iter()
            .all(|line| line.client == "planner" && line.status == 200)
    );
    assert!(
        lines
            .iter()
            .all(|line| line.is_told && line.prompt_tokens > 0),
        "{lines:?}"
    );
}

#[tokio::test]
async fn keys_paths_and_models_that_are_not_listed_do_not_pass() {
    let running = Running::start(&[]).await;
    let now_ms = clock::unix_ms();
    let good = running.key("a", now_ms);
    assert_eq!(
        running
            .post("/chat/completions", &good, &body("gpt-4.1-mini"))
            .await
            .0,
        200
    );
    let other_folder = tempfile::tempdir().unwrap();
    new_keys(other_folder.path()).await;
    let stranger = TokenSigner::from_pem(&other_folder.path().join("proxy-signing.pem")).unwrap();
    let subject = format!("{SUBJECT_PREFIX}a");
    let own = TokenSigner::from_pem(&running.signing_key()).unwrap();
    for (key, why) in [
        ("", "no key"),
        (REAL_KEY, "the real key is none of ours"),
        (&running.key("a", now_ms - 600_000), "expired"),
        (
            &stranger.sign(&subject, now_ms, 300_000),
            "signed by somebody else",
        ),
        (
            &own.sign("operator:ana", now_ms, 300_000),
            "for something else",
        ),
    ] {
        let (status, said) = running
            .post("/chat/completions", key, &body("gpt-4.1-mini"))
            .await;
        assert_eq!(
            (status, &said["error"]["code"]),
            (401, &json!("invalid_api_key")),
            "{why}"
        );
    }
    for (path, model, code) in [
        ("/chat/completions", "gpt-5-pro", "model_not_found"),
        ("/files", "gpt-4.1-mini", "path_not_allowed"),
        ("/chat/completions", "", "model_not_found"),
    ] {
        let (status, said) = running.post(path, &good, &body(model)).await;
        assert_eq!(
            (status, said["error"]["code"].as_str()),
            (404, Some(code)),
            "{path} {model}"
        );
    }
    assert_eq!(running.mock.take_seen().len(), 1, "nothing else has passed");
}

#[tokio::test]
async fn requests_and_tokens_are_bounded_and_a_days_tokens_outlive_a_restart() {
    let bounds = [
        ("CLIENTS__REQUESTS_PER_MINUTE", "3"),
        ("CLIENTS__TOKENS_PER_DAY", "6000"),
    ];
    let mut running = Running::start(&bounds).await;
    let now_ms = clock::unix_ms();
    let (first, second) = (running.key("a", now_ms), running.key("b", now_ms));
    for _ in 0..3 {
        assert_eq!(
            running
                .post("/chat/completions", &first, &body("gpt-4.1"))
                .await
                .0,
            200
        );
    }
    let (status, said) = running
        .post("/chat/completions", &first, &body("gpt-4.1"))
        .await;
    assert_eq!(
        (status, said["error"]["code"].as_str()),
        (429, Some("rate_limit_exceeded"))
    );
    // An answer without a bound sets 4096 aside, a second one at the same time is too much.
    let slow = Scenario {
        first_delay_ms: 300,
        ..Scenario::default()
    };
    assert!(running.mock.push(slow));
    let gpt = body("gpt-4.1");
    let (one, two) = tokio::join!(
        running.post("/chat/completions", &second, &gpt),
        running.post("/chat/completions", &second, &gpt),
    );
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
    // An expensive answer, and a restart.
    let words = "字".repeat(3000);
    assert!(running.mock.push(Scenario::say(&words)));
    assert_eq!(
        running.post("/chat/completions", &second, &gpt).await.0,
        200
    );
    let lines = running.lines(5).await;
    let spent: u64 = lines
        .iter()
        .filter(|its| its.client == "b")
        .map(|its| its.answer_tokens)
        .sum();
    assert!(spent > 3000, "{lines:?}");
    running.child.kill().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = running.mock.base_url(listener.local_addr().unwrap());
    tokio::spawn(running.mock.clone().serve(listener));
    running.address = free_address();
    running.child = Running::spawn(running.folder.path(), running.address, &upstream, &bounds);
    running.ready().await;
    let (status, said) = running.post("/chat/completions", &second, &gpt).await;
    assert_eq!(
        (status, said["error"]["code"].as_str()),
        (429, Some("insufficient_quota"))
    );
    assert_eq!(running.post("/chat/completions", &first, &gpt).await.0, 200);
}

#[tokio::test]
async fn a_stream_that_is_cut_or_left_is_accounted_by_what_has_passed() {
    let running = Running::start(&[]).await;
    let service = running.service();
    let breaks = Scenario {
        breaks: true,
        ..Scenario::say(&"字".repeat(400))
    };
    assert!(running.mock.push(breaks));
    assert_eq!(
        service
            .ask(&question("去哪里？"))
            .await
            .unwrap_err()
            .class(),
        "cut"
    );
    let lines = running.lines(1).await;
    assert!(
        !lines[0].is_told && lines[0].answer_tokens > 50,
        "{lines:?}"
    );
    // The client goes away in the middle.
    let slow = Scenario {
        piece_delay_ms: 5,
        ..Scenario::say(&"字".repeat(4000))
    };
    assert!(running.mock.push(slow));
    let asked = tokio::time::timeout(Duration::from_millis(500), service.ask(&question("x"))).await;
    assert!(asked.is_err());
    let lines = running.lines(2).await;
    assert!(
        !lines[1].is_told && lines[1].answer_tokens > 10,
        "{lines:?}"
    );
    assert!(lines[1].answer_tokens < 4000, "{lines:?}");
}

#[tokio::test]
async fn the_real_key_is_in_no_log_no_answer_and_no_command_line() {
    let running = Running::start(&[]).await;
    let key = running.key("a", clock::unix_ms());
    assert!(running.mock.push(Scenario::error("server_error")));
    let (status, said) = running
        .post("/chat/completions", &key, &body("gpt-4.1"))
        .await;
    assert_eq!(status, 500);
    assert!(!said.to_string().contains(REAL_KEY));
    assert_eq!(
        running
            .post("/chat/completions", &key, &body("gpt-4.1"))
            .await
            .0,
        200
    );
    let pid = running.child.id().unwrap();
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(REAL_KEY), "{file}");
    }
    let said = running.end().await;
    assert!(said.contains("passing on"), "nothing was logged: {said}");
    assert!(!said.contains(REAL_KEY) && !said.contains(&key), "{said}");
}

#[tokio::test]
async fn plain_http_beyond_this_machine_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    new_keys(folder.path()).await;
    let mut child = Running::spawn(
        folder.path(),
        "0.0.0.0:0".parse().unwrap(),
        "http://x/v1",
        &[],
    );
    let status = tokio::time::timeout(WITHIN, child.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(64));
    let said = said(folder.path());
    assert!(said.contains("listen.certificate"), "{said}");
}

#[tokio::test]
async fn bridges_come_in_by_tls_and_a_handshake_that_hangs_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = [
        ("LISTEN__CERTIFICATE", certificate.as_str()),
        ("LISTEN__KEY", key.as_str()),
    ];
    let running = Running::start(&tls).await;
    let _silent = tokio::net::TcpStream::connect(running.address)
        .await
        .unwrap();
    drop(rustls::crypto::ring::default_provider().install_default());
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    let client = client.build().unwrap();
    let ask = |scheme: &str| {
        let url = format!("{scheme}://{}/v1/chat/completions", running.address);
        let key = running.key("a", clock::unix_ms());
        client
            .post(url)
            .bearer_auth(key)
            .json(&body("gpt-4.1"))
            .send()
    };
    let asked = tokio::time::timeout(WITHIN, ask("https")).await.unwrap();
    assert_eq!(asked.unwrap().status().as_u16(), 200);
    let plain = tokio::time::timeout(WITHIN, ask("http")).await.unwrap();
    assert!(plain.is_err(), "{plain:?}");
    assert_eq!(running.mock.take_seen().len(), 1);
}
