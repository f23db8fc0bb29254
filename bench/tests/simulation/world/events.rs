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
            Host::Gateway(_) | Host::Logic | Host::Router(_) | Host::Store(_) => {
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
            (Host::Logic, Packet::Answer { id, outcome }) => {
                self.logic.answer(net, (conn, id), outcome);
            }
            (Host::Logic, Packet::Notice { method, body }) => self.logic.notice(net, method, body),
            (Host::Router(n), Packet::Call { id, body, .. }) => {
                self.routers[n].call(net, conn, id, &body);
            }
            (Host::Router(n), Packet::Notice { method, body }) => {
                self.routers[n].notice(net, conn, method, body);
            }
            (
                Host::Store(n),
                Packet::Call {
                    id, method, body, ..
                },
            ) => {
                self.stores[n].call(net, &self.log, (conn, id), (method, body));
            }
            (Host::Store(n), Packet::Notice { method, body }) => {
                self.stores[n].notice(net, method, body);
            }
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
            Some(Host::Router(n)) => self.routers[n].pump(net, conn),
            Some(Host::Store(n)) => self.stores[n].pump(net),
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
            Host::Router(_) => {}
            Host::Store(n) => self.stores[n].opened(net, conn),
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
            Host::Router(n) => self.routers[n].closed(conn),
            Host::Store(n) => self.stores[n].closed(net, conn),
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
            Host::Router(_) => {}
            Host::Store(n) => self.stores[n].timer(net, &mut self.log, timer),
        }
    }
}
