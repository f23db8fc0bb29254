//! What each provider has of its own, behind one trait; and the errors that it documents.

use serde_json::Value;

use super::brands::{ark, compatible, coze, dashscope, dashscope_native, openai, qianfan};
use super::talk::{Asked, Said};

/// A provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Brand {
    /// `OpenAI`.
    Openai,
    /// `DashScope`, compatible mode.
    Dashscope,
    /// `DashScope`, its own mode.
    DashscopeNative,
    /// Qianfan.
    Qianfan,
    /// Ark.
    Ark,
    /// Coze.
    Coze,
    /// A server of one's own, in the manner of vLLM.
    Compatible,
}

impl Brand {
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

    /// Its name, under which the process serves it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Dashscope => "dashscope",
            Self::DashscopeNative => "dashscope-native",
            Self::Qianfan => "qianfan",
            Self::Ark => "ark",
            Self::Coze => "coze",
            Self::Compatible => "compatible",
        }
    }

    /// What its base URL has after the host.
    #[must_use]
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::Openai | Self::Compatible => "/v1",
            Self::Dashscope => "/compatible-mode/v1",
            Self::DashscopeNative => "/api/v1",
            Self::Qianfan => "/v2",
            Self::Ark => "/api/v3",
            Self::Coze => "",
        }
    }

    /// A model that it has.
    #[must_use]
    pub const fn model(self) -> &'static str {
        match self {
            Self::Openai => "gpt-4.1-mini",
            Self::Dashscope | Self::DashscopeNative => "qwen-plus",
            Self::Qianfan => "ernie-4.5-turbo-128k",
            Self::Ark => "doubao-seed-1-6-250615",
            Self::Coze => "7379462189365198898",
            Self::Compatible => "Qwen/Qwen3-8B",
        }
    }

    /// A model of embeddings that it has; empty if it has none.
    #[must_use]
    pub const fn embeddings_model(self) -> &'static str {
        match self {
            Self::Openai => "text-embedding-3-small",
            Self::Dashscope | Self::DashscopeNative => "text-embedding-v4",
            Self::Qianfan => "embedding-v1",
            Self::Ark => "doubao-embedding-large-text-240915",
            Self::Coze => "",
            Self::Compatible => "BAAI/bge-m3",
        }
    }

    /// What it has of its own.
    pub(super) fn form(self) -> &'static dyn BrandForm {
        match self {
            Self::Openai => &openai::OpenAi,
            Self::Dashscope => &dashscope::DashScope,
            Self::DashscopeNative => &dashscope_native::DashScopeNative,
            Self::Qianfan => &qianfan::Qianfan,
            Self::Ark => &ark::Ark,
            Self::Coze => &coze::Coze,
            Self::Compatible => &compatible::Compatible,
        }
    }

    /// The errors that it documents.
    #[must_use]
    pub fn errors(self) -> &'static [Documented] {
        self.form().errors()
    }
}

/// An error that a provider documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Documented {
    /// Its code, or what tells it from others with the same.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The provider's type of it, where there is one beside the code.
    pub kind: &'static str,
    /// Its words.
    pub message: &'static str,
}

/// Shorthand for a table.
pub(super) const fn documented(
    name: &'static str,
    status: u16,
    kind: &'static str,
    message: &'static str,
) -> Documented {
    Documented {
        name,
        status,
        kind,
        message,
    }
}

/// A request, as far as it concerns all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Incoming {
    /// What comes after the base path.
    pub path: String,
    /// The query.
    pub query: String,
    /// Whether it is a POST.
    pub is_post: bool,
    /// The header that asks for a stream, where it is a header.
    pub wants_stream: bool,
    /// The body; null for none.
    pub body: Value,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// An answer.
    Chat(Asked),
    /// Points for these texts.
    Embeddings { model: String, texts: Vec<String> },
    /// Something that is answered without a scenario.
    Plain(Value),
    /// An answer that was asked for before: what became of it, or its messages.
    Kept { id: u64, messages: bool },
}

/// A refusal: its status and body.
pub(super) type Refusal = (u16, Value);

/// What a provider has of its own.
pub(super) trait BrandForm: Sync {
    /// The errors that it documents.
    fn errors(&self) -> &'static [Documented];

    /// The status and body of an error.
    fn error(&self, error: &Documented) -> Refusal;

    /// An error in the middle of a stream: whole events.
    fn stream_error(&self, error: &Documented) -> Vec<String>;

    /// A wrong key.
    fn wrong_key(&self, incoming: &Incoming) -> Refusal;

    /// Reads a request, or refuses it as the provider would.
    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal>;

    /// An answer as one body.
    fn whole(&self, asked: &Asked, said: &Said, id: u64) -> Value;

    /// The events of a stream, whole ones.
    fn events(&self, asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String>;

    /// An answer that was asked for before.
    fn kept(&self, asked: &Asked, said: &Said, id: u64, messages: bool) -> Value {
        let _ = messages;
        self.whole(asked, said, id)
    }

    /// Points.
    fn embeddings(&self, model: &str, texts: &[String], id: u64) -> Value;
}
