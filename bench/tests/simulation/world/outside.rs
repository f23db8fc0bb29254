//! What goes wrong, and what the applications say.

use client_sdk::{Outgoing, Priority};
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::wire::ChangeMembers;
use protocol::{AccountId, ClientMessageId, ConversationId, content};
use rand::RngExt as _;

use super::{GROUPS, World};
use crate::gateway::LEAVE_GRACE;
use crate::net::{Host, Outside};

impl World {
    pub(super) fn outside(&mut self, what: Outside) {
        match what {
            Outside::Start(host) => {
                if !self.net.is_up(host) {
                    self.start(host);
                }
            }
            Outside::Reachable(client) => {
                self.net.cut_off.remove(&client);
            }
            Outside::Crash(host) => self.crash(host),
            Outside::Census => self.census(),
            Outside::Learn(host) => self.learn(host),
            Outside::Fault if !self.is_quiet => {
                self.go_wrong();
                let wait = self.net.micros(20_000, 1_500_000);
                self.net.outside(wait, Outside::Fault);
            }
            Outside::Act(client) if !self.is_quiet => {
                self.act(client);
                let wait = self.net.micros(10_000, 700_000);
                self.net.outside(wait, Outside::Act(client));
            }
            Outside::Fault | Outside::Act(_) => {}
        }
    }

    fn go_wrong(&mut self) {
        let client = self.net.pick(self.clients.len());
        let gateway = Host::Gateway(self.net.pick(self.gateways.len()));
        let store = Host::Store(self.net.pick(self.stores.len()));
        let router = Host::Router(self.net.pick(self.routers.len()));
        match self.net.pick(18) {
            0 | 1 => self.crash(Host::Client(client)),
            2 => self.crash(gateway),
            3 => self.crash(Host::Logic),
            4 => self.crash(router),
            5 => self.crash(store),
            6 => self.break_between(store, router),
            7 => self.break_between(gateway, router),
            8 => self.break_between(gateway, Host::Logic),
            9 => self.break_between(Host::Client(client), gateway),
            10 => {
                let away = self.net.micros(200_000, 8_000_000);
                self.net.cut_off.insert(client);
                self.net.outside(away, Outside::Reachable(client));
                self.break_between(Host::Client(client), gateway);
            }
            11 => self.drain(gateway),
            // Its lease ran out, and nothing else happened to it.
            12 => self.another(store),
            13 => self.another(router),
            _ => {
                let conns = self.net.live_conns();
                if !conns.is_empty() {
                    let conn = conns[self.net.pick(conns.len())];
                    let stall = self.net.micros(20_000, 4_000_000);
                    let way = self.net.pick(2);
                    self.net.stall(conn, way, stall);
                }
            }
        }
    }

    fn break_between(&mut self, from: Host, to: Host) {
        if let Some(conn) = self.net.conn_between(from, to) {
            self.broken += 1;
            let notice = if self.net.chance(300) {
                20_000_000
            } else {
                200_000
            };
            self.net.break_off(conn, notice);
        }
    }

    fn drain(&mut self, host: Host) {
        if let Host::Gateway(n) = host
            && let Some(gateway) = &mut self.gateways[n]
        {
            gateway.drain(&mut self.net);
            self.net.outside(LEAVE_GRACE * 2, Outside::Crash(host));
        }
    }

    /// A word of an application.
    fn act(&mut self, client: usize) {
        if !self.clients[client].is_running() {
            return;
        }
        let account = self.clients[client].account;
        match self.net.pick(20) {
            0 | 1 => self.change_members(client),
            2 => self.repeat(client),
            _ => {
                let most = if self.net.chance(100) { 8 } else { 1 };
                let at = self.somewhere(account);
                for _ in 0..most {
                    let outgoing = self.word(account, at);
                    let id = self.new_id();
                    self.sent.push((client, outgoing.clone(), id));
                    self.with_client(client, |client, near| {
                        client.send(near, outgoing, (id, false));
                    });
                }
            }
        }
    }

    fn somewhere(&mut self, account: AccountId) -> ConversationId {
        if self.net.chance(300) {
            let other = self.clients[self.net.pick(self.clients.len())].account;
            return ConversationId::pair(account, other);
        }
        ConversationId::group(self.net.rng.random_range(1..=GROUPS))
    }

    fn word(&mut self, account: AccountId, at: ConversationId) -> Outgoing {
        let bytes = if self.net.chance(60) { 25_000 } else { 8 };
        let text = format!("{}{}", self.net.events, "x".repeat(bytes));
        let mut outgoing = Outgoing::new(at, content::text(text));
        let is_person = account.0 <= 2;
        outgoing.priority = match self.net.pick(8) {
            0 if is_person => Priority::Emergency,
            1 => Priority::Command,
            2 => Priority::Telemetry,
            _ => Priority::Chat,
        };
        if self.net.chance(60) {
            let patience = self.net.rng.random_range(20..3_000);
            outgoing.deliver_before_ms = self.net.unix_ms() + patience;
        }
        outgoing
    }

    /// The same id again, as an application does that was not sure; rarely with another body.
    fn repeat(&mut self, client: usize) {
        let its = self.sent.iter().filter(|(sender, ..)| *sender == client);
        let its: Vec<_> = its
            .map(|(_, outgoing, id)| (outgoing.clone(), *id))
            .collect();
        if its.is_empty() {
            return;
        }
        let (mut outgoing, id) = its[self.net.pick(its.len())].clone();
        if self.net.chance(200) {
            outgoing.content = content::text("something else");
        }
        self.with_client(client, |client, near| {
            client.send(near, outgoing, (id, true))
        });
    }

    fn change_members(&mut self, client: usize) {
        let account = self.clients[client].account;
        let other = self.clients[self.net.pick(self.clients.len())].account;
        let at = ConversationId::group(self.net.rng.random_range(1..=GROUPS));
        let mut change = ChangeMembers {
            conversation_id: at.to_bytes(),
            client_message_id: self.new_id().to_bytes(),
            ..ChangeMembers::default()
        };
        // The first operator stays, so that somebody can bring the others back.
        if account.0 > 2 {
            change.remove.push(account.0);
        } else if other.0 > 1 && self.net.chance(400) {
            change.remove.push(other.0);
        } else {
            change.add.push(other.0);
        }
        let body = change.encode_to_vec().into();
        self.with_client(client, |client, near| {
            client.request(near, kind::CHANGE_MEMBERS, body);
        });
    }

    fn new_id(&mut self) -> ClientMessageId {
        ClientMessageId::new(self.net.unix_ms(), self.net.rng.random())
    }
}
