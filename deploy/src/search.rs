//! `swarm search`: what was said in a group, by words, sender, kind and time.

use anyhow::Context as _;
use clap::Args;
use client_sdk::{Client, ConversationId, Entry, EntryKind, Found, Search, SequenceNumber};
use serde_json::{Value, json};
use service_kit::clock;

use crate::access::{self, Access};
use crate::render::{self, Names};
use crate::screen;
use crate::state::State;

/// What is looked for.
#[derive(Debug, Args)]
pub struct SearchOptions {
    /// The name of the group
    group: String,
    /// Words, all of which must be there: letters from the beginning of a word, Chinese anywhere
    words: Vec<String>,
    /// Only of this account; several: of any of them
    #[arg(long = "sender", value_name = "NAME")]
    senders: Vec<String>,
    /// Only of this kind, for example "text" or "step-update"; several: of any of them
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<EntryKind>,
    /// Only of the last so many seconds, or minutes, hours, days: 90s, 30m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    last: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Only before this entry, for the next page
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn kind(word: &str) -> Result<EntryKind, String> {
    let name = word.to_uppercase().replace('-', "_");
    EntryKind::from_str_name(&format!("ENTRY_KIND_{name}"))
        .ok_or_else(|| "no kind of entry".to_owned())
}

pub(crate) fn duration_ms(word: &str) -> Result<u64, String> {
    let wrong = || "a number and s, m, h or d".to_owned();
    let unit = word.chars().next_back().ok_or_else(wrong)?;
    let number: u64 = word[..word.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let unit_ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).ok_or_else(wrong)
}

/// `swarm search`.
pub async fn run(state: &State, operator: &str, options: &SearchOptions) -> anyhow::Result<()> {
    let access = Access::open(state)?;
    let (client, _events) = access.operator(operator).await?;
    let told = search(&client, options).await;
    client.close().await;
    screen::say(told?.trim_end());
    Ok(())
}

async fn search(client: &Client, options: &SearchOptions) -> anyhow::Result<String> {
    let Some(group) = access::group(client, &options.group).await? else {
        return Err(access::no_such_group(client, &options.group).await);
    };
    let mut senders = Vec::new();
    for name in &options.senders {
        let found = client.find_accounts(&[name.as_str()]).await?.pop();
        let account = found.with_context(|| format!("there is no account {name:?}"))?;
        senders.push(account.id);
    }
    let last = options.last.map(|ms| clock::unix_ms().saturating_sub(ms));
    let asked = Search {
        text: options.words.join(" "),
        senders,
        kinds: options.kinds.clone(),
        committed_from_ms: last.unwrap_or(0),
        before: options.before.map(SequenceNumber),
        limit: options.limit,
        ..Search::default()
    };
    let found = all(client, group, asked).await?;
    if options.json {
        return Ok(as_json(&found).to_string());
    }
    let mut names = Names::of(&client.members(group).await?);
    let mut lines = String::new();
    for entry in &found.entries {
        lines += &render::entry(entry, &mut names);
        lines.push('\n');
    }
    if let Some(next) = found.next {
        lines += &format!("more: --before {next}\n");
    }
    Ok(lines)
}

/// Goes on over pages that have less than was asked for.
async fn all(client: &Client, group: ConversationId, asked: Search) -> anyhow::Result<Found> {
    let mut found = client.search(group, asked.clone()).await?;
    while let Some(next) = found.next
        && found.entries.len() < asked.limit as usize
    {
        let so_far = u32::try_from(found.entries.len()).unwrap_or(u32::MAX);
        let more = Search {
            before: Some(next),
            limit: asked.limit - so_far,
            ..asked.clone()
        };
        let more = client.search(group, more).await?;
        found.entries.extend(more.entries);
        found.next = more.next;
    }
    Ok(found)
}

fn as_json(found: &Found) -> Value {
    let entry = |entry: &Entry| {
        let mut names = Names::default();
        json!({
            "sequence": entry.sequence.0,
            "sender": entry.sender.0,
            "kind": entry.kind.as_str_name().trim_start_matches("ENTRY_KIND_").to_lowercase(),
            "committed_at_ms": entry.committed_at_ms,
            "line": render::entry(entry, &mut names),
        })
    };
    json!({
        "entries": Value::from_iter(found.entries.iter().map(entry)),
        "next_before": found.next.map(|next| next.0),
        "indexed_up_to": found.indexed_up_to.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_kinds_are_read_as_they_are_documented() {
        assert_eq!(duration_ms("90s"), Ok(90_000));
        assert_eq!(duration_ms("7d"), Ok(7 * 86_400_000));
        for wrong in ["", "7", "d", "7w", "-1h", "99999999999999d"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
        assert_eq!(kind("step-update"), Ok(EntryKind::StepUpdate));
        assert!(kind("song").is_err());
    }
}
