//! Groups as tables for people, and as JSON.

use client_sdk::{AccountId, Client, ConversationId, Group, Member, SequenceNumber};
use protocol::id::ConversationKind;
use serde_json::{Value, json};

use crate::render::{kind_word, on_one_screen, role_word};
use crate::table::table;

/// The groups that the account is in.
pub(super) async fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let conversations = client.conversations().await?;
    let is_group = |id: &ConversationId| matches!(id.kind(), ConversationKind::Group(_));
    let groups = conversations.into_iter().filter(|its| is_group(&its.id));
    if json {
        let groups = groups.map(|its| {
            json!({
                "id": its.id.to_string(),
                "name": its.name,
                "role": role_word(its.role),
                "head": its.head.0,
                "unread": its.unread,
            })
        });
        return Ok(Value::from_iter(groups).to_string());
    }
    let rows = groups.map(|its| {
        [
            its.id.to_string(),
            on_one_screen(&its.name),
            role_word(its.role).to_owned(),
            its.head.to_string(),
            its.unread.to_string(),
        ]
    });
    Ok(table(["id", "name", "role", "head", "unread"], rows))
}

/// One group, with a page of its members.
pub(super) async fn one(
    client: &Client,
    id: ConversationId,
    (after, limit): (u64, u32),
    json: bool,
) -> anyhow::Result<String> {
    let group = client.group(id).await?;
    let mut members: Vec<Member> = Vec::new();
    let mut more = true;
    while more && (limit == 0 || members.len() < limit as usize) {
        let last = members.last().map(|member| member.account.id);
        let after = last.or_else(|| (after > 0).then_some(AccountId(after)));
        let left = match limit {
            0 => 0,
            limit => limit - u32::try_from(members.len()).unwrap_or(limit),
        };
        let (page, is_more) = client.members_page(id, after, left).await?;
        more = is_more && !page.is_empty();
        members.extend(page);
    }
    Ok(if json {
        described(&group, &members, more).to_string()
    } else {
        words(&group, members, more)
    })
}

fn described(group: &Group, members: &[Member], more: bool) -> Value {
    let member = |member: &Member| {
        json!({
            "account": member.account.id.0,
            "name": member.account.name,
            "kind": kind_word(member.account.kind),
            "role": role_word(member.role),
        })
    };
    json!({
        "id": group.id.to_string(),
        "name": group.name,
        "attributes": group.attributes,
        "history_open": group.history_open,
        "created_at_ms": group.created_at_ms,
        "head": group.head.0,
        "role": role_word(group.role),
        "members_total": group.members,
        "owners": group.owners,
        "admins": group.admins,
        "observers": group.observers,
        "members": Value::from_iter(members.iter().map(member)),
        "more": more,
    })
}

fn words(group: &Group, members: Vec<Member>, more: bool) -> String {
    let Group {
        members: all,
        owners,
        admins,
        observers,
        ..
    } = group;
    let mut words = format!(
        "{} {}\n{all} members: {owners} owners, {admins} admins, {observers} observers\n",
        group.id,
        on_one_screen(&group.name),
    );
    for (key, value) in &group.attributes {
        words += &format!("{} = {}\n", on_one_screen(key), on_one_screen(value));
    }
    let last = members.last().map(|member| member.account.id);
    let rows = members.into_iter().map(|member| {
        [
            member.account.id.to_string(),
            member.account.name,
            kind_word(member.account.kind).to_owned(),
            role_word(member.role).to_owned(),
        ]
    });
    words += &table(["account", "name", "kind", "role"], rows);
    if let Some(last) = last.filter(|_| more) {
        words += &format!("more: --after {last}\n");
    }
    words
}

/// The entry by which a group has changed.
pub(super) fn done(group: ConversationId, entry: SequenceNumber, json: bool) -> String {
    if json {
        return json!({ "group": group.to_string(), "sequence": entry.0 }).to_string();
    }
    match entry {
        SequenceNumber::ZERO => format!("{group}: nothing to change"),
        entry => format!("{group}: done, entry {entry}"),
    }
}
