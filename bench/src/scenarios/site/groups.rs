//! The groups of a run: made before it, dissolved after it.

use anyhow::Context as _;
use client_sdk::{AccountId, ConversationId, Role, SequenceNumber};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use service_kit::clock;

use super::{Access, Site, connect};
use crate::cluster::Cluster;

/// What the names of our groups begin with.
pub const GROUP_PREFIX: &str = "im-bench ";

/// Groups that are made or dissolved at once.
const GROUPS_AT_ONCE: usize = 16;

/// A group to make: its members by their numbers, the first of which makes it.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// What it is called, behind [`GROUP_PREFIX`] and the time of the run.
    pub name: String,
    /// Numbers of accounts, and what those have turned out to be.
    pub members: Vec<(u32, AccountId)>,
}

/// A group that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its conversation's id.
    pub conversation: [u8; 16],
    /// The entry after which load begins.
    pub start: u64,
}

impl Site {
    /// Makes groups, several at once, in this order. Whatever becomes of the run,
    /// [`Site::clean_up`] dissolves them.
    ///
    /// # Errors
    /// When one cannot be made.
    pub async fn make_groups(&mut self, groups: Vec<NewGroup>) -> anyhow::Result<Vec<Group>> {
        let run = clock::unix_ms();
        let groups = groups.into_iter().map(|group| NewGroup {
            name: format!("{GROUP_PREFIX}{run} {}", group.name),
            ..group
        });
        let groups: Vec<_> = groups.collect();
        self.begun.clone_from(&groups);
        let access = self.access.clone();
        let making = groups.into_iter().map(|group| {
            let access = &access;
            async move {
                let made = make(access, &group).await;
                (group, made)
            }
        });
        let made: Vec<_> = futures_util::stream::iter(making)
            .buffered(GROUPS_AT_ONCE)
            .collect()
            .await;
        self.begun.clear();
        let mut stand = Vec::with_capacity(made.len());
        let mut failed = None;
        for (group, made) in made {
            match made {
                Ok(made) => {
                    let conversation = ConversationId::from_slice(&made.conversation)?;
                    self.groups.push((group, conversation));
                    stand.push(made);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error.context("a group cannot be made")),
            None => Ok(stand),
        }
    }

    /// Takes everybody out of every group of the run. A cluster of our own goes away as a whole.
    ///
    /// # Errors
    /// When groups stay; the message says how many, and `im-bench clean` tries again.
    pub async fn clean_up(mut self) -> anyhow::Result<()> {
        if self.cluster.as_ref().is_some_and(Cluster::is_own) {
            return Ok(());
        }
        let mut unknown = None;
        for group in std::mem::take(&mut self.begun) {
            match find(&self.access, &group).await {
                Ok(Some(conversation)) => self.groups.push((group, conversation)),
                Ok(None) => {}
                Err(error) => unknown = Some(error),
            }
        }
        let groups = std::mem::take(&mut self.groups);
        let leaving = groups
            .iter()
            .map(|(group, conversation)| dissolve(&self.access, group.members[0].0, *conversation));
        let left: Vec<_> = futures_util::stream::iter(leaving)
            .buffered(GROUPS_AT_ONCE)
            .collect()
            .await;
        let stay = left.iter().filter(|left| left.is_err()).count();
        if let Some(Err(error)) = left.into_iter().find(Result::is_err) {
            let text = format!("{stay} groups could not be dissolved; im-bench clean tries again");
            return Err(error.context(text));
        }
        match unknown {
            Some(error) => Err(error.context("groups may be left; im-bench clean dissolves them")),
            None => Ok(()),
        }
    }

    /// Dissolves what earlier runs have left: groups of ours among those of the first `accounts`
    /// accounts. Returns how many.
    ///
    /// # Errors
    /// When one stays.
    pub async fn clean(&self, accounts: u32) -> anyhow::Result<usize> {
        let mut dissolved = 0;
        for account in 0..accounts {
            let (client, _events) = connect(&self.access, account).await?;
            for group in client.conversations().await? {
                // Who made it owns it, and is one of these.
                if group.name.starts_with(GROUP_PREFIX) && group.role == Role::Owner {
                    client.dissolve_group(group.id).await?;
                    dissolved += 1;
                }
            }
            client.close().await;
        }
        Ok(dissolved)
    }
}

async fn make(access: &Access, group: &NewGroup) -> anyhow::Result<Group> {
    let (creator, others) = group
        .members
        .split_first()
        .context("a group without members")?;
    let (client, _events) = connect(access, creator.0).await?;
    let others: Vec<_> = others.iter().map(|(_, id)| *id).collect();
    let conversation = client.create_group(&group.name, &others).await?;
    let start = client.pull(conversation, SequenceNumber::ZERO, 1).await?;
    client.close().await;
    Ok(Group {
        conversation: *conversation.as_bytes(),
        start: start.head.0,
    })
}

/// A group that was being made.
async fn find(access: &Access, group: &NewGroup) -> anyhow::Result<Option<ConversationId>> {
    let (client, _events) = connect(access, group.members[0].0).await?;
    let all = client.conversations().await?;
    client.close().await;
    let found = all.into_iter().find(|known| known.name == group.name);
    Ok(found.map(|known| known.id))
}

async fn dissolve(
    access: &Access,
    creator: u32,
    conversation: ConversationId,
) -> anyhow::Result<()> {
    let (client, _events) = connect(access, creator).await?;
    client.dissolve_group(conversation).await?;
    client.close().await;
    Ok(())
}
