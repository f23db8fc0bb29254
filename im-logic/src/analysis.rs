//! Who may analyse the fleet: watch all its groups. Whoever is named in the configuration, being an
//! operator; everybody may watch the own conversations.
//!
//! Not here: what fits, and who hears of it (routers and gateways).

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::watch::Filter;
use protocol::wire::{Watch, WatchScope, Watched};
use protocol::{ErrorCode, Refusal};

use crate::config::AnalysisConfig;
use crate::directory::Directory;
use crate::permission::{self, Action};
use crate::store::Caller;

/// The names that stand for every operator.
const EVERYBODY: &str = "*";

/// Those who are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysts {
    everybody: bool,
    names: BTreeSet<String>,
}

impl Analysts {
    /// From names with commas between them.
    #[must_use]
    pub fn parse(names: &str) -> Self {
        let names = names.split(',').map(str::trim);
        let names: BTreeSet<_> = names
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        Self {
            everybody: names.contains(EVERYBODY),
            names,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.everybody || self.names.contains(name)
    }
}

/// Says who may analyse.
#[derive(Debug)]
pub struct Analysis {
    directory: Arc<Directory>,
    analysts: Analysts,
}

impl Analysis {
    /// As the configuration says.
    #[must_use]
    pub fn new(directory: Arc<Directory>, config: &AnalysisConfig) -> Self {
        Self {
            directory,
            analysts: Analysts::parse(&config.accounts),
        }
    }

    /// Whether a session may watch this. The gateway does the rest.
    ///
    /// # Errors
    /// *Forbidden*, or a filter that makes no sense.
    pub async fn watch(&self, caller: Caller, watch: Watch) -> Result<Watched, Refusal> {
        Filter::parse(&watch.filter.clone().unwrap_or_default())?;
        match watch.scope() {
            _ if watch.stop => {}
            WatchScope::Unspecified => return Err(Refusal::bad_request("scope: missing")),
            WatchScope::Own => {}
            WatchScope::Fleet => self.check(caller).await?,
        }
        Ok(Watched::default())
    }

    /// Whether the caller may analyse the fleet.
    ///
    /// # Errors
    /// *Forbidden* when it may not.
    pub async fn check(&self, caller: Caller) -> Result<(), Refusal> {
        let asker = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::AnalyseFleet, asker.kind, None)?;
        if self.analysts.has(&asker.name) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::Forbidden,
            "only operators that `analysis.accounts` of im-logic names analyse the fleet",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analysts_are_named_or_everybody() {
        let some = Analysts::parse(" ana, 阿明 ,");
        assert!(some.has("ana") && some.has("阿明") && !some.has("bo"));
        assert!(!Analysts::parse("").has(""));
        assert!(Analysts::parse("*").has("bo"));
    }
}
