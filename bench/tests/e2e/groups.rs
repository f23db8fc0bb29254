//! Groups over the real tiers: roles, names and attributes as entries of the log, the end of a
//! group, ten thousand members, the command line.

use std::process::Output;

use bench::cluster::{Cluster, swarm};
use bench::crowd;
use bench::wait::metric_at_least;
use client_sdk::{
    Content, EntryKind, Error, ErrorCode, GroupUpdate, Role, SendError, SequenceNumber,
};
use deploy::tiers::Tier;
use protocol::limits::GROUP_MEMBERS_MAX;

use crate::people::{Group, Person, WAIT, said, text};

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    match result {
        Err(Error::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_change_of_a_group_is_an_entry_that_all_of_it_hear() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, group.ana.client.clone());
    let bo_id = group.bo.client.account().id;
    ana.change_roles(at, &[(bo_id, Role::Observer)])
        .await
        .unwrap();
    let not_sent = group.bo.client.send(at, text("听不见")).await;
    let code = |error| match error {
        Err(SendError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(not_sent), ErrorCode::Forbidden);
    let update = GroupUpdate {
        name: Some("夜间巡检".into()),
        set: [("区".into(), "B 区".into())].into(),
        unset: vec![],
    };
    ana.update_group(at, update).await.unwrap();
    let last = ana.send(at, text("都看到了吗")).await.unwrap().sequence;
    let heard = group.bo.hear_up_to(at, last).await;
    let mut told = Vec::new();
    for message in &heard {
        if let Content::Membership(change) = &message.content {
            told.extend(
                change
                    .roles
                    .iter()
                    .map(|role| (role.account_id, role.role())),
            );
        }
        if let Content::Group(change) = &message.content {
            assert_eq!((change.name.as_str(), change.set.len()), ("夜间巡检", 1));
        }
    }
    assert_eq!(told, [(bo_id.0, Role::Observer)]);
    assert_eq!(said(heard.last().unwrap()), "都看到了吗");
    let known = group.bo.client.group(at).await.unwrap();
    assert_eq!(
        (known.name.as_str(), known.role),
        ("夜间巡检", Role::Observer)
    );
    assert_eq!(known.attributes["区"], "B 区");
    let mine = group.bo.client.conversations().await.unwrap();
    let mine = mine.iter().find(|its| its.id == at).unwrap();
    assert_eq!(
        (mine.name.as_str(), mine.role),
        ("夜间巡检", Role::Observer)
    );

    // Ana hands it on and goes; before, she may not.
    assert_eq!(refused(ana.leave(at).await), ErrorCode::LastOwner);
    ana.transfer_group(at, bo_id).await.unwrap();
    ana.leave(at).await.unwrap();
    let (members, more) = group.bo.client.members_page(at, None, 0).await.unwrap();
    let roles: Vec<_> = members.iter().map(|it| (it.account.id, it.role)).collect();
    assert_eq!((roles, more), (vec![(bo_id, Role::Owner)], false));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_dissolved_group_is_left_by_all_and_read_by_those_who_were_in_it() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, group.ana.client.clone());
    ana.send(at, text("最后一句")).await.unwrap();
    let end = ana.dissolve_group(at).await.unwrap();
    let heard = group.bo.hear_up_to(at, end).await;
    let is_end = |content: &Content| matches!(content, Content::Group(change) if change.dissolved);
    assert!(is_end(&heard.last().unwrap().content));
    group.bo.left(at).await;

    let late = ana.send(at, text("还有")).await;
    assert!(matches!(late, Err(SendError::Refused(why)) if why.code == ErrorCode::GroupDissolved));
    let gone = ErrorCode::GroupDissolved;
    assert_eq!(refused(ana.send_ephemeral(at, "k", text("?")).await), gone);
    assert_eq!(refused(ana.group(at).await), gone);
    assert_eq!(refused(ana.members(at).await), gone);
    let cy = Person::connect(cluster.operator("cy").unwrap()).await;
    let cy_id = cy.client.account().id;
    assert_eq!(
        refused(ana.add_members(at, &[cy_id], Role::Member).await),
        gone
    );
    for client in [&ana, &group.bo.client] {
        assert!(
            client
                .conversations()
                .await
                .unwrap()
                .iter()
                .all(|its| its.id != at)
        );
        let page = client.pull(at, SequenceNumber::ZERO, 0).await.unwrap();
        assert_eq!(page.entries.last().unwrap().kind, EntryKind::Group);
        assert!(page.entries.iter().all(|entry| entry.content.is_some()));
    }
    let stranger = cy.client.pull(at, SequenceNumber::ZERO, 0).await;
    assert_eq!(refused(stranger), ErrorCode::NotAMember);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn two_accounts_talk_without_any_set_up() {
    let cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let mut lift = Person::connect(cluster.robot("lift-1").unwrap()).await;
    let pair = ana.client.pair_with(lift.client.account().id);
    let first = ana.client.send(pair, text("在吗")).await.unwrap();
    assert_eq!(first.sequence.0, 1);
    assert_eq!(said(&lift.hear_text(pair).await), "在吗");
    lift.client.send(pair, text("在")).await.unwrap();
    let roles = lift.client.members_page(pair, None, 0).await.unwrap().0;
    assert!(roles.iter().all(|member| member.role == Role::Member));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn ten_thousand_members_are_added_listed_told_and_dismissed() {
    let cluster = Cluster::start().await.unwrap();
    let mut ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let accounts = crowd::robots(&cluster, "crowd", GROUP_MEMBERS_MAX - 1).await;
    let accounts = accounts.unwrap();
    let at = ana.client.create_group("万人", &[]).await.unwrap();
    ana.client
        .add_members(at, &accounts, Role::Member)
        .await
        .unwrap();
    let known = ana.client.group(at).await.unwrap();
    assert_eq!(known.members as usize, GROUP_MEMBERS_MAX);
    let bo = Person::connect(cluster.operator("bo").unwrap()).await;
    let one_more = [bo.client.account().id];
    let full = ana.client.add_members(at, &one_more, Role::Member).await;
    assert_eq!(refused(full), ErrorCode::LimitReached);

    let (mut listed, mut more) = (Vec::new(), true);
    while more {
        let after = listed.last().copied();
        let (page, is_more) = ana.client.members_page(at, after, 0).await.unwrap();
        listed.extend(page.iter().map(|member| member.account.id));
        more = is_more;
    }
    let mut all = accounts.clone();
    all.push(ana.client.account().id);
    all.sort();
    assert_eq!(listed, all);

    // One of them is told of a message, and of the end.
    let mut last = Person::connect(cluster.robot("crowd-9999").unwrap()).await;
    assert_eq!(last.client.account().id, *accounts.last().unwrap());
    ana.client.send(at, text("大家好")).await.unwrap();
    assert_eq!(said(&last.hear_text(at).await), "大家好");
    let end = ana.client.dissolve_group(at).await.unwrap();
    last.hear_up_to(at, end).await;
    ana.left(at).await;
    let empty = ana.client.conversations().await.unwrap();
    assert!(empty.iter().all(|its| its.id != at));
    metric_at_least(&cluster, Tier::Logic, "im_logic_group_changes_total", 1)
        .await
        .unwrap();
    cluster.stop().await.unwrap();
}

async fn group_command(cluster: &Cluster, words: &[&str]) -> Output {
    let mut command = swarm().unwrap();
    let command = command.arg("group").args(words).arg("--state");
    let output = command.arg(cluster.state()).output();
    tokio::time::timeout(WAIT, output).await.unwrap().unwrap()
}

async fn printed(cluster: &Cluster, words: &[&str]) -> String {
    let output = group_command(cluster, words).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_command_line_makes_shows_changes_and_ends_groups() {
    let cluster = Cluster::start().await.unwrap();
    let lift = Person::connect(cluster.robot("lift-1").unwrap()).await;
    let _bo = Person::connect(cluster.operator("bo").unwrap()).await;
    printed(&cluster, &["create", "仓库", "--member", "lift-1"]).await;
    printed(&cluster, &["add", "仓库", "bo", "--role", "observer"]).await;
    printed(&cluster, &["role", "仓库", "bo", "admin"]).await;
    printed(&cluster, &["set", "仓库", "区=B 区", "班=夜"]).await;
    printed(&cluster, &["rename", "仓库", "北仓库"]).await;
    let told = printed(&cluster, &["show", "北仓库", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["role"], "owner");
    assert_eq!(told["members_total"], 3);
    assert_eq!(told["attributes"]["区"], "B 区");
    let mut roles: Vec<_> = told["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!(
                "{} {}",
                it["name"].as_str().unwrap(),
                it["role"].as_str().unwrap()
            )
        })
        .collect();
    roles.sort();
    assert_eq!(roles, ["bo admin", "lift-1 member", "operator owner"]);
    let page = printed(&cluster, &["show", "北仓库", "--limit", "1"]).await;
    assert!(page.contains("more: --after"), "{page}");
    let listed = printed(&cluster, &["list"]).await;
    assert!(
        listed.contains("北仓库") && listed.contains("owner"),
        "{listed}"
    );

    let as_bo = ["leave", "北仓库", "--as", "bo"];
    printed(&cluster, &as_bo).await;
    let last_owner = group_command(&cluster, &["leave", "北仓库"]).await;
    let why = String::from_utf8_lossy(&last_owner.stderr).into_owned();
    assert!(
        !last_owner.status.success() && why.contains("LAST_OWNER"),
        "{why}"
    );
    printed(&cluster, &["remove", "北仓库", "lift-1"]).await;
    printed(&cluster, &["dissolve", "北仓库", "--yes"]).await;
    let listed = printed(&cluster, &["list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["groups"], serde_json::json!([]));
    assert!(lift.client.conversations().await.unwrap().is_empty());
    cluster.stop().await.unwrap();
}
