//! `swarm group`: groups as an operator makes, sees and changes them.

mod show;

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use client_sdk::{AccountId, Client, ConversationId, GroupUpdate, NewGroup, Role};

use crate::access::{self, Access};
use crate::screen;
use crate::state::State;

/// What is to be done with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Makes a group; who makes it owns it
    Create {
        /// Its name
        name: String,
        /// Accounts that are in it from the beginning
        #[arg(long = "member", value_name = "NAME")]
        members: Vec<String>,
        /// Whoever joins later may read what was before
        #[arg(long)]
        history_open: bool,
    },
    /// Lists the groups that the account is in
    List,
    /// Says what a group is, and who is in it
    Show {
        /// Its name, or its id
        group: String,
        /// How many members are listed; 0: all
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Only members with a greater account id, for the next page
        #[arg(long, value_name = "ACCOUNT", default_value_t = 0)]
        after: u64,
    },
    /// Adds accounts
    Add {
        /// The name of the group, or its id
        group: String,
        /// Who
        #[arg(required = true)]
        names: Vec<String>,
        /// As what
        #[arg(long, value_enum, default_value_t = RoleName::Member)]
        role: RoleName,
    },
    /// Removes accounts
    Remove {
        /// The name of the group, or its id
        group: String,
        /// Who
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Leaves a group
    Leave {
        /// Its name, or its id
        group: String,
    },
    /// Ends a group: all leave, and its history stays
    Dissolve {
        /// Its name, or its id
        group: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Gives a member another role
    Role {
        /// The name of the group, or its id
        group: String,
        /// Who
        name: String,
        /// What it becomes
        #[arg(value_enum)]
        role: RoleName,
    },
    /// Gives a group another name
    Rename {
        /// Its name, or its id
        group: String,
        /// The new one
        name: String,
    },
    /// Sets attributes: KEY=VALUE; KEY= removes one
    Set {
        /// The name of the group, or its id
        group: String,
        /// What
        #[arg(required = true, value_name = "KEY=VALUE")]
        attributes: Vec<String>,
    },
}

/// A role, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// May do everything, also end the group.
    Owner,
    /// Lets in and removes, renames, sets attributes.
    Admin,
    /// Reads and sends.
    Member,
    /// Reads.
    Observer,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Owner => Self::Owner,
            RoleName::Admin => Self::Admin,
            RoleName::Member => Self::Member,
            RoleName::Observer => Self::Observer,
        }
    }
}

/// `swarm group`.
pub async fn run(
    state: &State,
    operator: &str,
    command: GroupCommand,
    json: bool,
) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let told = carry_out(&client, command, json).await;
    client.close().await;
    screen::say(told?.trim_end());
    Ok(())
}

/// What is printed.
async fn carry_out(client: &Client, command: GroupCommand, json: bool) -> anyhow::Result<String> {
    let (group, done) = match command {
        GroupCommand::List => return show::list(client, json).await,
        GroupCommand::Show {
            group,
            limit,
            after,
        } => {
            let group = find(client, &group).await?;
            return show::one(client, group, (after, limit), json).await;
        }
        GroupCommand::Create {
            name,
            members,
            history_open,
        } => create(client, name, &members, history_open).await?,
        GroupCommand::Add { group, names, role } => {
            let (group, accounts) = both(client, &group, &names).await?;
            (
                group,
                client.add_members(group, &accounts, role.into()).await?,
            )
        }
        GroupCommand::Remove { group, names } => {
            let (group, accounts) = both(client, &group, &names).await?;
            (group, client.change_members(group, &[], &accounts).await?)
        }
        GroupCommand::Leave { group } => {
            let group = find(client, &group).await?;
            (group, client.leave(group).await?)
        }
        GroupCommand::Dissolve { group, yes } => {
            let id = find(client, &group).await?;
            if !yes && !crate::upkeep::confirmed(&format!("dissolve the group {group:?}?"))? {
                bail!("nothing was done");
            }
            (id, client.dissolve_group(id).await?)
        }
        GroupCommand::Role { group, name, role } => {
            let (group, accounts) = both(client, &group, &[name]).await?;
            let roles: Vec<_> = accounts.into_iter().map(|it| (it, role.into())).collect();
            (group, client.change_roles(group, &roles).await?)
        }
        GroupCommand::Rename { group, name } => {
            let update = GroupUpdate {
                name: Some(name),
                ..GroupUpdate::default()
            };
            let group = find(client, &group).await?;
            (group, client.update_group(group, update).await?)
        }
        GroupCommand::Set { group, attributes } => {
            let update = attributes_of(&attributes)?;
            let group = find(client, &group).await?;
            (group, client.update_group(group, update).await?)
        }
    };
    Ok(show::done(group, done, json))
}

async fn create(
    client: &Client,
    name: String,
    members: &[String],
    history_open: bool,
) -> anyhow::Result<(ConversationId, client_sdk::SequenceNumber)> {
    let group = client
        .create_group_with(NewGroup {
            name,
            members: accounts(client, members).await?,
            history_open,
            client_message_id: None,
        })
        .await?;
    Ok((group, client.group(group).await?.head))
}

/// A group by its name, or by its id as it is printed.
async fn find(client: &Client, group: &str) -> anyhow::Result<ConversationId> {
    if let Some(id) = access::group(client, group).await? {
        return Ok(id);
    }
    let id = group.strip_prefix('g').and_then(|id| id.parse().ok());
    match id {
        Some(id) => Ok(ConversationId::group(id)),
        None => Err(access::no_such_group(client, group).await),
    }
}

async fn both(
    client: &Client,
    group: &str,
    names: &[String],
) -> anyhow::Result<(ConversationId, Vec<AccountId>)> {
    let group = find(client, group).await?;
    Ok((group, accounts(client, names).await?))
}

/// All of these accounts.
async fn accounts(client: &Client, names: &[String]) -> anyhow::Result<Vec<AccountId>> {
    let asked: Vec<_> = names.iter().map(String::as_str).collect();
    let found = client.find_accounts(&asked).await?;
    let one = |name: &String| {
        let account = found.iter().find(|account| account.name == *name);
        let account = account.with_context(|| format!("there is no account {name:?}"));
        account.map(|account| account.id)
    };
    names.iter().map(one).collect()
}

fn attributes_of(words: &[String]) -> anyhow::Result<GroupUpdate> {
    let mut update = GroupUpdate::default();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            bail!("{word:?}: an attribute is KEY=VALUE");
        };
        if value.is_empty() {
            update.unset.push(key.to_owned());
        } else {
            update.set.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(update)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_and_removed_by_what_is_behind_the_sign() {
        let words = [
            "zone=B 区".to_owned(),
            "old=".to_owned(),
            "eq=a=b".to_owned(),
        ];
        let update = attributes_of(&words).unwrap();
        assert_eq!(update.set["zone"], "B 区");
        assert_eq!(update.set["eq"], "a=b");
        assert_eq!(update.unset, ["old"]);
        assert!(attributes_of(&["zone".to_owned()]).is_err());
    }
}
