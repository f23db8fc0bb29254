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

/// One connection of a gateway. A later one is greater.
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
    /// The same, of an entry that moves members: these gateways may not know of the move.
    Late(Vec<LinkId>),
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
        let is_other = |(other, gateway): (&LinkId, &Gateway)| {
            (*other != link && gateway.id == registration.gateway).then_some(*other)
        };
        // The same gateway on two links: the older one is dead, and its end is only not yet
        // noticed; what it still says comes too late.
        match self.gateways.iter().find_map(is_other) {
            Some(newer) if newer > link => return Vec::new(),
            Some(older) => self.gone(older),
            None => {}
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
        let is_stale = last <= before.passed;
        if is_stale && joined.is_empty() && left.is_empty() {
            return Passed::Stale;
        }
        if !is_stale {
            let head = before.head.max(last);
            self.remember(conversation, Progress { head, passed: last });
        }

        for link in self.links_of(joined) {
            if let Some(gateway) = self.gateways.get_mut(&link) {
                gateway.groups.insert(conversation);
                self.groups.entry(conversation).or_default().insert(link);
            }
        }
        let mut to = self.links_of(left);
        to.extend(self.routes(conversation));
        let to = to.into_iter().collect();
        if is_stale {
            Passed::Late(to)
        } else {
            Passed::To(to)
        }
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

    /// At most `limit` of the accounts that gateways have, after this one, by rising id; and whether
    /// there are more.
    #[must_use]
    pub fn online(&self, after: AccountId, limit: usize) -> (Vec<AccountId>, bool) {
        // The lowest are kept: nobody needs all of them in order.
        let mut lowest = BTreeSet::new();
        let mut more = false;
        for account in self.accounts.keys().filter(|account| **account > after) {
            lowest.insert(*account);
            if lowest.len() > limit {
                lowest.pop_last();
                more = true;
            }
        }
        (lowest.into_iter().collect(), more)
    }

    /// Which of these accounts each gateway has.
    #[must_use]
    pub fn by_gateway(&self, accounts: &[AccountId]) -> BTreeMap<LinkId, Vec<AccountId>> {
        let mut by_gateway = BTreeMap::<_, Vec<_>>::new();
        for account in accounts {
            for link in self.accounts.get(account).into_iter().flatten() {
                by_gateway.entry(*link).or_default().push(*account);
            }
        }
        by_gateway
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
mod tests;
