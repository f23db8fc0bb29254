//! `swarm group`: groups as an operator makes, sees and changes them, by the administration API.

mod show;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::access::Access;
use crate::api::{self, Api, text};
use crate::screen;
use crate::state::State;

/// Names in one request: each takes a moment, and a line says how far it is.
const NAMES_TOGETHER: usize = 1000;

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
    List {
        /// How many are listed; 0: all
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// From the next page on, as the last one said
        #[arg(long, value_name = "CURSOR", default_value = "")]
        after: String,
    },
    /// Says what a group is, and who is in it
    Show {
        /// Its name, or its id
        group: String,
        /// How many members are listed; 0: all
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// From the next page on, as the last one said
        #[arg(long, value_name = "CURSOR", default_value = "")]
        after: String,
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

impl RoleName {
    /// As the API has it.
    const fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Observer => "observer",
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
    let mut api = Access::open(state)?.api(operator)?;
    let told = carry_out(&mut api, command, json).await?;
    screen::say(told.trim_end());
    Ok(())
}

/// What is printed.
async fn carry_out(api: &mut Api, command: GroupCommand, json: bool) -> anyhow::Result<String> {
    let done = match command {
        GroupCommand::List { limit, after } => {
            let page = api.list("groups", "groups", (&after, limit)).await?;
            return Ok(show::list(&page, json));
        }
        GroupCommand::Show {
            group,
            limit,
            after,
        } => {
            let path = format!("groups/{}", find(api, &group).await?);
            let group = api.get(&path).await?;
            let path = format!("{path}/members");
            let members = api.list(&path, "members", (&after, limit)).await?;
            return Ok(show::one(group, members, json));
        }
        GroupCommand::Create {
            name,
            members,
            history_open,
        } => create(api, &name, members, history_open).await?,
        GroupCommand::Add { group, names, role } => {
            let path = format!("groups/{}/members", find(api, &group).await?);
            let change = |names: &[String]| json!({ "add": names, "role": role.word() });
            in_parts(api, &path, &names, change).await?
        }
        GroupCommand::Remove { group, names } => {
            let path = format!("groups/{}/members", find(api, &group).await?);
            in_parts(api, &path, &names, |names| json!({ "remove": names })).await?
        }
        GroupCommand::Leave { group } => {
            let path = format!("groups/{}/leave", find(api, &group).await?);
            changed(api, &path, json!({})).await?
        }
        GroupCommand::Dissolve { group, yes } => {
            let id = find(api, &group).await?;
            if !yes && !crate::upkeep::confirmed(&format!("dissolve the group {group:?}?"))? {
                bail!("nothing was done");
            }
            changed(api, &format!("groups/{id}/dissolve"), json!({})).await?
        }
        GroupCommand::Role { group, name, role } => {
            let path = format!("groups/{}/roles", find(api, &group).await?);
            changed(api, &path, json!({ "roles": { name: role.word() } })).await?
        }
        GroupCommand::Rename { group, name } => {
            let path = format!("groups/{}", find(api, &group).await?);
            let change = with_id(json!({ "name": name }));
            api.patch(&path, &change).await?
        }
        GroupCommand::Set { group, attributes } => {
            let path = format!("groups/{}", find(api, &group).await?);
            let change = with_id(attributes_of(&attributes)?);
            api.patch(&path, &change).await?
        }
    };
    Ok(show::done(&done, json))
}

async fn create(
    api: &mut Api,
    name: &str,
    mut members: Vec<String>,
    history_open: bool,
) -> anyhow::Result<Value> {
    let later = members.split_off(members.len().min(NAMES_TOGETHER));
    let change = json!({ "name": name, "members": members, "history_open": history_open });
    let made = changed(api, "groups", change).await?;
    if later.is_empty() {
        return Ok(made);
    }
    let path = format!("groups/{}/members", text(&made, "group"));
    in_parts(api, &path, &later, |names| json!({ "add": names })).await
}

/// Some names at a time, and a line after each, when they are many.
async fn in_parts(
    api: &mut Api,
    path: &str,
    names: &[String],
    change: impl Fn(&[String]) -> Value,
) -> anyhow::Result<Value> {
    let mut done = Value::Null;
    let mut so_far = 0;
    for part in names.chunks(NAMES_TOGETHER) {
        done = changed(api, path, change(part)).await?;
        so_far += part.len();
        if names.len() > NAMES_TOGETHER {
            screen::news(format!("{so_far} of {}", names.len()));
        }
    }
    Ok(done)
}

async fn changed(api: &mut Api, path: &str, change: Value) -> anyhow::Result<Value> {
    api.post(path, &with_id(change)).await
}

fn with_id(mut change: Value) -> Value {
    change["client_message_id"] = api::change_id();
    change
}

/// A group by its name (the newest of several), or by its id as it is printed.
pub(crate) async fn find(api: &mut Api, group: &str) -> anyhow::Result<String> {
    let page = api.list("groups", "groups", ("", 0)).await?;
    let named = api::rows(&page, "groups").filter(|its| text(its, "name") == group);
    let number = |id: &str| id.trim_start_matches('g').parse::<u64>().unwrap_or(0);
    if let Some(newest) = named.map(|its| text(its, "id")).max_by_key(|id| number(id)) {
        return Ok(newest.to_owned());
    }
    if number(group) > 0 && group.starts_with('g') {
        return Ok(group.to_owned());
    }
    let mut names: Vec<_> = api::rows(&page, "groups")
        .map(|its| text(its, "name"))
        .collect();
    names.sort_unstable();
    names.dedup();
    bail!(
        "there is no group {group:?} that you are in; there are: {}",
        names.join(", ")
    )
}

fn attributes_of(words: &[String]) -> anyhow::Result<Value> {
    let (mut set, mut unset) = (Map::new(), Vec::new());
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            bail!("{word:?}: an attribute is KEY=VALUE");
        };
        if value.is_empty() {
            unset.push(key);
        } else {
            set.insert(key.to_owned(), value.into());
        }
    }
    Ok(json!({ "set": set, "unset": unset }))
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
        assert_eq!(update["set"]["zone"], "B 区");
        assert_eq!(update["set"]["eq"], "a=b");
        assert_eq!(update["unset"], json!(["old"]));
        assert!(attributes_of(&["zone".to_owned()]).is_err());
    }
}
