//! A provider as it is configured: where it is, with which key, which model. Sends what the
//! interface says and reads what comes, within time. Asking again is not here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, Url};
use service_kit::clock;
use service_kit::token::{KeyError, TokenSigner};
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use super::chat::{ChatRequest, Embeddings, Form, Reply};
use super::error::ModelError;
use super::http::{
    headers, hear, install_crypto, is_stream, late, read, retry_after, transport, waiting,
};
use super::told::Told;
use super::{Abilities, Call, FormAbility, Next, Provider};
use crate::config::ModelConfig;
use crate::events;
use crate::plan;
use crate::proxy;

/// How long a key for a proxy is good, in milliseconds: longer than clocks differ.
const SIGNED_FOR_MS: u64 = 5 * 60 * 1000;

/// How much of an error's body is read, in bytes.
const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;

/// How much of an answer that is not streamed is read, in bytes.
const BODY_BYTES_MAX: usize = 2 * plan::ANSWER_BYTES_MAX;

/// How much of an answer with embeddings is read, in bytes.
const EMBEDDINGS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A provider that cannot be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not a URL of HTTP.
    #[error("{section}.base_url: `{url}` is not of the form http://HOST/v1 or https://HOST/v1")]
    BaseUrl {
        /// Of the configuration.
        section: String,
        /// What it says.
        url: String,
    },
    /// Not a header's value.
    #[error("{section}.key: it has characters that no key has")]
    Key {
        /// Of the configuration.
        section: String,
    },
    /// No key to sign with.
    #[error("{section}.signing_key: {source}")]
    SigningKey {
        /// Of the configuration.
        section: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The client cannot be built; without the system's certificates for example.
    #[error("{section}.base_url: no client can be made for it")]
    Client {
        /// Of the configuration.
        section: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// Hears the words of an answer as they come.
pub trait Listener: Send {
    /// These words come next.
    fn hear(&mut self, words: &str);

    /// What was heard is of no worth: the answer begins again.
    fn restart(&mut self);
}

/// Who does not listen.
#[derive(Debug, Clone, Copy)]
pub struct Deaf;

impl Listener for Deaf {
    fn hear(&mut self, _words: &str) {}

    fn restart(&mut self) {}
}

/// A provider as it is configured.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Box<dyn Provider>,
    name: String,
    http: reqwest::Client,
    base: String,
    /// Of no use but to keep it out of messages.
    key: String,
    /// Makes keys for a proxy, with whom they are for.
    signer: Option<(TokenSigner, String)>,
    model: String,
    embeddings_model: String,
    form: FormAbility,
    first_token_timeout: Duration,
    total_timeout: Duration,
}

/// Without the key.
impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.shared.name)
            .field("model", &self.shared.model)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A provider as this section of the configuration says. Nothing is sent yet.
    ///
    /// # Errors
    /// When the section is no such thing.
    pub fn new(
        name: &str,
        section: &str,
        config: &ModelConfig,
        key: String,
    ) -> Result<Self, SetupError> {
        install_crypto();
        let url = Url::parse(&config.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| SetupError::BaseUrl {
                section: section.into(),
                url: config.base_url.clone(),
            })?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        // A redirect would take the key to somebody else.
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers(&key).ok_or_else(|| SetupError::Key {
                section: section.into(),
            })?);
        if url.scheme() == "http" {
            // It needs no certificates, and a machine may have none.
            http = http.tls_certs_only([]);
        }
        if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|source| SetupError::Client {
            section: section.into(),
            source,
        })?;
        let signer = match config.signing_key.as_str() {
            "" => None,
            file => {
                let signer = TokenSigner::from_pem(Path::new(file)).map_err(|source| {
                    SetupError::SigningKey {
                        section: section.into(),
                        source,
                    }
                })?;
                Some((
                    signer,
                    format!("{}{}", proxy::SUBJECT_PREFIX, config.signed_as),
                ))
            }
        };
        let provider = config.kind.provider();
        let form = config
            .response_format
            .ability()
            .min(provider.abilities().form);
        let shared = Shared {
            provider,
            name: name.into(),
            http,
            base,
            key,
            signer,
            model: config.name.clone(),
            embeddings_model: config.embeddings_name.clone(),
            form,
            first_token_timeout: Duration::from_millis(config.first_token_timeout_ms),
            total_timeout: Duration::from_millis(config.total_timeout_ms),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How the configuration names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The model that is asked for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.shared.model
    }

    /// The model of its embeddings; empty for none.
    #[must_use]
    pub fn embeddings_model(&self) -> &str {
        &self.shared.embeddings_model
    }

    /// What the provider can do.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.shared.provider.abilities()
    }

    /// What form an answer is held to: what the provider can, or less if the configuration says so.
    #[must_use]
    pub fn form(&self) -> FormAbility {
        self.shared.form
    }

    /// Asks once, and nobody listens.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, request: &ChatRequest) -> Result<Reply, ModelError> {
        self.attempt(request, &mut Deaf).await
    }

    /// Asks once. Cancel-safe: what is dropped was only asked.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn attempt(
        &self,
        request: &ChatRequest,
        listener: &mut dyn Listener,
    ) -> Result<Reply, ModelError> {
        let asked = timeout(self.shared.total_timeout, self.converse(request, listener));
        match asked
            .await
            .unwrap_or(Err(ModelError::Timeout("the answer did not end")))
        {
            Ok(reply) => {
                events::model_answered(&reply);
                Ok(reply)
            }
            Err(error) => {
                let error = error.without(&self.shared.key);
                events::model_failed(&self.shared.name, &error);
                Err(error)
            }
        }
    }

    /// Points for texts, in their order, by as many requests as it takes.
    ///
    /// # Errors
    /// When the provider has none, or gives none.
    pub async fn embed(&self, texts: &[String]) -> Result<Embeddings, ModelError> {
        let shared = &self.shared;
        let at_once = shared.provider.abilities().embeddings_max;
        if at_once == 0 || shared.embeddings_model.is_empty() {
            return Err(ModelError::Unsupported("embeddings"));
        }
        let mut all = Embeddings::default();
        for texts in texts.chunks(at_once) {
            let some = timeout(shared.total_timeout, self.embed_some(texts))
                .await
                .unwrap_or(Err(ModelError::Timeout("the answer did not end")))
                .map_err(|error| error.without(&shared.key))?;
            if some.vectors.len() != texts.len() {
                return Err(ModelError::Malformed("embeddings of other texts".into()));
            }
            all.vectors.extend(some.vectors);
            all.tokens += some.tokens;
            all.model = some.model;
        }
        Ok(all)
    }

    async fn embed_some(&self, texts: &[String]) -> Result<Embeddings, ModelError> {
        let provider = &self.shared.provider;
        let call = provider.embed(&self.shared.embeddings_model, texts)?;
        let mut response = self.request(&call).send().await.map_err(transport)?;
        self.check(&mut response).await?;
        provider.read_embeddings(&read(&mut response, EMBEDDINGS_BYTES_MAX).await?)
    }

    async fn converse(
        &self,
        request: &ChatRequest,
        listener: &mut dyn Listener,
    ) -> Result<Reply, ModelError> {
        let shared = &self.shared;
        let first_by = Instant::now() + shared.first_token_timeout;
        let request = &self.held_to_form(request);
        let mut call = shared.provider.chat(&shared.model, request)?;
        let mut reader = shared.provider.reader();
        loop {
            let sending = self.request(&call).send();
            let sent = if request.is_streamed {
                timeout_at(first_by, sending).await.map_err(late)?
            } else {
                sending.await
            };
            let mut response = sent.map_err(transport)?;
            self.check(&mut response).await?;
            if is_stream(&response) {
                hear(&mut response, &mut *reader, first_by, listener).await?;
                return reader.finish();
            }
            let asked_to_wait = retry_after(response.headers());
            let body = read(&mut response, BODY_BYTES_MAX).await?;
            let next = reader.whole(&body);
            match next.map_err(|error| waiting(error, asked_to_wait))? {
                Next::Done => {
                    listener.hear(reader.text());
                    return reader.finish();
                }
                Next::Call(pause, next) => {
                    tokio::time::sleep(pause).await;
                    call = next;
                }
            }
        }
    }

    fn held_to_form(&self, request: &ChatRequest) -> ChatRequest {
        let mut request = request.clone();
        let form = std::mem::take(&mut request.form);
        request.form = match (form, self.shared.form) {
            (Form::Text, _) | (_, FormAbility::Prompt) => Form::Text,
            (Form::Json | Form::Schema { .. }, FormAbility::Json) => Form::Json,
            (form @ (Form::Json | Form::Schema { .. }), FormAbility::Schema) => form,
        };
        request
    }

    fn request(&self, call: &Call) -> RequestBuilder {
        let url = format!("{}{}", self.shared.base, call.path);
        let mut request = match &call.body {
            Some(body) => self.shared.http.post(url).json(body),
            None => self.shared.http.get(url),
        };
        for (name, value) in &call.headers {
            request = request.header(*name, *value);
        }
        if let Some((signer, subject)) = &self.shared.signer {
            request = request.bearer_auth(signer.sign(subject, clock::unix_ms(), SIGNED_FOR_MS));
        }
        request
    }

    async fn check(&self, response: &mut Response) -> Result<(), ModelError> {
        if response.status().is_success() {
            return Ok(());
        }
        let (status, after) = (response.status().as_u16(), retry_after(response.headers()));
        let body = read(response, ERROR_BODY_BYTES_MAX).await?;
        Err(self
            .shared
            .provider
            .error(&Told::parse(status, after, &body)))
    }
}
