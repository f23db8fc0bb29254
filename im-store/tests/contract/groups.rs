//! Groups on a real database: roles, names, attributes and ends are there when it is opened again.

use bytes::Bytes;
use im_store::engine::{Chore, Described, Done, NewGroup, Readers as _};
use im_store::read::{self, Entitlement};
use im_store::shard::{Append, GroupChange, MemberChange};
use protocol::wire::{EntryKind, GroupDescription, Role};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Rights, Roles};

use crate::backend::Backend;
use crate::writer::{NOW_MS, history, make_group, start, text};

fn changing(group: ConversationId, id: u16, changes: Vec<MemberChange>) -> Append {
    Append {
        kind: EntryKind::Membership,
        changes,
        content: Bytes::copy_from_slice(&id.to_be_bytes()),
        ..text(group, 1, id, "")
    }
}

fn regrouping(group: ConversationId, id: u16, change: GroupChange) -> Append {
    Append {
        kind: EntryKind::Group,
        group: Some(change),
        ..text(group, 1, id, "")
    }
}

fn joins(account: u64, role: Role) -> MemberChange {
    MemberChange::Joins(AccountId(account), role)
}

async fn description(
    backend: &impl Backend,
    group: ConversationId,
    asker: u64,
) -> GroupDescription {
    let readers = backend.readers().await;
    let described = readers.describe(group, AccountId(asker)).await.unwrap();
    let Described::ToAMember(description) = described else {
        panic!("{described:?}");
    };
    *description
}

pub(crate) async fn an_account_owns_so_many_groups_and_no_more(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let made = async |n: u8| {
        let row = NewGroup {
            creator: AccountId(1),
            message_id: ClientMessageId::new(NOW_MS, [n; 10]),
            proposed: ConversationId::group(n.into()),
            name: "演示".into(),
            history_open: false,
            owned_max: 2,
        };
        let group = ConversationId::group(n.into());
        let Done::Group(made) = writer.chore(Chore::CreateGroup(row)).await? else {
            panic!("no group");
        };
        assert_eq!(made, group);
        let owner = changing(group, n.into(), vec![joins(1, Role::Owner)]);
        writer.append(owner).await.map(|_| group)
    };
    let first = made(1).await.unwrap();
    made(2).await.unwrap();
    assert_eq!(made(3).await.unwrap_err().code, ErrorCode::LimitReached);
    // A repeat makes none.
    assert_eq!(made(1).await.unwrap(), first);
    let end = GroupChange {
        dissolves: true,
        ..GroupChange::default()
    };
    writer.append(regrouping(first, 9, end)).await.unwrap();
    made(3).await.unwrap();
    assert_eq!(made(4).await.unwrap_err().code, ErrorCode::LimitReached);
}

pub(crate) async fn roles_names_and_attributes_are_kept(backend: &impl Backend) {
    let (writer, task) = start(backend).await;
    let group = make_group(&writer, 1, 7).await;
    let first = vec![
        joins(1, Role::Owner),
        joins(2, Role::Admin),
        joins(3, Role::Member),
        joins(4, Role::Observer),
    ];
    writer.append(changing(group, 1, first)).await.unwrap();
    let readers_only = Rights::to_send(Roles::of(&[Role::Owner, Role::Admin, Role::Member]));
    let says = |sender, id| Append {
        rights: readers_only,
        ..text(group, sender, id, "报告")
    };
    let refused = writer.append(says(4, 2)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    let becomes = |account, role| MemberChange::Becomes(AccountId(account), role);
    let swap = vec![becomes(4, Role::Member), becomes(3, Role::Observer)];
    writer.append(changing(group, 3, swap)).await.unwrap();
    writer.append(says(4, 4)).await.unwrap();
    let refused = writer.append(says(3, 5)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    let change = GroupChange {
        name: Some("夜间巡检".into()),
        set: [("区".into(), "B 区".into()), ("x".into(), "1".into())].into(),
        ..GroupChange::default()
    };
    writer.append(regrouping(group, 6, change)).await.unwrap();
    let unset = GroupChange {
        unset: vec!["x".into()],
        ..GroupChange::default()
    };
    writer.append(regrouping(group, 7, unset)).await.unwrap();
    drop(writer);
    drop(task.await.unwrap());

    // Another writer knows it from the database.
    let (writer, _task) = start(backend).await;
    let refused = writer.append(says(3, 8)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    writer.append(says(4, 9)).await.unwrap();
    let told = description(backend, group, 4).await;
    assert_eq!(
        (told.name.as_str(), told.created_at_ms),
        ("夜间巡检", NOW_MS)
    );
    let (key, value) = (&told.attributes[0].key, &told.attributes[0].value);
    assert_eq!(
        (told.attributes.len(), &key[..], &value[..]),
        (1, "区", "B 区")
    );
    let counts = (told.members, told.owners, told.admins, told.observers);
    assert_eq!(counts, (4, 1, 1, 1));
    assert_eq!((told.role(), told.head), (Role::Member, 6));
    assert_eq!(told.membership_sequence, 5);
}

pub(crate) async fn the_last_owner_stays(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let group = make_group(&writer, 1, 7).await;
    let first = vec![joins(1, Role::Owner), joins(2, Role::Member)];
    writer.append(changing(group, 1, first)).await.unwrap();
    let leaves = |id, account| changing(group, id, vec![MemberChange::Leaves(AccountId(account))]);
    let refused = writer.append(leaves(2, 1)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::LastOwner);
    let owner = MemberChange::Becomes(AccountId(2), Role::Owner);
    writer
        .append(changing(group, 3, vec![owner]))
        .await
        .unwrap();
    writer.append(leaves(4, 1)).await.unwrap();
    assert_eq!(description(backend, group, 2).await.owners, 1);
}

pub(crate) async fn a_dissolved_group_is_read_and_not_added_to(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let group = make_group(&writer, 1, 7).await;
    let first = vec![joins(1, Role::Owner), joins(2, Role::Member)];
    writer.append(changing(group, 1, first)).await.unwrap();
    writer.append(text(group, 2, 2, "再见")).await.unwrap();
    let end = GroupChange {
        dissolves: true,
        ..GroupChange::default()
    };
    let ended = writer
        .append(regrouping(group, 3, end.clone()))
        .await
        .unwrap();
    assert_eq!(ended.sequence.0, 3);
    let again = writer.append(regrouping(group, 3, end)).await.unwrap();
    assert!(again.duplicate && again.sequence.0 == 3);
    let more = vec![joins(1, Role::Owner)];
    for late in [text(group, 2, 4, "?"), changing(group, 5, more)] {
        let refused = writer.append(late).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::GroupDissolved);
    }
    let readers = backend.readers().await;
    let described = readers.describe(group, AccountId(1)).await.unwrap();
    assert!(matches!(described, Described::Dissolved), "{described:?}");
    let rows = readers
        .members(group, AccountId(0), 9)
        .await
        .unwrap()
        .unwrap();
    assert!(rows.is_dissolved && rows.members.is_empty());
    let mine = readers.memberships(AccountId(2), &[], 9).await.unwrap();
    assert!(mine.is_empty(), "it is nobody's any more");
    let log = history(backend, group, 2).await;
    let entitlement = Entitlement::new(log.stays, log.history_open).unwrap();
    let page = read::page(log.entries, &entitlement, NOW_MS);
    let kinds: Vec<_> = page.iter().map(|entry| entry.kind()).collect();
    assert_eq!(
        kinds,
        [EntryKind::Membership, EntryKind::Text, EntryKind::Group]
    );
}

/// Who could change a group before there were roles still can.
pub(crate) async fn groups_of_before_have_owners_and_admins(backend: &impl Backend) {
    backend.make_first_version().await;
    // Operators 1 and 2, a planner 3, a robot 4; 1 made the first group, and one who left the second.
    backend
        .execute(
            "INSERT INTO accounts (account, fleet, name, kind, created_at_ms) VALUES \
             (1, 'f', 'ana', 2, 0), (2, 'f', 'bo', 2, 0), (3, 'f', 'plan', 3, 0), \
             (4, 'f', 'lift', 1, 0);",
        )
        .await;
    for (group, members) in [(7, [1, 2, 4]), (8, [2, 3, 4])] {
        let id = hex(ConversationId::group(group));
        let mut sql = format!(
            "INSERT INTO conversations \
             (id, head, membership, owner_epoch, name, history_open, created_at_ms) \
             VALUES (X'{id}', 1, 1, 0, 'g', 0, 0); \
             INSERT INTO created_groups VALUES (1, X'{:032x}', X'{id}');",
            group
        );
        for member in members {
            sql += &format!("INSERT INTO members VALUES (X'{id}', {member}, 1, NULL);");
        }
        backend.execute(&sql).await;
    }
    drop(backend.engine().await);
    let readers = backend.readers().await;
    let mut roles = Vec::new();
    for group in [7, 8] {
        let group = ConversationId::group(group);
        let rows = readers.members(group, AccountId(0), 9).await.unwrap();
        let members = rows.unwrap().members.into_iter();
        roles.push(members.map(|(_, role)| role).collect::<Vec<_>>());
    }
    assert_eq!(roles[0], [Role::Owner, Role::Admin, Role::Member]);
    assert_eq!(roles[1], [Role::Owner, Role::Admin, Role::Member]);
}

fn hex(id: ConversationId) -> String {
    id.as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
