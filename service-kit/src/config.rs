//! Configuration: a commented TOML file that is embedded as manual, defaults and schema at once;
//! a file of the user's over it; the environment over both.
//!
//! A key that the embedded file does not have is refused, with the nearest that it has.

mod sections;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::{Table, Value};

pub use self::sections::{
    AdminConfig, ClusterConfig, DrainConfig, InternalTlsConfig, ListenConfig, LogConfig, LogFormat,
    RedisUrl, RuntimeConfig,
};

/// How alike two keys must be for one to be suggested for the other, from 0 to 1.
const SUGGEST_ABOVE: f64 = 0.6;

/// A configuration that cannot be used. Nothing was bound.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not an error: what `--help` or `--version` asked for.
    #[error("{0}")]
    Shown(String),
    /// The command line.
    #[error("{0}; see --help")]
    Usage(String),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{place} is not TOML: {message}")]
    Syntax {
        /// The file or the variable.
        place: String,
        /// What the parser says, on one line.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {place}{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// The file or the variable.
        place: String,
        /// The one that was meant, if one is near.
        nearest: Option<String>,
    },
    /// A value of the wrong type or out of range.
    #[error("{0}")]
    Value(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!(": did you mean `{key}`?"))
}

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct ConfigSource<'a> {
    /// `IM_STORE` makes `IM_STORE__LISTEN__ADDRESS` set `listen.address`.
    pub env_prefix: &'a str,
    /// The embedded file: every key with its default.
    pub default_toml: &'a str,
    /// The user's file.
    pub file: Option<PathBuf>,
}

/// Reads a configuration: the defaults, the file over them, the environment over both.
pub fn load<C: DeserializeOwned>(
    source: &ConfigSource<'_>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    let mut table = parse(source.default_toml, "the defaults")?;
    let keys = dotted_keys(&table);
    if let Some(path) = &source.file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        let place = path.display().to_string();
        let over = parse(&text, &place)?;
        check_keys(&over, &table, "", &place, &keys)?;
        merge(&mut table, over);
    }
    let prefix = format!("{}__", source.env_prefix);
    let mut variables: Vec<_> = env.filter(|(name, _)| name.starts_with(&prefix)).collect();
    variables.sort();
    for (name, value) in variables {
        let path = name[prefix.len()..].to_ascii_lowercase().replace("__", ".");
        let over = nest(&path, scalar(&value));
        check_keys(&over, &table, "", &name, &keys)?;
        merge(&mut table, over);
    }
    C::deserialize(Value::Table(table))
        .map_err(|error| ConfigError::Value(one_line(&error.to_string())))
}

/// Reads the configuration of this process: `--config FILE` and the real environment.
pub fn from_process<C: DeserializeOwned>(
    env_prefix: &str,
    default_toml: &str,
) -> Result<C, ConfigError> {
    from_arguments(std::env::args().skip(1), env_prefix, default_toml)
}

/// The same with these arguments: what is left when a process has taken its own.
pub fn from_arguments<C: DeserializeOwned>(
    arguments: impl Iterator<Item = String>,
    env_prefix: &str,
    default_toml: &str,
) -> Result<C, ConfigError> {
    let file = parse_arguments(arguments, env_prefix, default_toml)?;
    load(
        &ConfigSource {
            env_prefix,
            default_toml,
            file,
        },
        std::env::vars(),
    )
}

fn parse_arguments(
    mut arguments: impl Iterator<Item = String>,
    env_prefix: &str,
    default_toml: &str,
) -> Result<Option<PathBuf>, ConfigError> {
    let mut file = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--config" => {
                let path = arguments.next();
                file = Some(
                    path.ok_or_else(|| ConfigError::Usage("--config FILE".into()))?
                        .into(),
                );
            }
            "--version" => return Err(ConfigError::Shown(env!("CARGO_PKG_VERSION").into())),
            "--help" => {
                return Err(ConfigError::Shown(format!(
                    "Usage: [--config FILE] [--version] [--help]\n\n\
                     Every key below is set in FILE, or by the environment: \
                     {env_prefix}__SECTION__KEY=value.\n\n{default_toml}"
                )));
            }
            other => return Err(ConfigError::Usage(format!("unknown argument `{other}`"))),
        }
    }
    Ok(file)
}

fn parse(text: &str, place: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| ConfigError::Syntax {
        place: place.into(),
        message: one_line(&error.to_string()),
    })
}

/// The value of a variable: TOML if it is, else the text itself.
fn scalar(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.into()))
}

fn nest(path: &str, value: Value) -> Table {
    match path.split_once('.') {
        Some((section, rest)) => {
            Table::from_iter([(section.into(), Value::Table(nest(rest, value)))])
        }
        None => Table::from_iter([(path.into(), value)]),
    }
}

fn check_keys(
    over: &Table,
    known: &Table,
    section: &str,
    place: &str,
    keys: &[String],
) -> Result<(), ConfigError> {
    for (name, value) in over {
        let key = if section.is_empty() {
            name.clone()
        } else {
            format!("{section}.{name}")
        };
        match (value, known.get(name)) {
            (Value::Table(over), Some(Value::Table(known))) => {
                check_keys(over, known, &key, place, keys)?;
            }
            (Value::Table(over), None) if !over.is_empty() => {
                // Name the whole key, so that the suggestion is a key and not a section.
                let first = over.keys().next().map_or("", String::as_str);
                return Err(unknown(format!("{key}.{first}"), place, keys));
            }
            (_, Some(_)) => {}
            (_, None) => return Err(unknown(key, place, keys)),
        }
    }
    Ok(())
}

fn unknown(key: String, place: &str, keys: &[String]) -> ConfigError {
    let nearest = keys
        .iter()
        .map(|known| (strsim::jaro_winkler(known, &key), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > SUGGEST_ABOVE)
        .map(|(_, known)| known.clone());
    ConfigError::UnknownKey {
        key,
        place: place.into(),
        nearest,
    }
}

fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(table)), Value::Table(over)) => merge(table, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

fn dotted_keys(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                keys.extend(
                    dotted_keys(section)
                        .iter()
                        .map(|key| format!("{name}.{key}")),
                );
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => keys.push(name.clone()),
        }
    }
    keys
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the embedded file and the type agree: for a test in each service.
pub fn defaults<C: DeserializeOwned>(default_toml: &str) -> Result<C, ConfigError> {
    load(
        &ConfigSource {
            env_prefix: "",
            default_toml,
            file: None,
        },
        std::iter::empty(),
    )
}

/// Reads a PEM file or any other, with an error that names the configuration key.
pub fn read_file(key: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| {
        ConfigError::Value(format!("{key}: cannot read {}: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    const DEFAULTS: &str = "[listen]\naddress = \"127.0.0.1:0\"\n[drain]\ngrace_ms = 5000\n";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        listen: ListenConfig,
        drain: DrainConfig,
    }

    fn with_env(name: &str, value: &str) -> Result<Config, ConfigError> {
        let source = ConfigSource {
            env_prefix: "IM_X",
            default_toml: DEFAULTS,
            file: None,
        };
        load(&source, [(name.to_owned(), value.to_owned())].into_iter())
    }

    fn with_file(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let source = ConfigSource {
            env_prefix: "IM_X",
            default_toml: DEFAULTS,
            file: Some(file.path().into()),
        };
        load(&source, std::iter::empty())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        assert_eq!(
            with_file("[drain]\ngrace_ms = 7").unwrap().drain.grace_ms,
            7
        );
        let config = with_env("IM_X__LISTEN__ADDRESS", "127.0.0.1:99").unwrap();
        assert_eq!(config.listen.address.port(), 99);
        assert_eq!(config.drain.grace_ms, 5000);
        assert_eq!(
            with_env("IM_Y__DRAIN__GRACE_MS", "1")
                .unwrap()
                .drain
                .grace_ms,
            5000
        );
    }

    #[test]
    fn a_wrong_key_is_refused_with_the_right_one() {
        let text = with_file("[listen]\nadress = \"x\"")
            .unwrap_err()
            .to_string();
        assert!(text.contains("unknown key `listen.adress`"), "{text}");
        assert!(text.contains("did you mean `listen.address`?"), "{text}");
        let text = with_env("IM_X__DRAINS__GRACE_MS", "1")
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("`drains.grace_ms` in IM_X__DRAINS__GRACE_MS"),
            "{text}"
        );
        assert!(text.contains("did you mean `drain.grace_ms`?"), "{text}");
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let text = with_env("IM_X__DRAIN__GRACE_MS", "soon")
            .unwrap_err()
            .to_string();
        assert!(text.contains("grace_ms"), "{text}");
        assert!(matches!(with_file("= 3"), Err(ConfigError::Syntax { .. })));
    }

    #[test]
    fn arguments_are_few() {
        let parse =
            |list: &[&str]| parse_arguments(list.iter().map(ToString::to_string), "IM_X", DEFAULTS);
        assert_eq!(
            parse(&["--config", "a.toml"]).unwrap(),
            Some("a.toml".into())
        );
        assert!(matches!(parse(&["--confg"]), Err(ConfigError::Usage(_))));
        assert!(matches!(parse(&["--help"]), Err(ConfigError::Shown(_))));
    }
}
