//! What the routers are told of who is at a gateway, as in `gateway/routes.rs` of `im-gateway`: who
//! comes waits for them, but not for ever, and what one has not taken it is told again.

use std::time::Duration;

use bytes::Bytes;
use im_gateway::registry::Routes;
use prost::Message as _;
use protocol::kind::method;
use protocol::wire::internal::{Register, Unregister};
use protocol::{ConversationId, Refusal};

use super::Gateway;
use super::sync::{RETRY_INTERVAL, Refreshing};
use crate::net::{Net, Timer};

/// How long whoever comes waits for its registration.
const REGISTER_PATIENCE: Duration = Duration::from_secs(1);

/// Registrations with several routers, and what follows when they have ended.
pub(super) struct Joint {
    under_way: usize,
    all_know: bool,
    then: Registered,
}

/// What follows when the routers know.
pub(super) enum Registered {
    ThenRead(Refreshing),
    ThenDone(Refreshing),
    ThenResync,
    Nothing,
}

impl Gateway {
    /// A group is registered with the router that it belongs to, an account with all of them.
    pub(super) fn register(&mut self, net: &mut Net, new: Routes, then: Registered) {
        let routers: Vec<_> = (0..self.routers.len()).collect();
        let routers = if new == Routes::default() {
            &[]
        } else {
            &routers[..]
        };
        self.register_with(net, routers, (new, false), then);
    }

    fn register_with(
        &mut self,
        net: &mut Net,
        routers: &[usize],
        (mut new, replace): (Routes, bool),
        then: Registered,
    ) {
        new.groups.sort_unstable();
        new.accounts.sort_unstable();
        self.last_joint += 1;
        let joint = self.last_joint;
        // One more, so that it does not end before all have begun.
        let under_way = routers.len() + 1;
        let all_know = true;
        let begun = Joint {
            under_way,
            all_know,
            then,
        };
        self.joint.insert(joint, begun);
        for router in routers.iter().copied() {
            let owner = |group: &&ConversationId| net.live.router(self.me, group.as_bytes());
            let groups = new.groups.iter();
            let groups = groups.filter(|group| owner(group) == Some(router));
            let register = Register {
                gateway_id: self.id.0,
                replace,
                groups: groups.map(|group| group.to_bytes()).collect(),
                accounts: new.accounts.iter().map(|account| account.0).collect(),
            };
            if register.groups.is_empty() && register.accounts.is_empty() && !replace {
                self.end_one(net, joint);
                continue;
            }
            let body = register.encode_to_vec().into();
            let link = &mut self.routers[router];
            let asked = link.call(net, method::REGISTER, body, REGISTER_PATIENCE, joint);
            if let Err((joint, refusal)) = asked {
                self.registered(net, (router, joint), Err(refusal));
            }
        }
        self.end_one(net, joint);
    }

    pub(super) fn registered(
        &mut self,
        net: &mut Net,
        (router, joint): (usize, u64),
        outcome: Result<Bytes, Refusal>,
    ) {
        match outcome {
            Ok(body) => {
                let registered = protocol::wire::internal::Registered::decode(body).unwrap();
                for head in registered.heads {
                    self.head(net, &head);
                }
            }
            // When the router is back it is told everything that is its own.
            Err(_) if self.routers[router].conn.is_none() => {}
            Err(_) => {
                if self.owing.is_empty() {
                    net.timer(self.me, RETRY_INTERVAL, Timer::Register);
                }
                self.owing.insert(router);
                if let Some(joint) = self.joint.get_mut(&joint) {
                    joint.all_know = false;
                }
            }
        }
        self.end_one(net, joint);
    }

    fn end_one(&mut self, net: &mut Net, joint: u64) {
        let Some(it) = self.joint.get_mut(&joint) else {
            return;
        };
        it.under_way -= 1;
        if it.under_way > 0 {
            return;
        }
        let Some(it) = self.joint.remove(&joint) else {
            return;
        };
        match it.then {
            Registered::ThenRead(refreshing) => self.read(net, refreshing),
            Registered::ThenDone(refreshing) => self.refreshed(net, refreshing, Ok(())),
            Registered::ThenResync if it.all_know => self.resync(net),
            // It is told everything again, and then that follows.
            Registered::ThenResync | Registered::Nothing => {}
        }
    }

    pub(super) fn unregister(&self, net: &mut Net, gone: &Routes) {
        if *gone == Routes::default() {
            return;
        }
        let unregister = Unregister {
            groups: gone.groups.iter().map(|group| group.to_bytes()).collect(),
            accounts: gone.accounts.iter().map(|account| account.0).collect(),
        };
        for router in &self.routers {
            router.notify(net, method::UNREGISTER, &unregister);
        }
    }

    pub(super) fn router_up(&mut self, net: &mut Net, router: usize) {
        let owner = |group: &ConversationId| net.live.router(self.me, group.as_bytes());
        self.registry
            .doubt_those(|group| owner(group) == Some(router));
        self.tell_everything(net, &[router]);
    }

    /// Groups may belong to other routers now.
    pub(crate) fn routers_moved(&mut self, net: &mut Net) {
        self.registry.doubt();
        let routers: Vec<_> = (0..self.routers.len()).collect();
        self.tell_everything(net, &routers);
        self.write(net);
    }

    fn tell_everything(&mut self, net: &mut Net, routers: &[usize]) {
        let everything = self.registry.everything();
        let then = if everything == Routes::default() {
            Registered::Nothing
        } else {
            Registered::ThenResync
        };
        self.register_with(net, routers, (everything, true), then);
    }
}
