//! A client and the mock that it speaks with.

use llm_bridge::config::{Config, DEFAULTS, ModelConfig};
use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::scenario::Scenario;
use llm_bridge::mocks::server::MockProvider;
use llm_bridge::provider::chat::{Message, Role};
use llm_bridge::provider::service::Listener;
use llm_bridge::provider::{ChatRequest, ModelError, ProviderKind, Reply, Service};

/// The key that the mocks accept.
pub(crate) const KEY: &str = "sk-conformance-0123456789";

/// Words with everything that a stream can be cut in: characters of two to four bytes, JSON's own
/// escapes, and what looks like the end of an event.
pub(crate) const WORDS: &str =
    "把 \"A区\" 的箱子搬走\\到 B区。\n\ndata: [DONE]\n😀é\t{\"x\": 1} fin";

/// A client and its mock.
pub(crate) struct Subject {
    /// The mock.
    pub(crate) mock: MockProvider,
    /// The client.
    pub(crate) service: Service,
}

impl Subject {
    /// With the right key.
    pub(crate) async fn new(kind: ProviderKind, brand: Brand) -> Self {
        Self::with(kind, brand, KEY, |_| {}).await
    }

    /// With this key, and changes of the configuration.
    pub(crate) async fn with(
        kind: ProviderKind,
        brand: Brand,
        key: &str,
        change: impl FnOnce(&mut ModelConfig),
    ) -> Self {
        let mock = MockProvider::new(brand, KEY);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(mock.clone().serve(listener));
        let defaults: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        let mut config = ModelConfig {
            kind,
            base_url: mock.base_url(address),
            name: brand.model().into(),
            embeddings_name: brand.embeddings_model().into(),
            first_token_timeout_ms: 20_000,
            total_timeout_ms: 30_000,
            ..defaults.model
        };
        change(&mut config);
        let service = Service::new("subject", "model", &config, key.into()).unwrap();
        Self { mock, service }
    }

    /// Asks once, with this scenario.
    pub(crate) async fn ask(
        &self,
        scenario: Scenario,
        request: &ChatRequest,
    ) -> Result<Reply, ModelError> {
        assert!(self.mock.push(scenario));
        self.service.ask(request).await
    }
}

/// A question, with rules before it.
pub(crate) fn question(is_streamed: bool) -> ChatRequest {
    ChatRequest {
        messages: vec![
            Message::new(Role::System, "You are a planner."),
            Message::new(Role::User, "去哪里？"),
        ],
        is_streamed,
        ..ChatRequest::default()
    }
}

/// Keeps what it hears.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    /// All of it.
    pub(crate) words: String,
    /// In how many pieces.
    pub(crate) pieces: usize,
}

impl Listener for Ear {
    fn hear(&mut self, words: &str) {
        self.words.push_str(words);
        self.pieces += 1;
    }

    fn restart(&mut self) {
        self.words.clear();
    }
}
