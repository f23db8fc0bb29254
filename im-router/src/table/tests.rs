//! The table as a story: three gateways, groups and pairs.

use super::*;

const ONE: LinkId = LinkId(1);
const TWO: LinkId = LinkId(2);
const THREE: LinkId = LinkId(3);

fn group(id: u64) -> ConversationId {
    ConversationId::group(id)
}

fn pair(a: u64, b: u64) -> ConversationId {
    ConversationId::pair(AccountId(a), AccountId(b))
}

fn at(conversation: ConversationId, head: u64) -> Head {
    (conversation, SequenceNumber(head))
}

fn has(gateway: u64, groups: &[u64], accounts: &[u64]) -> Registration {
    Registration {
        gateway: GatewayId(gateway),
        replace: true,
        groups: groups.iter().copied().map(group).collect(),
        accounts: accounts.iter().copied().map(AccountId).collect(),
    }
}

fn more(gateway: u64, groups: &[u64], accounts: &[u64]) -> Registration {
    Registration {
        replace: false,
        ..has(gateway, groups, accounts)
    }
}

/// Gateway 1 has group 7 and accounts 10, 11; gateway 2 has group 7 and account 20; gateway 3
/// has account 30.
fn three() -> Table {
    let mut table = Table::default();
    table.register(ONE, &has(101, &[7], &[10, 11]));
    table.register(TWO, &has(102, &[7], &[20]));
    table.register(THREE, &has(103, &[], &[30]));
    table
}

fn commit(table: &mut Table, conversation: ConversationId, last: u64) -> Passed {
    table.commit(conversation, SequenceNumber(last), &[], &[])
}

#[test]
fn entries_go_once_to_each_gateway_with_members() {
    let mut table = three();
    let to = |links: &[LinkId]| Passed::To(links.to_vec());
    assert_eq!(commit(&mut table, group(7), 1), to(&[ONE, TWO]));
    assert_eq!(commit(&mut table, group(8), 1), to(&[]));
    assert_eq!(commit(&mut table, pair(10, 30), 1), to(&[ONE, THREE]));
    assert_eq!(commit(&mut table, pair(10, 11), 1), to(&[ONE]));
    assert_eq!(commit(&mut table, pair(30, 30), 1), to(&[THREE]));
    assert_eq!(commit(&mut table, pair(98, 99), 1), to(&[]));
}

#[test]
fn a_dead_link_does_not_take_the_place_of_the_one_that_replaced_it() {
    let mut table = Table::default();
    table.register(ONE, &has(101, &[7], &[10]));
    table.register(TWO, &has(101, &[7, 8], &[10]));
    // Sent before the link broke, and taken only now.
    assert_eq!(table.register(ONE, &more(101, &[7], &[])), []);
    table.gone(ONE);
    let to_new = Passed::To(vec![TWO]);
    assert_eq!(commit(&mut table, group(7), 1), to_new);
    assert_eq!(commit(&mut table, group(8), 1), to_new);
    assert_eq!(commit(&mut table, pair(10, 99), 1), to_new);
}

#[test]
fn what_went_out_is_stale_and_what_was_only_announced_is_not() {
    let mut table = three();
    commit(&mut table, group(7), 4);
    assert_eq!(commit(&mut table, group(7), 4), Passed::Stale);
    assert_eq!(commit(&mut table, group(7), 3), Passed::Stale);
    table.raise_heads(&[at(group(7), 9)]);
    assert_ne!(commit(&mut table, group(7), 6), Passed::Stale);
    let known = table.register(THREE, &more(103, &[7], &[]));
    assert_eq!(known, [at(group(7), 9)], "a head never goes down");
}

#[test]
fn who_joins_is_routed_at_once_and_who_leaves_is_told() {
    let mut table = three();
    let joins = table.commit(group(7), SequenceNumber(2), &[AccountId(30)], &[]);
    assert_eq!(joins, Passed::To(vec![ONE, TWO, THREE]));
    assert_eq!(
        commit(&mut table, group(7), 3),
        Passed::To(vec![ONE, TWO, THREE])
    );
    table.unregister(THREE, &[group(7)], &[]);
    let leaves = table.commit(group(7), SequenceNumber(4), &[], &[AccountId(30)]);
    assert_eq!(leaves, Passed::To(vec![ONE, TWO, THREE]));
    assert_eq!(commit(&mut table, group(7), 5), Passed::To(vec![ONE, TWO]));
}

#[test]
fn a_gateway_is_told_only_heads_that_it_does_not_know() {
    let mut table = three();
    commit(&mut table, group(7), 5);
    let told = table.raise_heads(&[at(group(7), 5), at(group(9), 2), at(pair(20, 30), 3)]);
    let news = vec![at(pair(20, 30), 3)];
    assert_eq!(told, BTreeMap::from([(TWO, news.clone()), (THREE, news)]));
    assert!(table.raise_heads(&[at(pair(20, 30), 2)]).is_empty());
}

#[test]
fn who_registers_learns_the_heads_of_groups_and_pairs() {
    let mut table = three();
    commit(&mut table, group(7), 5);
    commit(&mut table, pair(10, 20), 2);
    table.raise_heads(&[at(pair(20, 40), 8), at(pair(50, 60), 8)]);
    let known = table.register(LinkId(4), &has(104, &[7, 8], &[10, 20]));
    let expected = [at(group(7), 5), at(pair(10, 20), 2), at(pair(20, 40), 8)];
    assert_eq!(known, expected);
    let known = table.register(LinkId(4), &more(104, &[], &[50]));
    assert_eq!(known, [at(pair(50, 60), 8)]);
}

#[test]
fn a_registration_adds_replaces_or_takes_over() {
    let mut table = three();
    table.register(ONE, &more(101, &[8], &[12]));
    assert_eq!(table.routes(group(7)), BTreeSet::from([ONE, TWO]));
    assert_eq!(table.routes(group(8)), BTreeSet::from([ONE]));
    table.register(ONE, &has(101, &[8], &[]));
    assert_eq!(table.routes(group(7)), BTreeSet::from([TWO]));
    assert_eq!(table.routes(pair(12, 12)), BTreeSet::new());
    // The same gateway comes back before its old connection is seen to end.
    table.register(LinkId(9), &has(101, &[8], &[]));
    assert_eq!(table.routes(group(8)), BTreeSet::from([LinkId(9)]));
    table.gone(ONE);
    assert_eq!(table.routes(group(8)), BTreeSet::from([LinkId(9)]));
    assert_eq!(table.gateways().count(), 3);
}

#[test]
fn who_is_gone_leaves_nothing_behind() {
    let mut table = three();
    for link in [ONE, TWO, THREE] {
        table.gone(link);
    }
    table.unregister(ONE, &[group(7)], &[AccountId(10)]);
    assert!(table.groups.is_empty() && table.accounts.is_empty());
    assert!(table.gateways.is_empty());
}

#[test]
fn a_move_that_comes_after_newer_entries_is_still_told_of() {
    let mut table = three();
    commit(&mut table, group(7), 6);
    // The account's gateway had no member of the group.
    let late = table.commit(group(7), SequenceNumber(5), &[AccountId(30)], &[]);
    assert_eq!(late, Passed::Late(vec![ONE, TWO, THREE]));
    // From now on it has, and what went out stays so.
    assert_eq!(commit(&mut table, group(7), 6), Passed::Stale);
    let to = Passed::To(vec![ONE, TWO, THREE]);
    assert_eq!(commit(&mut table, group(7), 7), to);
}

#[test]
fn a_full_memory_of_heads_still_passes_everything_on() {
    let mut table = Table::with_heads_max(1);
    table.register(ONE, &has(101, &[7, 8], &[]));
    commit(&mut table, group(7), 1);
    for _ in 0..2 {
        assert_eq!(commit(&mut table, group(8), 1), Passed::To(vec![ONE]));
    }
    assert_eq!(commit(&mut table, group(7), 1), Passed::Stale);
    assert_eq!(table.heads_len(), 1);
}

#[test]
fn who_is_online_is_told_in_pages() {
    let mut table = three();
    table.register(TWO, &more(102, &[], &[10]));
    let page = |table: &Table, after, limit| {
        let (accounts, more) = table.online(AccountId(after), limit);
        (
            accounts.iter().map(|account| account.0).collect::<Vec<_>>(),
            more,
        )
    };
    assert_eq!(page(&table, 0, 10), (vec![10, 11, 20, 30], false));
    assert_eq!(page(&table, 0, 2), (vec![10, 11], true));
    assert_eq!(page(&table, 11, 2), (vec![20, 30], false));
    table.gone(THREE);
    table.unregister(ONE, &[], &[AccountId(10)]);
    // The other gateway has a session of it still.
    assert_eq!(page(&table, 0, 10), (vec![10, 11, 20], false));
}
