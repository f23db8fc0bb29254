//! From the configuration to the providers that are asked: which of them are on, in which order,
//! with which keys.

use std::path::Path;

use service_kit::config::{ConfigError, read_file};

use super::Providers;
use super::choice::Policy;
use crate::config::{Config, ModelConfig, RoutingConfig};
use crate::provider::Service;

/// The section of a server of one's own, which needs no key.
pub const OWN: &str = "model";

/// One place in the order.
#[derive(Debug, Clone)]
pub struct Route {
    /// The provider: a name of a section.
    pub name: String,
    /// How it is reached.
    pub config: ModelConfig,
    /// Its section, as errors name it.
    pub section: String,
}

/// The section of a provider, and its configuration.
///
/// # Errors
/// When there is none of that name.
pub fn section(config: &Config, name: &str) -> Result<(String, ModelConfig), ConfigError> {
    if name == OWN {
        return Ok((OWN.into(), config.model.clone()));
    }
    let found = config.providers.get(name);
    let section = format!("providers.{name}");
    found.map(|found| (section, found.clone())).ok_or_else(|| {
        let known: Vec<&str> = config.providers.keys().map(String::as_str).collect();
        let known = known.join(", ");
        ConfigError::Value(format!(
            "routing.order: no provider `{name}`: {OWN}, {known}"
        ))
    })
}

/// The providers that are on, in their order: those with a base URL and, but for one's own server,
/// a key.
///
/// # Errors
/// When the order names what is not there.
pub fn routes(config: &Config) -> Result<Vec<Route>, ConfigError> {
    let mut routes = Vec::new();
    for entry in &config.routing.order {
        let (name, model) = match entry.split_once('/') {
            Some((name, model)) => (name, Some(model)),
            None => (entry.as_str(), None),
        };
        let (section, mut config) = section(config, name)?;
        if let Some(model) = model {
            model.clone_into(&mut config.name);
        }
        let has_key = name == OWN || config.has_key();
        if has_key && !config.base_url.is_empty() {
            routes.push(Route {
                name: name.into(),
                config,
                section,
            });
        }
    }
    Ok(routes)
}

/// A provider as its section says, its key read.
///
/// # Errors
/// When the section cannot be used.
pub fn service(route: &Route) -> Result<Service, ConfigError> {
    let key = read_key(&route.section, &route.config)?;
    Service::new(&route.name, &route.section, &route.config, key)
        .map_err(|error| ConfigError::Value(error.to_string()))
}

/// All providers that are on.
///
/// # Errors
/// When none is, or one cannot be used.
pub fn providers(config: &Config) -> Result<Providers, ConfigError> {
    let routes = routes(config)?;
    if routes.is_empty() {
        let text = "no provider is on: set model.base_url, or providers.NAME.key_file for one of \
                    those in routing.order";
        return Err(ConfigError::Value(text.into()));
    }
    let services = routes
        .iter()
        .map(|route| Ok((service(route)?, route.config.concurrent_max)));
    let services: Result<Vec<_>, ConfigError> = services.collect();
    Ok(Providers::new(services?, config.routing.policy()?))
}

/// The key of a section, from its file if there is one.
///
/// # Errors
/// When the file cannot be read, or both are set.
pub fn read_key(section: &str, config: &ModelConfig) -> Result<String, ConfigError> {
    if config.key_file.is_empty() {
        return Ok(config.key.trim().to_owned());
    }
    let name = format!("{section}.key_file");
    let refuse = |why: &str| ConfigError::Value(format!("{name}: {why}"));
    if !config.key.is_empty() {
        return Err(refuse("the key is set too; set one of them"));
    }
    let bytes = read_file(&name, Path::new(&config.key_file))?;
    let key = String::from_utf8(bytes).map_err(|_| refuse("it holds no text"))?;
    match key.trim() {
        "" => Err(refuse("it holds no key")),
        key => Ok(key.to_owned()),
    }
}

impl RoutingConfig {
    /// The rules.
    ///
    /// # Errors
    /// When a bound allows nothing.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        use std::time::Duration;
        for (name, value) in [
            ("attempts_max", self.attempts_max),
            ("failures_max", self.failures_max),
        ] {
            if value == 0 {
                return Err(ConfigError::Value(format!("routing.{name}: at least 1")));
            }
        }
        Ok(Policy {
            attempts_max: self.attempts_max,
            patience: Duration::from_millis(self.patience_ms),
            backoff_first: Duration::from_millis(self.backoff_first_ms),
            backoff_last: Duration::from_millis(self.backoff_last_ms),
            retry_after_max: Duration::from_secs(self.retry_after_s_max),
            failures_max: self.failures_max,
            alone_first: Duration::from_millis(self.alone_first_ms),
            alone_last: Duration::from_millis(self.alone_last_ms),
            waiting_max: self.waiting_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use service_kit::config::{ConfigSource, load};

    use super::*;
    use crate::config::{DEFAULTS, ENV_PREFIX};

    fn with(variables: &[(&str, &str)]) -> Config {
        let source = ConfigSource {
            env_prefix: ENV_PREFIX,
            default_toml: DEFAULTS,
            file: None,
        };
        let variables = variables.iter();
        let variables =
            variables.map(|(key, value)| (format!("{ENV_PREFIX}__{key}"), (*value).to_owned()));
        load(&source, variables).unwrap()
    }

    fn order(config: &Config) -> Vec<(String, String)> {
        let routes = routes(config).unwrap().into_iter();
        routes
            .map(|route| (route.name, route.config.name))
            .collect()
    }

    fn names(config: &Config) -> Vec<String> {
        order(config).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_provider_is_on_with_a_key_and_openai_with_a_base_url_too() {
        assert!(
            providers(&with(&[]))
                .unwrap_err()
                .to_string()
                .contains("no provider is on")
        );
        let keys = [
            ("PROVIDERS__OPENAI__KEY", "sk-o"),
            ("PROVIDERS__COZE__KEY", "pat_c"),
            ("PROVIDERS__DOUBAO__KEY", "d"),
            ("PROVIDERS__ERNIE__KEY", "bce-v3/e"),
            ("PROVIDERS__QWEN__KEY_FILE", "/run/qwen.key"),
        ];
        assert_eq!(names(&with(&keys)), ["qwen", "ernie", "doubao", "coze"]);
        let mut keys = keys.to_vec();
        keys.push(("PROVIDERS__OPENAI__BASE_URL", "https://proxy.example/v1"));
        keys.push(("MODEL__BASE_URL", "http://127.0.0.1:8000/v1"));
        let all = ["model", "qwen", "ernie", "doubao", "coze", "openai"];
        assert_eq!(names(&with(&keys)), all);
    }

    #[test]
    fn the_order_is_the_users_with_several_models_of_one_provider() {
        let config = with(&[
            ("PROVIDERS__QWEN__KEY", "sk-q"),
            ("PROVIDERS__ERNIE__KEY", "e"),
            ("ROUTING__ORDER", "[\"ernie\", \"qwen/qwen-max\", \"qwen\"]"),
        ]);
        let expected = [
            ("ernie", "ernie-4.5-turbo-128k"),
            ("qwen", "qwen-max"),
            ("qwen", "qwen-plus"),
        ];
        let expected = expected.map(|(name, model)| (name.to_owned(), model.to_owned()));
        assert_eq!(order(&config), expected);
        let described = providers(&config).unwrap().describe();
        assert_eq!(
            described,
            "ernie (ernie-4.5-turbo-128k), qwen (qwen-max), qwen (qwen-plus)"
        );
        let wrong = with(&[("ROUTING__ORDER", "[\"qwem\"]")]);
        let error = routes(&wrong).unwrap_err().to_string();
        assert!(error.contains("qwem") && error.contains("qwen"), "{error}");
    }

    #[test]
    fn the_key_is_read_from_its_file_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sk-secret\n").unwrap();
        let path = file.path().display().to_string();
        let mut config = with(&[("MODEL__KEY_FILE", &path)]).model;
        assert_eq!(read_key("model", &config).unwrap(), "sk-secret");
        config.key = "sk-other".into();
        let error = read_key("model", &config).unwrap_err().to_string();
        assert!(error.starts_with("model.key_file: "), "{error}");
        assert!(!format!("{config:?}").contains("sk-"), "{config:?}");
        let missing = with(&[("MODEL__KEY_FILE", "/nowhere/key")]).model;
        let error = read_key("model", &missing).unwrap_err().to_string();
        assert!(error.starts_with("model.key_file: "), "{error}");
    }

    #[test]
    fn bounds_that_allow_nothing_name_their_key() {
        for key in ["ATTEMPTS_MAX", "FAILURES_MAX"] {
            let config = with(&[(&format!("ROUTING__{key}"), "0")]);
            let error = config.routing.policy().unwrap_err().to_string();
            assert!(error.contains(&key.to_lowercase()), "{error}");
        }
    }
}
