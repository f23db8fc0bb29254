//! Which host an event is of.

use super::World;
use crate::net::{ConnId, Event, Host, Packet, Timer};

impl World {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Arrived { conn, to, packet } => {
                if self.net.arrived(conn, to) {
                    self.arrived(conn, to, packet);
                    self.room(conn, to);
                }
            }
            Event::Opened { conn, to } => {
                if self.net.is_alive(conn) {
                    self.opened(conn, to);
                } else if let Some(target) = self.net.dialled(conn, to) {
                    self.failed(to, target);
                }
            }
            Event::Failed { to, target, boot } => {
                if boot == self.net.boot(to) {
                    self.failed(to, target);
                }
            }
            Event::Closed { conn, to } => self.closed(conn, to),
            Event::Timer { host, boot, timer } => {
                if boot == self.net.boot(host) {
                    self.timer(host, timer);
                }
            }
            Event::Outside(what) => self.outside(what),
        }
    }

    fn failed(&mut self, to: Host, target: Host) {
        match to {
            Host::Client(n) => self.clients[n].failed(&mut self.net),
            Host::Gateway(_) | Host::Logic | Host::Router | Host::Store => {
                let wait = self.net.micros(20_000, 150_000);
                self.net.timer(to, wait, Timer::Dial(target));
            }
        }
    }

    fn arrived(&mut self, conn: ConnId, to: Host, packet: Packet) {
        let net = &mut self.net;
        if matches!(packet, Packet::End) {
            net.ended(conn);
            return self.closed(conn, to);
        }
        match (to, packet) {
            (Host::Client(n), Packet::Frame(bytes)) => {
                self.with_client(n, |client, near| client.arrived(near, conn, &bytes));
            }
            (Host::Gateway(n), packet) => {
                let Some(gateway) = &mut self.gateways[n] else {
                    return;
                };
                match packet {
                    Packet::Frame(bytes) => {
                        let frame = crate::decode(bytes);
                        gateway.frame(net, conn, frame);
                    }
                    Packet::Answer { id, outcome } => gateway.answer(net, (conn, id), outcome),
                    Packet::Notice { method, body } => gateway.notice(net, method, body),
                    Packet::Call { .. } | Packet::End => {}
                }
            }
            (
                Host::Logic,
                Packet::Call {
                    id,
                    method,
                    body,
                    deadline,
                },
            ) => {
                self.logic.call(net, (conn, id), (method, body), deadline);
            }
            (Host::Logic, Packet::Answer { id, outcome }) => self.logic.answer(net, id, outcome),
            (Host::Logic, Packet::Notice { method, body }) => self.logic.notice(net, method, body),
            (Host::Router, Packet::Call { id, body, .. }) => {
                self.router.call(net, conn, id, &body);
            }
            (Host::Router, Packet::Notice { method, body }) => {
                self.router.notice(net, conn, method, body);
            }
            (
                Host::Store,
                Packet::Call {
                    id, method, body, ..
                },
            ) => {
                self.store.call(net, conn, id, method, body);
            }
            (Host::Store, Packet::Notice { method, body }) => self.store.notice(net, method, body),
            (to, packet) => panic!("{packet:?} to {to:?}"),
        }
    }

    /// What arrived made room for its sender.
    fn room(&mut self, conn: ConnId, to: Host) {
        let net = &mut self.net;
        match net.peer(conn, to) {
            Some(Host::Gateway(n)) => {
                if let Some(gateway) = &mut self.gateways[n] {
                    gateway.write(net);
                }
            }
            Some(Host::Router) => self.router.pump(net, conn),
            Some(Host::Store) => self.store.pump(net),
            Some(Host::Client(n)) => self.with_client(n, |client, near| client.settle(near)),
            Some(Host::Logic) | None => {}
        }
    }

    fn opened(&mut self, conn: ConnId, to: Host) {
        let net = &mut self.net;
        match to {
            Host::Client(n) => self.with_client(n, |client, near| client.opened(near, conn)),
            Host::Gateway(n) => {
                if let Some(gateway) = &mut self.gateways[n] {
                    gateway.opened(net, conn);
                }
            }
            Host::Logic => self.logic.opened(net, conn),
            Host::Router => {}
            Host::Store => self.store.opened(net, conn),
        }
    }

    fn closed(&mut self, conn: ConnId, to: Host) {
        let net = &mut self.net;
        match to {
            Host::Client(n) => self.with_client(n, |client, near| client.closed(near, conn)),
            Host::Gateway(n) => {
                if let Some(gateway) = &mut self.gateways[n] {
                    gateway.closed(net, conn);
                }
            }
            Host::Logic => self.logic.closed(net, conn),
            Host::Router => self.router.closed(conn),
            Host::Store => self.store.closed(net, conn),
        }
    }

    fn timer(&mut self, host: Host, timer: Timer) {
        let net = &mut self.net;
        match host {
            Host::Client(n) => self.with_client(n, |client, near| client.timer(near, timer)),
            Host::Gateway(n) => {
                if let Some(gateway) = &mut self.gateways[n] {
                    gateway.timer(net, timer);
                }
            }
            Host::Logic => self.logic.timer(net, timer),
            Host::Router => {}
            Host::Store => self.store.timer(net, timer),
        }
    }
}
