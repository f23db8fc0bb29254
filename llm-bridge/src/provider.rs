//! Providers of models: what each has, how each is asked, and what is made of its answers, all
//! pure; and the one shell that sends it.
//!
//! Read in this order: [`chat`], what is asked of any of them; [`error`] and [`told`], how it fails;
//! [`sse`]; [`completions`], the form that most share; a file for each provider; then
//! [`service`], which sends, and [`structured`], which gets JSON from a model that has no form.

pub mod chat;
pub mod error;
pub mod sse;
pub mod told;

mod calls;
pub mod completions;
mod embeddings;

pub mod ark;
pub mod compatible;
pub mod coze;
pub mod dashscope;
pub mod dashscope_native;
pub mod openai;
pub mod qianfan;

mod http;
pub mod service;
pub mod structured;

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

pub use self::chat::{ChatRequest, Embeddings, Form, Reply, Usage};
use self::completions::Completions;
pub use self::error::{ErrorKind, ModelError};
pub(crate) use self::http::install_crypto;
pub use self::service::{Service, SetupError};
use self::sse::Event;
use self::told::Told;

/// A provider's interface: what is sent, and what is made of what comes. It sends nothing itself.
pub trait Provider: fmt::Debug + Send + Sync {
    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// The request for an answer of this model.
    ///
    /// # Errors
    /// When it has no such thing.
    fn chat(&self, model: &str, request: &ChatRequest) -> Result<Call, ModelError>;

    /// Reads the answer to one request.
    fn reader(&self) -> Box<dyn ReadReply>;

    /// The request for embeddings of at most [`Abilities::embeddings_max`] texts.
    ///
    /// # Errors
    /// When it has no such thing.
    fn embed(&self, model: &str, texts: &[String]) -> Result<Call, ModelError>;

    /// Reads them.
    ///
    /// # Errors
    /// When the body holds none.
    fn read_embeddings(&self, body: &[u8]) -> Result<Embeddings, ModelError>;

    /// What an error means.
    fn error(&self, told: &Told) -> ModelError;
}

/// Which interface a provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// `OpenAI`'s own.
    Openai,
    /// Alibaba's Qwen, by its interface that is compatible with `OpenAI`'s.
    Dashscope,
    /// The same, by its own.
    DashscopeNative,
    /// Baidu's ERNIE.
    Qianfan,
    /// `ByteDance`'s Doubao.
    Ark,
    /// `ByteDance`'s bots.
    Coze,
    /// Any server with `OpenAI`'s interface: vLLM, Ollama, the mock.
    Compatible,
}

impl ProviderKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Openai,
        Self::Dashscope,
        Self::DashscopeNative,
        Self::Qianfan,
        Self::Ark,
        Self::Coze,
        Self::Compatible,
    ];

    /// The interface.
    #[must_use]
    pub fn provider(self) -> Box<dyn Provider> {
        match self {
            Self::Openai => Box::new(Completions(&openai::DIALECT)),
            Self::Dashscope => Box::new(Completions(&dashscope::DIALECT)),
            Self::DashscopeNative => Box::new(dashscope_native::DashScopeNative),
            Self::Qianfan => Box::new(Completions(&qianfan::DIALECT)),
            Self::Ark => Box::new(Completions(&ark::DIALECT)),
            Self::Coze => Box::new(coze::Coze),
            Self::Compatible => Box::new(Completions(&compatible::DIALECT)),
        }
    }
}

/// What a provider can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// What it can be held to.
    pub form: FormAbility,
    /// Who defines the tools.
    pub tools: ToolAbility,
    /// The texts of one request for embeddings; 0 if it has none.
    pub embeddings_max: usize,
    /// Whether temperature, token limit and seed are taken.
    pub sampling: bool,
}

/// What form of an answer a provider can be held to, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FormAbility {
    /// What the prompt asks for, and what mending brings.
    Prompt,
    /// JSON, whatever its form.
    Json,
    /// A schema.
    Schema,
}

/// Who defines the tools that a model may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolAbility {
    /// The request.
    Request,
    /// The bot, at the provider; those of a request are not sent.
    Bot,
}

/// A request over HTTP, but for the key.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// GET without a body, POST with one.
    pub body: Option<Value>,
    /// What comes after the provider's base URL, from the slash on.
    pub path: String,
    /// Headers beside those of every request.
    pub headers: Vec<(&'static str, &'static str)>,
}

impl Call {
    /// A POST without headers of its own.
    #[must_use]
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self {
            body: Some(body),
            path: path.into(),
            headers: Vec::new(),
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            body: None,
            path: path.into(),
            headers: Vec::new(),
        }
    }
}

/// What an answer that did not come as a stream leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// It is whole.
    Done,
    /// After a pause, another request has more of it.
    Call(Duration, Call),
}

/// Reads the answer to one request, as a stream or whole.
pub trait ReadReply: Send {
    /// Takes the next event of a stream.
    ///
    /// # Errors
    /// When it is an error, or no event of the interface.
    fn event(&mut self, event: &Event) -> Result<(), ModelError>;

    /// Takes a body that is no stream.
    ///
    /// # Errors
    /// When it is an error, or none of the interface.
    fn whole(&mut self, body: &[u8]) -> Result<Next, ModelError>;

    /// The words so far; they only grow.
    fn text(&self) -> &str;

    /// Whether the model has begun to speak, think or call.
    fn has_begun(&self) -> bool;

    /// Whether nothing more comes.
    fn is_done(&self) -> bool;

    /// The reply, once the answer has ended.
    ///
    /// # Errors
    /// When it ended in its middle, or refuses.
    fn finish(self: Box<Self>) -> Result<Reply, ModelError>;
}
