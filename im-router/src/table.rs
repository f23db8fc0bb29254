//! Who gets what: conversation → gateways, account → gateways, and how far each conversation is.
//!
//! Pure: registrations, commits and heads go in, links of gateways come out. Not here: the notices
//! themselves, and their queues.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use protocol::id::ConversationKind;
use protocol::{AccountId, ConversationId, GatewayId, SequenceNumber};

/// Conversations whose heads are remembered: some 400 MiB. When full: those of new conversations
/// are passed on and not remembered, so that a gateway that registers later learns them from the
/// memberships that it reads, and a repeated commit is passed on twice.
pub const HEADS_MAX: usize = 4 * 1024 * 1024;

/// One connection of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// How far a conversation is.
pub type Head = (ConversationId, SequenceNumber);

/// What a gateway registers.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Which gateway process it is.
    pub gateway: GatewayId,
    /// Whether this is all that it has.
    pub replace: bool,
    /// Groups with local members.
    pub groups: Vec<ConversationId>,
    /// Accounts with local sessions.
    pub accounts: Vec<AccountId>,
}

/// What became of committed entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// They go to these gateways.
    To(Vec<LinkId>),
    /// They, or later ones, went out before.
    Stale,
}

/// Routes and heads.
#[derive(Debug)]
pub struct Table {
    gateways: BTreeMap<LinkId, Gateway>,
    groups: HashMap<ConversationId, BTreeSet<LinkId>>,
    accounts: HashMap<AccountId, BTreeSet<LinkId>>,
    heads: HashMap<ConversationId, Progress>,
    /// The pairs among `heads`, by each of their two accounts.
    pairs: HashMap<AccountId, BTreeSet<ConversationId>>,
    heads_max: usize,
}

#[derive(Debug, Default)]
struct Gateway {
    id: GatewayId,
    groups: HashSet<ConversationId>,
    accounts: HashSet<AccountId>,
}

/// Neither ever goes down.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The newest entry that we know of.
    head: SequenceNumber,
    /// The newest entry that went out as a push.
    passed: SequenceNumber,
}

impl Default for Table {
    fn default() -> Self {
        Self::with_heads_max(HEADS_MAX)
    }
}

impl Table {
    /// An empty one that remembers so many heads.
    #[must_use]
    pub fn with_heads_max(heads_max: usize) -> Self {
        Self {
            gateways: BTreeMap::new(),
            groups: HashMap::new(),
            accounts: HashMap::new(),
            heads: HashMap::new(),
            pairs: HashMap::new(),
            heads_max,
        }
    }

    /// A gateway has these. Returns the heads of the groups and of the accounts' pairs, as far as
    /// they are known.
    pub fn register(&mut self, link: LinkId, registration: &Registration) -> Vec<Head> {
        let is_before = |(old, gateway): (&LinkId, &Gateway)| {
            (*old != link && gateway.id == registration.gateway).then_some(*old)
        };
        // The same gateway on a new link: the old one is dead, and its end is only not yet noticed.
        if let Some(old) = self.gateways.iter().find_map(is_before) {
            self.gone(old);
        }
        if registration.replace {
            self.gone(link);
        }
        let gateway = self.gateways.entry(link).or_default();
        gateway.id = registration.gateway;
        for group in &registration.groups {
            gateway.groups.insert(*group);
            self.groups.entry(*group).or_default().insert(link);
        }
        for account in &registration.accounts {
            gateway.accounts.insert(*account);
            self.accounts.entry(*account).or_default().insert(link);
        }
        self.known_heads(registration)
    }

    fn known_heads(&self, registration: &Registration) -> Vec<Head> {
        let pairs = registration
            .accounts
            .iter()
            .filter_map(|account| self.pairs.get(account))
            .flatten();
        let asked: BTreeSet<_> = registration.groups.iter().chain(pairs).collect();
        asked
            .into_iter()
            .filter_map(|conversation| Some((*conversation, self.heads.get(conversation)?.head)))
            .collect()
    }

    /// A gateway no longer has these.
    pub fn unregister(&mut self, link: LinkId, groups: &[ConversationId], accounts: &[AccountId]) {
        let Some(gateway) = self.gateways.get_mut(&link) else {
            return;
        };
        for group in groups {
            gateway.groups.remove(group);
            forget(&mut self.groups, group, link);
        }
        for account in accounts {
            gateway.accounts.remove(account);
            forget(&mut self.accounts, account, link);
        }
    }

    /// A gateway, or its connection, is gone.
    pub fn gone(&mut self, link: LinkId) {
        let Some(gateway) = self.gateways.remove(&link) else {
            return;
        };
        for group in &gateway.groups {
            forget(&mut self.groups, group, link);
        }
        for account in &gateway.accounts {
            forget(&mut self.accounts, account, link);
        }
    }

    /// Entries up to `last` were committed. `joined` and `left` are the accounts that they move:
    /// the group is at once registered for the gateways of those that joined, and the gateways of
    /// those that left are told as well.
    pub fn commit(
        &mut self,
        conversation: ConversationId,
        last: SequenceNumber,
        joined: &[AccountId],
        left: &[AccountId],
    ) -> Passed {
        let before = self.progress(conversation);
        if last <= before.passed {
            return Passed::Stale;
        }
        let head = before.head.max(last);
        self.remember(conversation, Progress { head, passed: last });

        for link in self.links_of(joined) {
            if let Some(gateway) = self.gateways.get_mut(&link) {
                gateway.groups.insert(conversation);
                self.groups.entry(conversation).or_default().insert(link);
            }
        }
        let mut to = self.links_of(left);
        to.extend(self.routes(conversation));
        Passed::To(to.into_iter().collect())
    }

    /// Conversations have entries up to these heads, which are not pushed. Returns what each
    /// gateway does not know yet.
    pub fn raise_heads(&mut self, heads: &[Head]) -> BTreeMap<LinkId, Vec<Head>> {
        let mut told = BTreeMap::<_, Vec<_>>::new();
        for (conversation, head) in heads {
            let before = self.progress(*conversation);
            if *head <= before.head {
                continue;
            }
            let passed = before.passed;
            let head = *head;
            self.remember(*conversation, Progress { head, passed });
            for link in self.routes(*conversation) {
                told.entry(link).or_default().push((*conversation, head));
            }
        }
        told
    }

    /// The gateways with members of this conversation.
    #[must_use]
    pub fn routes(&self, conversation: ConversationId) -> BTreeSet<LinkId> {
        match conversation.kind() {
            ConversationKind::Group(_) => {
                self.groups.get(&conversation).cloned().unwrap_or_default()
            }
            ConversationKind::Pair(low, high) => self.links_of(&[low, high]),
        }
    }

    /// Every gateway.
    pub fn gateways(&self) -> impl Iterator<Item = LinkId> {
        self.gateways.keys().copied()
    }

    /// How many conversations are remembered.
    #[must_use]
    pub fn heads_len(&self) -> usize {
        self.heads.len()
    }

    fn progress(&self, conversation: ConversationId) -> Progress {
        self.heads.get(&conversation).copied().unwrap_or_default()
    }

    fn remember(&mut self, conversation: ConversationId, progress: Progress) {
        if let Some(known) = self.heads.get_mut(&conversation) {
            *known = progress;
            return;
        }
        if self.heads.len() >= self.heads_max {
            return;
        }
        self.heads.insert(conversation, progress);
        if let ConversationKind::Pair(low, high) = conversation.kind() {
            for account in [low, high] {
                self.pairs.entry(account).or_default().insert(conversation);
            }
        }
    }

    fn links_of(&self, accounts: &[AccountId]) -> BTreeSet<LinkId> {
        accounts
            .iter()
            .filter_map(|account| self.accounts.get(account))
            .flatten()
            .copied()
            .collect()
    }
}

fn forget<K: Hash + Eq>(routes: &mut HashMap<K, BTreeSet<LinkId>>, key: &K, link: LinkId) {
    if let Some(links) = routes.get_mut(key) {
        links.remove(&link);
        if links.is_empty() {
            routes.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
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
}
