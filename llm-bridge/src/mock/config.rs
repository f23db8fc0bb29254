//! The configuration of `mock-model`. `mock-model.toml` is its manual.

use std::path::Path;

use serde::Deserialize;
use service_kit::config::{ConfigError, DrainConfig, ListenConfig, LogConfig};

use super::behaviour::Behaviour;
use super::replay::Recording;

/// The variables of this process begin with it.
pub const ENV_PREFIX: &str = "MOCK_MODEL";

/// Every key with its default.
pub const DEFAULTS: &str = include_str!("../../mock-model.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Logs.
    pub log: LogConfig,
    /// Where everything is served.
    pub listen: ListenConfig,
    /// How requests are answered.
    pub behaviour: BehaviourConfig,
    /// How we end.
    pub drain: DrainConfig,
}

/// The section `[behaviour]`.
#[derive(Debug, Clone, Deserialize)]
pub struct BehaviourConfig {
    /// What one request may ask for too.
    #[serde(flatten)]
    pub behaviour: Behaviour,
    /// A recording to answer with; empty for none.
    pub replay_file: String,
}

impl BehaviourConfig {
    /// Reads the recording, if one is set.
    ///
    /// # Errors
    /// When the file cannot be read or is not a recording.
    pub fn recording(&self) -> Result<Option<Recording>, ConfigError> {
        if self.replay_file.is_empty() {
            return Ok(None);
        }
        let key = "behaviour.replay_file";
        let bytes = service_kit::config::read_file(key, Path::new(&self.replay_file))?;
        Recording::parse(&bytes)
            .map(Some)
            .map_err(|error| ConfigError::Value(format!("{key}: {}: {error}", self.replay_file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_a_configuration() {
        let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        assert_eq!(config.listen.address.port(), 7506);
        assert_eq!(config.behaviour.behaviour, Behaviour::default());
        assert!(config.behaviour.recording().unwrap().is_none());
    }

    #[test]
    fn a_failure_is_set_as_a_number_or_a_word() {
        let set = |value: &str| {
            let source = service_kit::config::ConfigSource {
                env_prefix: ENV_PREFIX,
                default_toml: DEFAULTS,
                file: None,
            };
            let variable = ("MOCK_MODEL__BEHAVIOUR__FAIL".to_owned(), value.to_owned());
            service_kit::config::load::<Config>(&source, [variable].into_iter())
        };
        for value in ["429", "\"429\"", "hang"] {
            assert!(set(value).is_ok(), "{value}");
        }
        let error = set("418").unwrap_err().to_string();
        assert!(error.contains("behaviour.fail"), "{error}");
    }

    #[test]
    fn a_bad_recording_names_its_key() {
        let mut config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        config.behaviour.replay_file = "/nowhere/recorded.jsonl".into();
        let error = config.behaviour.recording().unwrap_err().to_string();
        assert!(error.starts_with("behaviour.replay_file: "), "{error}");
    }
}
