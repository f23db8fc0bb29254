//! How a command reaches the running cluster: its addresses, a credential, a group by its name.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use client_sdk::{
    Account, AccountId, Client, ClientConfig, ConversationId, Credential, Enrolment, Events, Login,
    StartFrom,
};
use protocol::id::ConversationKind;
use service_kit::{clock, tls};

use crate::addresses::Addresses;
use crate::api::Api;
use crate::authority::{Authority, TokenKind};
use crate::screen;
use crate::state::State;
use crate::tiers::PLANNER;

/// The account of a person who does not say another.
pub const OPERATOR: &str = "operator";

/// The group that a newcomer talks in.
pub const DEMO_GROUP: &str = "demo";

/// How long the planner may take to connect for the first time.
const PLANNER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked for.
const PLANNER_POLL: Duration = Duration::from_millis(100);

/// A running cluster and the authority that makes its credentials.
#[derive(Debug)]
pub struct Access {
    folder: PathBuf,
    addresses: Addresses,
    authority: Authority,
}

impl Access {
    /// To the cluster that runs on this folder, or an error that says that none does.
    pub fn open(state: &State) -> anyhow::Result<Self> {
        let addresses = state.running()?.addresses;
        let authority = Authority::open(state.folder(), clock::unix_ms())?;
        Ok(Self {
            folder: state.folder().to_owned(),
            addresses,
            authority,
        })
    }

    /// Connects as an operator, who hears what is said from now on: by its login if there is one,
    /// else by a token of the cluster's own key.
    pub async fn operator(&self, name: &str) -> anyhow::Result<(Client, Events)> {
        match Login::load(self.login_file(name)) {
            Ok(login) if login.expires_at_ms > clock::unix_ms() => {
                self.connect(Credential::Login(login), name).await
            }
            Ok(_) | Err(_) => self.operator_by_key(name).await,
        }
    }

    /// The same by a token of the cluster's own key.
    pub async fn operator_by_key(&self, name: &str) -> anyhow::Result<(Client, Events)> {
        let token = self
            .authority
            .token(TokenKind::Operator, name, clock::unix_ms())?;
        self.connect(Credential::token_file(token)?, name).await
    }

    /// Logs in with a password.
    pub async fn log_in(
        &self,
        name: &str,
        password: &str,
        new_password: Option<&str>,
    ) -> Result<(Account, Login), client_sdk::Error> {
        let addresses = self.addresses.all_clients();
        let ca = self.authority.fleet_ca();
        Login::with_password(addresses, ca, name, password, new_password).await
    }

    /// Where the login of an operator is kept.
    #[must_use]
    pub fn login_file(&self, name: &str) -> PathBuf {
        self.folder
            .join("credentials")
            .join(format!("login-{name}.json"))
    }

    /// A robot that is about to enrol.
    #[must_use]
    pub fn enrolment(&self, token: String, name: String) -> Enrolment {
        let addresses = self.addresses.all_clients();
        Enrolment::new(addresses, self.authority.fleet_ca(), token, name)
    }

    async fn connect(
        &self,
        credential: Credential,
        name: &str,
    ) -> anyhow::Result<(Client, Events)> {
        let mut config = self.config(credential, "swarm");
        config.start_from = StartFrom::Head;
        Client::connect(config)
            .await
            .with_context(|| format!("cannot connect as operator {name}"))
    }

    /// What an operator administers the fleet with.
    pub fn api(&self, name: &str) -> anyhow::Result<Api> {
        let kind = TokenKind::Operator;
        let token = self.authority.token(kind, name, clock::unix_ms())?;
        let token = std::fs::read_to_string(token).context("cannot read the token")?;
        let tls = tls::http_client(&self.authority.fleet_ca())?;
        Ok(Api::new(self.addresses.all_api(), tls, token.trim()))
    }

    /// What robots of these names, who live no longer than this process, connect with.
    pub fn passing_robots(&self, names: &[String]) -> anyhow::Result<Vec<ClientConfig>> {
        let made = self.authority.passing_robots(names, clock::unix_ms())?;
        let configs = made.into_iter().map(|(certificate, key)| {
            let credential = Credential::Certificate {
                certificate_pem: certificate.into_bytes(),
                key_pem: key.into_bytes(),
            };
            self.config(credential, "swarm-robot")
        });
        Ok(configs.collect())
    }

    fn config(&self, credential: Credential, client_name: &str) -> ClientConfig {
        let addresses = self.addresses.all_clients();
        let mut config = ClientConfig::new(addresses, self.authority.fleet_ca(), credential);
        client_name.clone_into(&mut config.client_name);
        config
    }
}

/// The planner's account, waiting for its first connection.
pub async fn planner(client: &Client) -> anyhow::Result<Account> {
    let deadline = clock::now() + PLANNER_TIMEOUT;
    let mut told = false;
    loop {
        if let Some(planner) = client.find_accounts(&[PLANNER]).await?.pop() {
            return Ok(planner);
        }
        if clock::now() > deadline {
            bail!("no planner has ever connected; `swarm status` says what is not ready");
        }
        if !std::mem::replace(&mut told, true) {
            screen::news("waiting for the planner");
        }
        tokio::time::sleep(PLANNER_POLL).await;
    }
}

/// The newest group of this name that the account is in.
pub async fn group(client: &Client, name: &str) -> anyhow::Result<Option<ConversationId>> {
    let groups = groups(client).await?;
    let named = groups.into_iter().filter(|(_, its)| its == name);
    Ok(named.map(|(id, _)| id).max())
}

/// The same; when there is none it is made with the planner in it.
pub async fn group_or_new(client: &Client, name: &str) -> anyhow::Result<ConversationId> {
    match group(client, name).await? {
        Some(group) => Ok(group),
        None => new_group(client, name, &[]).await,
    }
}

/// Makes a group with the planner and these accounts in it.
pub async fn new_group(
    client: &Client,
    name: &str,
    members: &[AccountId],
) -> anyhow::Result<ConversationId> {
    let mut members = members.to_vec();
    members.push(planner(client).await?.id);
    client
        .create_group(name, &members)
        .await
        .with_context(|| format!("cannot make the group {name:?}"))
}

/// Why a group of this name cannot be read, with the names of those that can.
pub async fn no_such_group(client: &Client, name: &str) -> anyhow::Error {
    let account = client.account().name.clone();
    let mut names: Vec<String> = match groups(client).await {
        Ok(groups) => groups.into_iter().map(|(_, name)| name).collect(),
        Err(error) => return error,
    };
    names.sort();
    names.dedup();
    if names.is_empty() {
        anyhow::anyhow!("{account} is in no group; `swarm chat {DEMO_GROUP}` makes one")
    } else {
        let names = names.join(", ");
        anyhow::anyhow!("{account} is in no group {name:?}, but in: {names}")
    }
}

async fn groups(client: &Client) -> anyhow::Result<Vec<(ConversationId, String)>> {
    let conversations = client.conversations().await?;
    let is_group = |id: &ConversationId| match id.kind() {
        ConversationKind::Group(_) => true,
        ConversationKind::Pair(..) => false,
    };
    Ok(conversations
        .into_iter()
        .filter(|conversation| is_group(&conversation.id))
        .map(|conversation| (conversation.id, conversation.name))
        .collect())
}
