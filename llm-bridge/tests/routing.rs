//! Providers in an order, against their mocks: the next when one fails, pauses that are asked for,
//! who keeps failing left alone, bounds of questions at once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use llm_bridge::config::{Config, DEFAULTS, RoutingConfig};
use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::scenario::Scenario;
use llm_bridge::mocks::server::MockProvider;
use llm_bridge::provider::chat::{Message, Role};
use llm_bridge::provider::service::Listener;
use llm_bridge::provider::{ChatRequest, ProviderKind, Service};
use llm_bridge::routing::Providers;
use tokio::time::Instant;

const KEY: &str = "sk-routing-0123456789";

/// Mocks of these brands in this order, each with a bound of questions at once.
async fn providers(
    brands: &[(ProviderKind, Brand, u32)],
    change: impl FnOnce(&mut RoutingConfig),
) -> (Providers, Vec<MockProvider>) {
    let defaults: Config = service_kit::config::defaults(DEFAULTS).unwrap();
    let (mut services, mut mocks) = (Vec::new(), Vec::new());
    for (kind, brand, bound) in brands {
        let mock = MockProvider::new(*brand, KEY);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = defaults.model.clone();
        config.kind = *kind;
        config.base_url = mock.base_url(listener.local_addr().unwrap());
        config.name = brand.model().into();
        let service = Service::new(brand.name(), "model", &config, KEY.into()).unwrap();
        services.push((service, *bound));
        tokio::spawn(mock.clone().serve(listener));
        mocks.push(mock);
    }
    let mut routing = defaults.routing;
    change(&mut routing);
    (Providers::new(services, routing.policy().unwrap()), mocks)
}

fn question() -> ChatRequest {
    ChatRequest {
        messages: vec![Message::new(Role::User, "去哪里？")],
        is_streamed: true,
        ..ChatRequest::default()
    }
}

const QWEN: (ProviderKind, Brand, u32) = (ProviderKind::Dashscope, Brand::Dashscope, 8);
const ERNIE: (ProviderKind, Brand, u32) = (ProviderKind::Qianfan, Brand::Qianfan, 8);

fn seen(mocks: &[MockProvider]) -> Vec<usize> {
    mocks.iter().map(|mock| mock.take_seen().len()).collect()
}

#[derive(Default)]
struct Ear {
    heard: String,
    restarts: usize,
}

impl Listener for Ear {
    fn hear(&mut self, words: &str) {
        self.heard.push_str(words);
    }

    fn restart(&mut self) {
        self.heard.clear();
        self.restarts += 1;
    }
}

#[tokio::test]
async fn the_next_answers_when_one_limits_in_the_middle_of_its_answer() {
    let (providers, mocks) = providers(&[QWEN, ERNIE], |_| {}).await;
    let scenario = Scenario {
        error_in_stream: Some("limit_requests".into()),
        retry_after_s: Some(30),
        ..Scenario::say("一二三四五六七八九十一二三四五六七八九十")
    };
    assert!(mocks[0].push(scenario) && mocks[1].push(Scenario::say("去 B区")));
    let mut ear = Ear::default();
    let reply = providers.ask_aloud(&question(), &mut ear).await.unwrap();
    assert_eq!(
        (reply.text.as_str(), ear.heard.as_str()),
        ("去 B区", "去 B区")
    );
    assert_eq!(ear.restarts, 1, "what the first had said is of no worth");
    assert_eq!(seen(&mocks), [1, 1]);
    // The pause holds for the next question too.
    assert!(providers.ask(&question()).await.is_ok());
    assert_eq!(seen(&mocks), [0, 1]);
}

#[tokio::test]
async fn a_pause_asked_for_in_the_middle_of_a_stream_is_kept() {
    let (providers, mocks) = providers(&[QWEN], |_| {}).await;
    let scenario = Scenario {
        error_in_stream: Some("limit_requests".into()),
        retry_after_s: Some(1),
        ..Scenario::say("一二三四五六七八九十一二三四五六七八九十")
    };
    assert!(mocks[0].push(scenario));
    let begun = Instant::now();
    assert!(providers.ask(&question()).await.is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(seen(&mocks), [2]);
}

#[tokio::test]
async fn who_keeps_failing_is_not_asked_for_a_while() {
    let few = |routing: &mut RoutingConfig| {
        routing.failures_max = 2;
        routing.alone_first_ms = 600_000;
    };
    let (providers, mocks) = providers(&[QWEN, ERNIE], few).await;
    for _ in 0..2 {
        assert!(mocks[0].push(Scenario::error("internal_server_error")));
        assert!(providers.ask(&question()).await.is_ok());
    }
    assert_eq!(seen(&mocks), [2, 2]);
    assert!(providers.ask(&question()).await.is_ok());
    assert_eq!(seen(&mocks), [0, 1]);
}

#[tokio::test]
async fn refused_content_is_asked_of_nobody_else() {
    let (providers, mocks) = providers(&[QWEN, ERNIE], |_| {}).await;
    assert!(mocks[0].push(Scenario::error("data_inspection_failed")));
    let error = providers.ask(&question()).await.unwrap_err();
    assert_eq!(error.class(), "refused");
    assert_eq!(seen(&mocks), [1, 0]);
    // Without money the next is asked.
    assert!(mocks[0].push(Scenario::error("Arrearage")));
    assert!(providers.ask(&question()).await.is_ok());
    assert_eq!(seen(&mocks), [1, 1]);
}

#[tokio::test]
async fn questions_at_once_are_bounded_and_wait_for_their_turn() {
    let one = (ProviderKind::Dashscope, Brand::Dashscope, 1);
    let (providers, mocks) = providers(&[one], |_| {}).await;
    let slow = Scenario {
        first_delay_ms: 60,
        ..Scenario::default()
    };
    let (providers, request) = (Arc::new(providers), question());
    for _ in 0..4 {
        assert!(mocks[0].push(slow.clone()));
    }
    let begun = Instant::now();
    let asked = (0..4).map(|_| {
        let (providers, request) = (providers.clone(), request.clone());
        tokio::spawn(async move { providers.ask(&request).await })
    });
    for asked in asked.collect::<Vec<_>>() {
        assert!(asked.await.unwrap().is_ok());
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(240),
        "one after the other"
    );
}

#[tokio::test]
async fn a_question_that_is_dropped_gives_its_place_back() {
    let one = (ProviderKind::Dashscope, Brand::Dashscope, 1);
    let (providers, mocks) = providers(&[one], |_| {}).await;
    let never = Scenario {
        first_delay_ms: 600_000,
        ..Scenario::default()
    };
    assert!(mocks[0].push(never));
    let request = question();
    let asked = tokio::time::timeout(Duration::from_millis(50), providers.ask(&request)).await;
    assert!(asked.is_err());
    let asked = tokio::time::timeout(Duration::from_secs(10), providers.ask(&request)).await;
    assert!(asked.unwrap().is_ok());
}
