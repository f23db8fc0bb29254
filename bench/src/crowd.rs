//! Accounts by the thousand, made without a connection each: a cluster's store is asked for them as
//! the logic tier would ask. Only for clusters of one's own.

use anyhow::Context as _;
use client_sdk::AccountId;
use deploy::authority::FLEET;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use protocol::kind::method;
use protocol::wire::internal::{EnsureAccount, SetCapabilities};
use protocol::wire::{Account, AccountKind, CapabilityCard};
use service_kit::config::InternalTlsConfig;
use service_kit::drain::Drain;
use service_kit::rpc::{self, Link, LinkConfig};
use service_kit::tls;

use crate::cluster::Cluster;

/// Questions under way at once: the store makes one transaction of those that wait together.
const TOGETHER_MAX: usize = 256;

/// How long one of them may take.
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// The id of the first; below whatever a Snowflake of this century is.
const FIRST_ID: u64 = 1_000_000;

/// Robots by the names PREFIX-1, PREFIX-2 and so on, in this order.
///
/// # Errors
/// When the store cannot be reached or refuses.
pub async fn robots(
    cluster: &Cluster,
    prefix: &str,
    accounts: usize,
) -> anyhow::Result<Vec<AccountId>> {
    let drain = Drain::new();
    let link = link(cluster, &drain).await?;
    let made = stream::iter(1..=accounts as u64)
        .map(|n| {
            let ask = EnsureAccount {
                fleet: FLEET.to_owned(),
                kind: AccountKind::Robot.into(),
                name: format!("{prefix}-{n}"),
                proposed_account_id: FIRST_ID + n,
                ..EnsureAccount::default()
            };
            let answer = link.call(method::ENSURE_ACCOUNT, rpc::encode(&ask), ANSWER_WITHIN);
            async move {
                let account = Account::decode(answer.await?).context("not an account")?;
                anyhow::Ok(AccountId(account.account_id))
            }
        })
        .buffered(TOGETHER_MAX)
        .try_collect()
        .await?;
    drain.start();
    Ok(made)
}

/// Gives each of them a card.
///
/// # Errors
/// When the store cannot be reached or refuses.
pub async fn declare(
    cluster: &Cluster,
    robots: &[AccountId],
    card: impl Fn(usize) -> CapabilityCard,
) -> anyhow::Result<()> {
    let drain = Drain::new();
    let link = link(cluster, &drain).await?;
    stream::iter(robots.iter().enumerate())
        .map(|(n, robot)| {
            let set = SetCapabilities {
                account_id: robot.0,
                capabilities: Some(card(n)),
            };
            let answer = link.call(method::SET_CAPABILITIES, rpc::encode(&set), ANSWER_WITHIN);
            async move {
                answer.await?;
                anyhow::Ok(())
            }
        })
        .buffered(TOGETHER_MAX)
        .try_collect::<Vec<()>>()
        .await?;
    drain.start();
    Ok(())
}

/// To the cluster's store, as the logic tier.
async fn link(cluster: &Cluster, drain: &Drain) -> anyhow::Result<Link> {
    let files = cluster.authority().tier_certificate("im-logic");
    let own = InternalTlsConfig {
        ca: cluster.authority().internal_ca(),
        certificate: files.certificate,
        key: files.key,
    };
    let store = LinkConfig {
        name: "im-store",
        address: cluster.run_file()?.addresses.store.to_string(),
        tls: tls::internal_client(&own)?,
    };
    let (link, _notices) = rpc::connect(store, drain.clone());
    link.up().await;
    Ok(link)
}
