//! The planner's configuration. `config.toml` is its manual.

use std::collections::BTreeMap;
use std::path::PathBuf;

use client_sdk::{ClientConfig, Credential};
use serde::Deserialize;
use service_kit::config::{AdminConfig, ConfigError, DrainConfig, LogConfig, read_file};

use crate::check::PlanLimits;
use crate::mission::MissionPolicy;
use crate::planning::PlanningPolicy;
use crate::provider::{FormAbility, ProviderKind};

/// The variables of this process begin with it.
pub const ENV_PREFIX: &str = "LLM_BRIDGE";

/// Every key with its default.
pub const DEFAULTS: &str = include_str!("config.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Logs.
    pub log: LogConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// The fleet's gateways.
    pub server: ServerConfig,
    /// A server of one's own that makes the plans.
    pub model: ModelConfig,
    /// Providers that do, by their names.
    pub providers: BTreeMap<String, ModelConfig>,
    /// Who is asked when.
    pub routing: RoutingConfig,
    /// How plans are made and followed.
    pub planning: PlanningConfig,
    /// How we end.
    pub drain: DrainConfig,
}

/// The section `[server]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Where the gateways are.
    pub address: Addresses,
    /// The authority of their certificates.
    pub ca: PathBuf,
    /// A file with the planner's token.
    pub token: PathBuf,
}

/// One address, several with commas, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Addresses {
    /// With commas between them.
    Text(String),
    /// One by one.
    List(Vec<String>),
}

impl Addresses {
    fn all(&self) -> Vec<String> {
        let split = |text: &String| -> Vec<String> {
            let parts = text.split(',').map(str::trim);
            parts
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        match self {
            Self::Text(text) => split(text),
            Self::List(list) => list.iter().flat_map(split).collect(),
        }
    }
}

impl ServerConfig {
    /// The configuration of the client.
    ///
    /// # Errors
    /// When a file cannot be read, or no address is given.
    pub fn client(&self) -> Result<ClientConfig, ConfigError> {
        let addresses = self.address.all();
        if addresses.is_empty() {
            return Err(ConfigError::Value("server.address: no address".into()));
        }
        let token = Credential::token_file(&self.token)
            .map_err(|error| ConfigError::Value(format!("server.token: {error}")))?;
        let ca = read_file("server.ca", &self.ca)?;
        let mut config = ClientConfig::new(addresses, ca, token);
        config.client_name = concat!("llm-bridge/", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(config)
    }
}

/// The section `[model]`, and those of `[providers]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Which interface it has.
    pub kind: ProviderKind,
    /// What comes before the paths of the interface.
    pub base_url: String,
    /// The provider's key; empty for none.
    pub key: String,
    /// A file with it; empty for none.
    pub key_file: String,
    /// With an `openai-proxy`: our private key, by which each request gets a key of its own.
    pub signing_key: String,
    /// Who we are there.
    pub signed_as: String,
    /// As the provider names it.
    pub name: String,
    /// The model of its embeddings; empty for none.
    pub embeddings_name: String,
    /// How the form of the answer is demanded.
    pub response_format: ResponseFormat,
    /// Bound of the connection.
    pub connect_timeout_ms: u64,
    /// Bound of the wait for the first words.
    pub first_token_timeout_ms: u64,
    /// Bound of the whole answer.
    pub total_timeout_ms: u64,
    /// Questions at once.
    pub concurrent_max: u32,
}

/// The section `[routing]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingConfig {
    /// Providers, the first to ask first; after a slash another model than the section's.
    pub order: Vec<String>,
    /// Requests for one answer.
    pub attempts_max: u32,
    /// How long one answer may take in all.
    pub patience_ms: u64,
    /// The first pause before a provider is asked again.
    pub backoff_first_ms: u64,
    /// The longest.
    pub backoff_last_ms: u64,
    /// A longer pause that a provider asks for is not waited for.
    pub retry_after_s_max: u64,
    /// Failures in a row before a provider is left alone.
    pub failures_max: u32,
    /// For how long at first.
    pub alone_first_ms: u64,
    /// For how long at most.
    pub alone_last_ms: u64,
    /// Questions that may wait for a place.
    pub waiting_max: u32,
}

/// How the form of an answer is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// By the schema.
    JsonSchema,
    /// JSON, whatever its form.
    JsonObject,
    /// Only in the prompt.
    Text,
}

impl ResponseFormat {
    /// What the provider is to be held to, if it can.
    #[must_use]
    pub const fn ability(self) -> FormAbility {
        match self {
            Self::JsonSchema => FormAbility::Schema,
            Self::JsonObject => FormAbility::Json,
            Self::Text => FormAbility::Prompt,
        }
    }
}

/// Without the key.
impl std::fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelConfig")
            .field("base_url", &self.base_url)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ModelConfig {
    /// Whether it says where its key is.
    #[must_use]
    pub const fn has_key(&self) -> bool {
        !self.key.is_empty() || !self.key_file.is_empty() || !self.signing_key.is_empty()
    }
}

/// The section `[planning]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanningConfig {
    /// Questions for one plan.
    pub asks_max: u32,
    /// Steps of one plan.
    pub steps_max: usize,
    /// The least time of a step.
    pub step_time_limit_s_min: u64,
    /// The most.
    pub step_time_limit_s_max: u64,
    /// New plans for one instruction.
    pub replans_max: u32,
    /// Commands of one step.
    pub attempts_max: u32,
    /// How long a robot's word is waited for.
    pub update_grace_ms: u64,
    /// How old an instruction may be.
    pub instruction_age_s_max: u64,
}

impl PlanningConfig {
    /// How plans are made.
    ///
    /// # Errors
    /// When a bound allows nothing.
    pub fn planning(&self) -> Result<PlanningPolicy, ConfigError> {
        let refuse = |what: &str| Err(ConfigError::Value(format!("planning.{what}")));
        if self.asks_max == 0 {
            return refuse("asks_max: at least 1");
        }
        if self.steps_max == 0 {
            return refuse("steps_max: at least 1");
        }
        if self.step_time_limit_s_min > self.step_time_limit_s_max {
            return refuse("step_time_limit_s_max: less than step_time_limit_s_min");
        }
        Ok(PlanningPolicy {
            asks_max: self.asks_max,
            limits: PlanLimits {
                steps_max: self.steps_max,
                step_time_limit_s_min: self.step_time_limit_s_min,
                step_time_limit_s_max: self.step_time_limit_s_max,
            },
        })
    }

    /// How plans are followed.
    #[must_use]
    pub const fn mission(&self) -> MissionPolicy {
        MissionPolicy {
            replans_max: self.replans_max,
            attempts_max: self.attempts_max,
            update_grace_ms: self.update_grace_ms,
            instruction_age_ms_max: self.instruction_age_s_max.saturating_mul(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::config::{ConfigSource, load};

    use super::*;

    fn with(key: &str, value: &str) -> Config {
        let source = ConfigSource {
            env_prefix: ENV_PREFIX,
            default_toml: DEFAULTS,
            file: None,
        };
        let variable = (format!("{ENV_PREFIX}__{key}"), value.to_owned());
        load(&source, [variable].into_iter()).unwrap()
    }

    #[test]
    fn the_embedded_file_is_a_configuration() {
        let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        assert_eq!(config.admin.listen.port(), 7505);
        assert_eq!(config.planning.planning().unwrap().asks_max, 3);
        assert_eq!(config.planning.mission().instruction_age_ms_max, 3_600_000);
    }

    #[test]
    fn addresses_come_one_by_one_with_commas_or_as_a_list() {
        for (value, count) in [
            ("127.0.0.1:7443", 1),
            ("a:1, b:2,", 2),
            ("[\"a:1\", \"b:2\", \"c:3\"]", 3),
            (" , ", 0),
        ] {
            let config = with("SERVER__ADDRESS", value);
            assert_eq!(config.server.address.all().len(), count, "{value}");
        }
    }

    #[test]
    fn missing_files_and_bounds_that_allow_nothing_name_their_key() {
        let error = with("SERVER__TOKEN", "/nowhere/token").server.client();
        assert!(error.unwrap_err().to_string().starts_with("server.token: "));
        for key in ["ASKS_MAX", "STEPS_MAX", "STEP_TIME_LIMIT_S_MAX"] {
            let planning = with(&format!("PLANNING__{key}"), "0").planning.planning();
            let error = planning.unwrap_err().to_string();
            assert!(error.contains(&key.to_lowercase()), "{error}");
        }
    }
}
