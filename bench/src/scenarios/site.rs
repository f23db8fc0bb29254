//! The cluster that a scenario runs on: one of its own, one that `swarm up` started here, or one of
//! the user's, known by an address, an authority and an operator's token.
//!
//! All accounts of a scenario are sub-accounts of that operator: marked by their names, the same in
//! every run. Groups are marked by their names too, and dissolved afterwards. Not here: load.

mod groups;

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use client_sdk::{
    Account, Client, ClientConfig, ConversationId, Credential, Error, ErrorCode, Events, StartFrom,
};
use deploy::tiers::Tier;
use protocol::sub_account;
use protocol::wire::AccountKind;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;

pub use groups::{GROUP_PREFIX, Group, NewGroup};

/// The operator whose sub-accounts are used on a cluster of this machine.
const OPERATOR: &str = "im-bench";

/// Foreign accounts that are named when a run is refused because of them.
const NAMED_MAX: usize = 5;

/// Which cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The state folder of a cluster of this machine (`swarm up`); without it and --target one is
    /// started for the run, and gone afterwards
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    pub state: Option<PathBuf>,
    /// A gateway of a running cluster of yours. Accounts and groups of the run are marked by their
    /// names; groups are left by everybody afterwards. Accounts, and what was said, stay: the
    /// protocol removes neither
    #[arg(long, value_name = "HOST:PORT", requires_all = ["ca", "token"])]
    pub target: Option<String>,
    /// The authority that signed the gateway's certificate
    #[arg(long, value_name = "FILE", requires = "target")]
    pub ca: Option<PathBuf>,
    /// A token of an operator, or a file with it; the accounts of the run are its sub-accounts
    #[arg(long, value_name = "T", env = "IM_BENCH_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Runs although others are connected to the target
    #[arg(long, requires = "target")]
    pub alongside: bool,
    /// The number of the first sub-account; two runs at once need different ones
    #[arg(long, value_name = "N", default_value_t = 0, requires = "target")]
    pub first_account: u32,
    /// Gateways of the cluster that is started for the run
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["state", "target"])]
    pub gateways: usize,
}

/// How clients of a scenario connect: all that a load process is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct Access {
    /// `HOST:PORT` of every gateway.
    pub addresses: Vec<String>,
    /// The authority, in PEM.
    pub ca_pem: String,
    /// The operator's.
    pub token: String,
    /// The number of the scenario's first account.
    pub first_account: u32,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Access").field(&self.addresses).finish()
    }
}

impl Access {
    /// What the scenario's n-th account presents in its hello.
    #[must_use]
    pub fn token_of(&self, account: u32) -> String {
        sub_account::of(&self.token, self.first_account.saturating_add(account))
    }

    /// The SDK's configuration for the scenario's n-th account.
    #[must_use]
    pub fn client(&self, account: u32) -> ClientConfig {
        self.client_with(self.token_of(account))
    }

    fn client_with(&self, token: String) -> ClientConfig {
        let mut config = ClientConfig::new(
            self.addresses.iter().cloned(),
            self.ca_pem.clone().into_bytes(),
            Credential::Token(token),
        );
        config.client_name = "im-bench".into();
        config.start_from = StartFrom::Head;
        config
    }
}

/// A process of the cluster, whose CPU and memory are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerProcess {
    /// What it is for.
    pub tier: Tier,
    /// Its process id.
    pub pid: i32,
}

/// A cluster, reached.
#[derive(Debug)]
pub struct Site {
    /// How clients connect.
    pub access: Access,
    cluster: Option<Cluster>,
    /// What has to be dissolved.
    groups: Vec<(NewGroup, ConversationId)>,
    /// What is being made, and may have been when a run is interrupted.
    begun: Vec<NewGroup>,
}

impl Site {
    /// Starts it, finds it, or connects to it.
    ///
    /// # Errors
    /// When it is not there, the token is no operator's, or others are connected to it.
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        let Some(address) = &place.target else {
            let cluster = match &place.state {
                Some(state) => Cluster::attach(state)?,
                None => Cluster::start_in(tempfile::tempdir()?, place.gateways).await?,
            };
            return Self::of(cluster);
        };
        let ca = place.ca.as_deref().context("--target needs --ca")?;
        let ca_pem = std::fs::read_to_string(ca)
            .with_context(|| format!("cannot read --ca {}", ca.display()))?;
        let token = place.token.as_deref().context("--target needs --token")?;
        let site = Self {
            access: Access {
                addresses: vec![address.clone()],
                ca_pem,
                token: token_or_file(token)?,
                first_account: place.first_account,
            },
            cluster: None,
            groups: Vec::new(),
            begun: Vec::new(),
        };
        site.look_around(place.alongside).await?;
        Ok(site)
    }

    /// On a cluster of this machine.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn of(cluster: Cluster) -> anyhow::Result<Self> {
        let access = Access {
            addresses: cluster.run_file()?.addresses.all_clients(),
            ca_pem: std::fs::read_to_string(cluster.authority().fleet_ca())?,
            token: cluster.token(OPERATOR)?,
            first_account: 0,
        };
        Ok(Self {
            access,
            cluster: Some(cluster),
            groups: Vec::new(),
            begun: Vec::new(),
        })
    }

    /// The cluster, when it is on this machine and its processes may be looked at.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The same, to strike it.
    #[must_use]
    pub const fn cluster_mut(&mut self) -> Option<&mut Cluster> {
        self.cluster.as_mut()
    }

    /// Its processes; none when it is not on this machine.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn processes(&self) -> anyhow::Result<Vec<ServerProcess>> {
        let Some(cluster) = &self.cluster else {
            return Ok(Vec::new());
        };
        let tiers = cluster.run_file()?.tiers.into_iter();
        // The planner and its model have no part in what is measured.
        let counted = |tier| !matches!(tier, Tier::Bridge | Tier::Mock);
        let counted = tiers.filter(|process| counted(process.tier));
        Ok(counted
            .map(|process| ServerProcess {
                tier: process.tier,
                pid: process.pid,
            })
            .collect())
    }

    /// Whether the token is an operator's, and nobody else is there.
    async fn look_around(&self, alongside: bool) -> anyhow::Result<()> {
        let config = self.access.client_with(self.access.token.clone());
        let (client, _events) = Client::connect(config).await.context("--target")?;
        let own = client.account().clone();
        ensure!(
            own.kind == AccountKind::Operator,
            "--token speaks for {}, and only an operator has sub-accounts",
            own.name
        );
        let online = client.online().await;
        client.close().await;
        let online = match online {
            Ok(online) => online,
            Err(Error::Refused(refusal)) if refusal.code == ErrorCode::UnknownKind => {
                ensure!(
                    alongside,
                    "this server cannot say whether others are connected; --alongside runs anyway"
                );
                return Ok(());
            }
            Err(error) => return Err(error).context("who is connected is not told"),
        };
        let others = strangers(&own, &online);
        if !alongside && !others.is_empty() {
            let names: Vec<_> = others.iter().copied().take(NAMED_MAX).collect();
            let more = if others.len() > NAMED_MAX { " …" } else { "" };
            bail!(
                "{} others are connected to the target ({}{more}); --alongside runs anyway",
                others.len(),
                names.join(", ")
            );
        }
        Ok(())
    }
}

/// Those who are neither we ourselves nor the cluster's own planner.
fn strangers<'a>(own: &Account, online: &'a [Account]) -> Vec<&'a str> {
    let others = online.iter().filter(|account| account.id != own.id);
    let others = others.filter(|account| account.kind != AccountKind::Planner);
    others.map(|account| account.name.as_str()).collect()
}

fn token_or_file(text: &str) -> anyhow::Result<String> {
    let path = std::path::Path::new(text);
    if path.is_file() {
        let token = std::fs::read_to_string(path).with_context(|| format!("--token {text}"))?;
        return Ok(token.trim().to_owned());
    }
    ensure!(!text.trim().is_empty(), "--token is empty");
    Ok(text.trim().to_owned())
}

/// Connects the scenario's n-th account through the SDK.
///
/// # Errors
/// When it is refused, or nobody answers.
pub async fn connect(access: &Access, account: u32) -> anyhow::Result<(Client, Events)> {
    let client = Client::connect(access.client(account)).await;
    client.with_context(|| format!("account {account} cannot connect"))
}

#[cfg(test)]
mod tests {
    use client_sdk::AccountId;

    use super::*;

    fn account(id: u64, kind: AccountKind, name: &str) -> Account {
        Account {
            id: AccountId(id),
            kind,
            name: name.into(),
            capabilities: None,
        }
    }

    #[test]
    fn the_planner_is_no_stranger_and_other_runs_are() {
        let own = account(1, AccountKind::Operator, "ana");
        let online = [
            own.clone(),
            account(2, AccountKind::Planner, "planner"),
            account(3, AccountKind::Robot, "lift-1"),
            account(4, AccountKind::Operator, "ana~0"),
        ];
        assert_eq!(strangers(&own, &online), ["lift-1", "ana~0"]);
    }

    #[test]
    fn a_token_may_stand_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a.b.c\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(token_or_file(path).unwrap(), "a.b.c");
        assert_eq!(token_or_file(" a.b.c ").unwrap(), "a.b.c");
        assert!(token_or_file("").is_err());
    }
}
