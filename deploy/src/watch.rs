//! `swarm watch`: what is committed, as it comes, as far as it fits a filter that the server applies.

use anyhow::{Context as _, bail};
use clap::Args;
use client_sdk::protocol::id::ConversationKind;
use client_sdk::{AccountId, Client, ConversationId, EntryKind, Gap, Seen, WatchFilter};
use serde_json::{Value, json};

use crate::access::{self, Access};
use crate::render::{self, Names};
use crate::screen;
use crate::state::State;

/// What is watched.
#[derive(Debug, Args)]
pub struct WatchOptions {
    /// Only what fits, for example "kind=text,plan sender=ana group=demo mention=bo word=急停";
    /// several values of one condition: any of them
    #[arg(long, value_name = "CONDITIONS", default_value = "")]
    filter: String,
    /// All groups of the fleet, for those who may, and not only those that the operator is in
    #[arg(long)]
    fleet: bool,
    /// Ends after so many lines
    #[arg(long, value_name = "LINES")]
    count: Option<u64>,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// The conditions as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Conditions {
    pub(crate) kinds: Vec<EntryKind>,
    senders: Vec<String>,
    groups: Vec<String>,
    mentions: Vec<String>,
    words: Vec<String>,
}

impl Conditions {
    /// From `NAME=VALUE,VALUE` with spaces between them.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut conditions = Self::default();
        for condition in text.split_whitespace() {
            let (name, values) = condition
                .split_once('=')
                .with_context(|| format!("{condition:?}: a condition is NAME=VALUE"))?;
            let values = values.split(',').filter(|value| !value.is_empty());
            let values: Vec<_> = values.map(str::to_owned).collect();
            match name {
                "kind" => {
                    for value in &values {
                        conditions.kinds.push(kind(value)?);
                    }
                }
                "sender" => conditions.senders.extend(values),
                "group" => conditions.groups.extend(values),
                "mention" => conditions.mentions.extend(values),
                "word" => conditions.words.extend(values),
                other => bail!("{other:?}: kind, sender, group, mention or word"),
            }
        }
        Ok(conditions)
    }

    /// With the ids of what is named.
    pub(crate) async fn resolve(self, client: &Client, fleet: bool) -> anyhow::Result<WatchFilter> {
        let mut conversations = Vec::new();
        for name in &self.groups {
            conversations.push(conversation(client, name).await?);
        }
        Ok(WatchFilter {
            kinds: self.kinds,
            senders: accounts(client, &self.senders).await?,
            conversations,
            mentions: accounts(client, &self.mentions).await?,
            words: self.words,
            fleet,
        })
    }
}

fn kind(word: &str) -> anyhow::Result<EntryKind> {
    let name = word.to_uppercase().replace('-', "_");
    let kind = EntryKind::from_str_name(&format!("ENTRY_KIND_{name}"));
    kind.with_context(|| format!("{word:?} is no kind of entry"))
}

async fn accounts(client: &Client, names: &[String]) -> anyhow::Result<Vec<AccountId>> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let found = client.find_accounts(&[name.as_str()]).await?.pop();
        let account = found.with_context(|| format!("there is no account {name:?}"))?;
        ids.push(account.id);
    }
    Ok(ids)
}

/// A group by its name, if the operator is in it, or by its id as it is printed.
async fn conversation(client: &Client, name: &str) -> anyhow::Result<ConversationId> {
    if let Some(group) = access::group(client, name).await? {
        return Ok(group);
    }
    match name.parse() {
        Ok(id) => Ok(id),
        Err(_) => Err(access::no_such_group(client, name).await),
    }
}

/// `swarm watch`.
pub async fn run(state: &State, operator: &str, options: &WatchOptions) -> anyhow::Result<()> {
    let conditions = Conditions::parse(&options.filter)?;
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let filter = conditions.resolve(&client, options.fleet).await?;
    let mut watch = client.watch(filter).await?;
    let mut names = Names::default();
    let mut left = options.count.unwrap_or(u64::MAX);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while left > 0 {
        let seen = tokio::select! {
            seen = watch.next() => seen?,
            _ = &mut interrupted => break,
        };
        left -= 1;
        screen::say(if options.json {
            as_json(&seen, &mut names).to_string()
        } else {
            line(&client, &seen, &mut names).await
        });
    }
    drop(watch);
    client.close().await;
    Ok(())
}

/// Members are learnt from the groups that the operator is in; the others are told by their number.
async fn line(client: &Client, seen: &Seen, names: &mut Names) -> String {
    match seen {
        Seen::Entry(entry) => {
            let is_group = matches!(entry.conversation.kind(), ConversationKind::Group(_));
            if is_group
                && !names.knows(entry.sender)
                && let Ok(members) = client.members(entry.conversation).await
            {
                names.learn_all(&members);
            }
            format!("{} {}", entry.conversation, render::entry(entry, names))
        }
        Seen::Gap(gap) => gap_line(gap),
    }
}

fn gap_line(gap: &Gap) -> String {
    let known = match gap.missed {
        0 => String::new(),
        missed => format!(", {missed} of them known to fit"),
    };
    match (gap.conversation, gap.first.0, gap.last.0) {
        (Some(conversation), 0, last) => {
            format!("{conversation} (entries up to #{last} may be missing{known})")
        }
        (Some(conversation), first, last) => {
            format!("{conversation} (entries #{first} to #{last} may be missing{known})")
        }
        (None, ..) => format!("(entries of any conversation may be missing{known})"),
    }
}

fn as_json(seen: &Seen, names: &mut Names) -> Value {
    match seen {
        Seen::Entry(entry) => json!({
            "conversation": entry.conversation.to_string(),
            "sequence": entry.sequence.0,
            "sender": entry.sender.0,
            "kind": entry.kind.as_str_name().trim_start_matches("ENTRY_KIND_").to_lowercase(),
            "committed_at_ms": entry.committed_at_ms,
            "line": render::entry(entry, names),
        }),
        Seen::Gap(gap) => json!({
            "gap": true,
            "conversation": gap.conversation.map(|conversation| conversation.to_string()),
            "first": gap.first.0,
            "last": gap.last.0,
            "missed": gap.missed,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client_sdk::SequenceNumber;

    #[test]
    fn conditions_are_read_as_they_are_documented() {
        let text = "kind=text,step-update sender=ana group=demo mention=bo word=急停,stop word=!";
        let read = Conditions::parse(text).unwrap();
        assert_eq!(read.kinds, [EntryKind::Text, EntryKind::StepUpdate]);
        assert_eq!(read.words, ["急停", "stop", "!"]);
        assert_eq!((&read.senders[0][..], &read.mentions[0][..]), ("ana", "bo"));
        assert_eq!(Conditions::parse("").unwrap(), Conditions::default());
        for wrong in ["text", "kind=song", "colour=red"] {
            assert!(Conditions::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_gap_says_where_to_look() {
        let mut gap = Gap {
            conversation: Some(ConversationId::group(7)),
            first: SequenceNumber(5),
            last: SequenceNumber(9),
            missed: 3,
        };
        let told = gap_line(&gap);
        assert_eq!(
            told,
            "g7 (entries #5 to #9 may be missing, 3 of them known to fit)"
        );
        gap.first = SequenceNumber(0);
        gap.missed = 0;
        assert_eq!(gap_line(&gap), "g7 (entries up to #9 may be missing)");
        gap.conversation = None;
        assert_eq!(
            gap_line(&gap),
            "(entries of any conversation may be missing)"
        );
    }
}
