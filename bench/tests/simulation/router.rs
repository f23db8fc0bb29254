//! A router as a host: the real table, runs and debts; its queues and links are the
//! simulation's. What `im-router/src/gateways.rs` does under its lock is done here in one step.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use im_router::fanout::{self, Run};
use im_router::owed::{self, Notice, Owed};
use im_router::table::{Head, LinkId, Passed, Registration, Table};
use prost::Message as _;
use protocol::kind::method;
use protocol::wire::internal::{Commits, HeadHints, Heads, Register, Registered, Unregister};
use protocol::{AccountId, ConversationId, GatewayId, SequenceNumber};

use crate::net::{ConnId, Host, Net, Packet};

/// Notices that wait for one gateway. When full: it is told heads later.
const QUEUE_MAX: usize = 3;

pub(crate) struct Router {
    me: Host,
    table: Table,
    outlets: BTreeMap<LinkId, Outlet>,
    /// To be counted: how often a gateway fell behind.
    pub(crate) behind: u64,
}

#[derive(Default)]
struct Outlet {
    queue: VecDeque<Packet>,
    /// Of these, notices.
    notices: usize,
    owed: Owed,
    is_behind: bool,
}

/// What takes a notice's place when there is no room for it.
enum Instead<'a> {
    Heads(&'a [Head]),
    Resync,
}

impl Router {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            me: Host::Router(index),
            table: Table::default(),
            outlets: BTreeMap::new(),
            behind: 0,
        }
    }

    pub(crate) fn closed(&mut self, conn: ConnId) {
        self.table.gone(LinkId(conn.0));
        self.outlets.remove(&LinkId(conn.0));
    }

    pub(crate) fn call(&mut self, net: &mut Net, conn: ConnId, id: u64, body: &Bytes) {
        let register = Register::decode(body.clone()).unwrap();
        let groups = register.groups.iter();
        let registration = Registration {
            gateway: GatewayId(register.gateway_id),
            replace: register.replace,
            groups: groups
                .map(|id| ConversationId::from_slice(id).unwrap())
                .collect(),
            accounts: register.accounts.iter().copied().map(AccountId).collect(),
        };
        let heads = self.table.register(LinkId(conn.0), &registration);
        let heads = heads.iter().map(|(at, head)| fanout::head(*at, *head));
        let registered = Registered {
            heads: heads.collect(),
        };
        let outcome = Ok(registered.encode_to_vec().into());
        let outlet = self.outlets.entry(LinkId(conn.0)).or_default();
        outlet.queue.push_back(Packet::Answer { id, outcome });
        self.pump(net, conn);
    }

    pub(crate) fn notice(&mut self, net: &mut Net, conn: ConnId, kind: u16, body: Bytes) {
        match kind {
            method::COMMITS => {
                let commits = Commits::decode(body).unwrap().commits;
                for run in fanout::runs(commits) {
                    self.pass(net, &run.unwrap());
                }
            }
            method::HEADS => self.raise_heads(net, &Heads::decode(body).unwrap()),
            method::UNREGISTER => {
                let gone = Unregister::decode(body).unwrap();
                let groups = gone.groups.iter();
                let groups: Vec<_> = groups
                    .map(|id| ConversationId::from_slice(id).unwrap())
                    .collect();
                let accounts: Vec<_> = gone.accounts.into_iter().map(AccountId).collect();
                self.table.unregister(LinkId(conn.0), &groups, &accounts);
            }
            other => panic!("method {other} to the router"),
        }
    }

    fn pass(&mut self, net: &mut Net, run: &Run) {
        let moved = run.moves.as_ref();
        let (joined, left) = moved.map_or((&[][..], &[][..]), |moves| (&moves.joined, &moves.left));
        let to = match self.table.commit(run.conversation, run.last, joined, left) {
            Passed::To(to) => to,
            Passed::Stale => return,
            Passed::Late(to) => {
                for link in to {
                    self.tell(net, link, owed::resync(), &Instead::Resync);
                }
                return;
            }
        };
        let head = [(run.conversation, run.last)];
        for link in to {
            if let Some(moves) = moved {
                let notice = notice(method::MEMBERSHIP_MOVED, &moves.notice);
                self.tell(net, link, notice, &Instead::Resync);
            }
            let entries = match &run.fanout {
                Some(fanout) => notice(method::FANOUT, fanout),
                None => hints(&head),
            };
            self.tell(net, link, entries, &Instead::Heads(&head));
        }
    }

    fn raise_heads(&mut self, net: &mut Net, heads: &Heads) {
        if heads.restarted {
            let links: Vec<_> = self.table.gateways().collect();
            for link in links {
                self.tell(net, link, owed::resync(), &Instead::Resync);
            }
        }
        let of = |head: &protocol::wire::Head| {
            let conversation = ConversationId::from_slice(&head.conversation_id).unwrap();
            (conversation, SequenceNumber(head.head))
        };
        let heads: Vec<_> = heads.heads.iter().map(of).collect();
        for (link, heads) in self.table.raise_heads(&heads) {
            self.tell(net, link, hints(&heads), &Instead::Heads(&heads));
        }
    }

    fn tell(&mut self, net: &mut Net, link: LinkId, notice: Notice, instead: &Instead<'_>) {
        let Some(outlet) = self.outlets.get_mut(&link) else {
            return;
        };
        if !outlet.is_behind && outlet.notices < QUEUE_MAX {
            outlet.push(notice);
        } else {
            match instead {
                Instead::Heads(heads) => {
                    for (conversation, head) in *heads {
                        outlet.owed.head(*conversation, *head);
                    }
                }
                Instead::Resync => outlet.owed.resync(),
            }
            self.behind += u64::from(!outlet.is_behind);
            outlet.is_behind = true;
        }
        self.pump(net, ConnId(link.0));
    }

    /// There is room on the way to a gateway.
    pub(crate) fn pump(&mut self, net: &mut Net, conn: ConnId) {
        let Some(outlet) = self.outlets.get_mut(&LinkId(conn.0)) else {
            return;
        };
        loop {
            while net.has_room(conn, self.me)
                && let Some(packet) = outlet.queue.pop_front()
            {
                outlet.notices -= usize::from(matches!(packet, Packet::Notice { .. }));
                net.send(conn, self.me, packet);
            }
            if !outlet.is_behind || outlet.notices >= QUEUE_MAX {
                return;
            }
            match outlet.owed.take() {
                Some(notice) => outlet.push(notice),
                None => outlet.is_behind = false,
            }
        }
    }
}

impl Outlet {
    fn push(&mut self, Notice { method, body }: Notice) {
        self.notices += 1;
        self.queue.push_back(Packet::Notice { method, body });
    }
}

fn notice(method: u16, body: &Bytes) -> Notice {
    Notice {
        method,
        body: body.clone(),
    }
}

fn hints(heads: &[Head]) -> Notice {
    let heads = heads.iter().map(|(at, head)| fanout::head(*at, *head));
    let hints = HeadHints {
        heads: heads.collect(),
    };
    Notice {
        method: method::HEAD_HINTS,
        body: hints.encode_to_vec().into(),
    }
}
