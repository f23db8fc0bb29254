//! One seed from its first event to its verdict: the hosts, what the applications do, what goes
//! wrong, and the quiet at the end in which everything must come right.

mod census;
mod events;
mod outside;

use std::collections::BTreeMap;
use std::time::Duration;

use client_sdk::{Outgoing, Priority};
use protocol::wire::{EntryKind, MemberChange, MembershipChange};
use protocol::{AccountId, ClientMessageId, ConversationId, content};

use crate::Fault;
use crate::checker::{Checker, Counts};
use crate::client::Client;
use crate::gateway::{Gateway, address};
use crate::log::{Log, digest};
use crate::logic::{Logic, kind_of};
use crate::net::{Host, Net, Outside};
use crate::router::Router;
use crate::store::Store;

/// How long things go wrong.
const ROUGH: Duration = Duration::from_secs(14);

/// How long they then go right: above the longest chain of time-outs and back-offs.
const QUIET: Duration = Duration::from_secs(60);

/// At the end of the quiet, nobody asks anything any more for this long.
const STILL: Duration = Duration::from_secs(15);

/// A seed that needs more never comes to rest.
const EVENTS_MAX: u64 = 300_000;

const GROUPS: u64 = 3;

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    pub(crate) crashes: u64,
    pub(crate) broken: u64,
    /// Gateways told later by the router.
    pub(crate) behind: u64,
    /// Batches told by their heads alone.
    pub(crate) overflowed: u64,
    /// Changes of who owns conversations.
    pub(crate) moves: u64,
    pub(crate) events: u64,
    /// Two runs of a seed have the same.
    pub(crate) trace: u64,
}

/// What a step of a client may touch.
pub(crate) struct Surroundings<'a> {
    pub(crate) net: &'a mut Net,
    pub(crate) log: &'a Log,
    pub(crate) checker: &'a mut Checker,
    /// Nothing new is done, and applications are quick.
    pub(crate) is_quiet: bool,
}

struct World {
    net: Net,
    log: Log,
    stores: Vec<Store>,
    logic: Logic,
    routers: Vec<Router>,
    gateways: Vec<Option<Gateway>>,
    clients: Vec<Client>,
    checker: Checker,
    fault: Fault,
    sent: Vec<(usize, Outgoing, ClientMessageId)>,
    crashes: u64,
    broken: u64,
    behind: u64,
    is_quiet: bool,
    /// Gateways know which of them are live.
    lists: bool,
    /// Something random of each store and router: another one is another instance.
    ids: BTreeMap<Host, u64>,
    moves: u64,
}

/// Runs one seed.
pub(crate) fn run(seed: u64, fault: Fault) -> Outcome {
    let mut net = Net::new(seed);
    let clients = 3 + net.pick(4);
    let gateways = 1 + net.pick(2);
    let lists = net.chance(700);
    let (stores, routers) = (1 + net.pick(2), 1 + net.pick(2));
    let mut world = World {
        log: Log::default(),
        stores: (0..stores).map(|n| Store::new(n, routers)).collect(),
        logic: Logic::new(stores),
        routers: (0..routers).map(Router::new).collect(),
        ids: BTreeMap::new(),
        gateways: (0..gateways).map(|_| None).collect(),
        clients: (0..clients)
            .map(|n| Client::new(n, gateways, &mut net))
            .collect(),
        checker: Checker::default(),
        net,
        fault,
        sent: Vec::new(),
        crashes: 0,
        broken: 0,
        behind: 0,
        is_quiet: false,
        lists,
        moves: 0,
    };
    world.begin();
    world.go_on(ROUGH);
    world.heal();
    world.go_on(ROUGH + QUIET);
    world.finish()
}

impl World {
    fn begin(&mut self) {
        self.log.fault = self.fault;
        for client in &self.clients {
            let kind = kind_of(client.account);
            self.log.accounts.insert(client.account, kind);
        }
        for group in 1..=GROUPS {
            let at = ConversationId::group(group);
            self.log.group(at, group == 2);
            let members = self.clients.iter().map(|client| client.account);
            let members: Vec<_> = members.filter(|m| m.0 <= 2 || group != 3).collect();
            open(&mut self.log, at, &members, self.net.unix_ms());
        }
        for host in self.tiers() {
            self.start(host);
        }
        self.census();
        for host in self.tiers() {
            self.learn(host);
        }
        for client in 0..self.clients.len() {
            self.start(Host::Client(client));
            let wait = self.net.micros(1_000, 2_000_000);
            self.net.outside(wait, Outside::Act(client));
        }
        let wait = self.net.micros(500_000, 3_000_000);
        self.net.outside(wait, Outside::Fault);
        if self.net.chance(500) {
            self.end_with_a_loss();
        }
    }

    /// A store dies with the last words of all, committed or not and told of or not; nothing is said
    /// after them.
    fn end_with_a_loss(&mut self) {
        for client in 0..self.clients.len() {
            let wait = ROUGH - self.net.micros(12_000, 20_000);
            self.net.outside(wait, Outside::Act(client));
        }
        let store = Host::Store(self.net.pick(self.stores.len()));
        let wait = ROUGH - self.net.micros(1, 12_000);
        self.net.outside(wait, Outside::Crash(store));
    }

    fn go_on(&mut self, until: Duration) {
        while self.net.next_at().is_some_and(|at| at < until) {
            if self.net.events > EVENTS_MAX {
                return self.checker.violation("it never comes to rest".to_owned());
            }
            if let Some(event) = self.net.next() {
                self.happen(event);
            }
        }
    }

    fn heal(&mut self) {
        self.is_quiet = true;
        self.net.cut_off.clear();
        let mut hosts = self.tiers();
        hosts.extend((0..self.clients.len()).map(Host::Client));
        for host in hosts {
            if !self.net.is_up(host) {
                self.start(host);
            }
        }
        for client in 0..self.clients.len() {
            self.with_client(client, |client, near| client.settle(near));
        }
    }

    fn finish(mut self) -> Outcome {
        let accounts: Vec<_> = self.clients.iter().map(|client| client.account).collect();
        self.checker.finish(&self.log, &accounts);
        for client in &self.clients {
            let (index, unsettled) = (client.index, client.unsettled());
            if unsettled > 0 {
                self.checker
                    .violation(format!("client {index} waits for {unsettled} outcomes"));
            }
        }
        if self.checker.last_asked + STILL > ROUGH + QUIET {
            let at = self.checker.last_asked;
            self.checker
                .violation(format!("clients still ask at {at:?}"));
        }
        Outcome {
            violations: self.checker.violations,
            counts: self.checker.counts,
            crashes: self.crashes,
            broken: self.broken,
            behind: self.behind + self.routers.iter().map(|router| router.behind).sum::<u64>(),
            overflowed: self.stores.iter().map(|store| store.overflowed).sum(),
            moves: self.moves,
            events: self.net.events,
            trace: self.net.trace(),
        }
    }

    fn start(&mut self, host: Host) {
        self.net.started(host);
        match host {
            Host::Client(n) => self.clients[n].start(&mut self.net),
            Host::Gateway(n) => {
                let routers = self.routers.len();
                let gateway = Gateway::new(n, routers, &mut self.net, self.fault);
                gateway.start(&mut self.net);
                self.gateways[n] = Some(gateway);
                self.list_gateways();
            }
            Host::Logic => self.logic.start(&mut self.net),
            Host::Router(_) => {}
            Host::Store(n) => self.stores[n].start(&mut self.net),
        }
        // It begins with what is so now, if it is not the first.
        self.net.live.learn(host);
        self.another(host);
    }

    fn crash(&mut self, host: Host) {
        if !self.net.is_up(host) {
            return;
        }
        self.crashes += 1;
        self.net.crashed(host);
        match host {
            Host::Client(n) => self.clients[n].crash(),
            Host::Gateway(n) => {
                self.gateways[n] = None;
                self.list_gateways();
            }
            Host::Logic => self.logic = Logic::new(self.stores.len()),
            Host::Router(n) => {
                self.behind += self.routers[n].behind;
                self.routers[n] = Router::new(n);
            }
            Host::Store(n) => self.stores[n].crash(&mut self.net, &mut self.log),
        }
        if matches!(host, Host::Router(_) | Host::Store(_)) {
            let lease = self.net.micros(50_000, 1_500_000);
            self.net.outside(lease, Outside::Census);
        }
        let wait = if self.net.chance(700) {
            self.net.micros(1_000, 500_000)
        } else {
            self.net.micros(500_000, 5_000_000)
        };
        self.net.outside(wait, Outside::Start(host));
    }

    /// Those that are up learn of each other, unless nobody tells them.
    fn list_gateways(&mut self) {
        if !self.lists {
            return;
        }
        let gateways = self.gateways.iter().enumerate();
        let up: Vec<_> = gateways
            .filter(|(_, gateway)| gateway.is_some())
            .map(|(n, _)| address(n))
            .collect();
        for gateway in self.gateways.iter_mut().flatten() {
            gateway.list(&mut self.net, up.clone());
        }
    }

    fn with_client(&mut self, client: usize, act: impl FnOnce(&mut Client, &mut Surroundings<'_>)) {
        let mut near = Surroundings {
            net: &mut self.net,
            log: &self.log,
            checker: &mut self.checker,
            is_quiet: self.is_quiet,
        };
        act(&mut self.clients[client], &mut near);
    }
}

/// The entry that opens a group.
fn open(log: &mut Log, at: ConversationId, members: &[AccountId], now_ms: u64) {
    let changes = members.iter().map(|member| MemberChange {
        account_id: member.0,
        joined: true,
        ..MemberChange::default()
    });
    let changes: Vec<_> = changes.collect();
    let said = content::Content::Membership(MembershipChange {
        changes: changes.clone(),
        roles: Vec::new(),
    });
    let append = crate::store::append(protocol::wire::internal::Append {
        conversation_id: at.to_bytes(),
        sender: members[0].0,
        client_message_id: ClientMessageId::new(now_ms, [0; 10]).to_bytes(),
        kind: EntryKind::Membership.into(),
        content: content::encode(said),
        priority: Priority::Chat.into(),
        deliver_before_ms: 0,
        changes,
        ..protocol::wire::internal::Append::default()
    });
    let batch = [append];
    let plan = im_store::shard::plan(&batch, digest, &log.known(&batch), now_ms);
    log.commit(&batch, &plan, now_ms);
}
