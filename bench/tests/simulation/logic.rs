//! The logic as a host: the real `send::decide`, and the questions that it passes to the store. It
//! holds nothing but what it waits for.

use std::time::Duration;

use bytes::Bytes;
use im_logic::send::{Keeping, Membership, Outgoing, Standing, Verdict, decide};
use prost::Message;
use protocol::content::{self, Content};
use protocol::id::ConversationKind;
use protocol::kind::{client, method};
use protocol::wire::internal::{
    Append, Appended, Authenticate, Authenticated, CheckMembers, CheckedMembers, ClientReply,
    ClientRequest, EnsureAccount, Members, MembersPage, Memberships, MembershipsPage, Read,
};
use protocol::wire::{
    Account, AccountKind, ChangeMembers, ConversationPage, EntryKind, ListConversations,
    MemberChange, MembersChanged, MembershipChange, Priority, Pull, Role, Send, SendAck,
};
use protocol::{AccountId, ErrorCode, Refusal};
use tokio::time::Instant;

use crate::link::{Link, unanswered, unknown};
use crate::net::{ConnId, Host, Net, Packet, Timer};

pub(crate) struct Logic {
    /// By their numbers.
    stores: Vec<Link<(ConnId, u64, Then)>>,
}

/// What the store's answer becomes.
enum Then {
    Account,
    AsItIs,
    Checked(Vec<u64>),
    Acked,
    Changed,
    Pulled,
    Listed,
}

impl Logic {
    pub(crate) fn new(stores: usize) -> Self {
        let link = |store| Link::new(Host::Logic, Host::Store(store));
        Self {
            stores: (0..stores).map(link).collect(),
        }
    }

    pub(crate) fn start(&self, net: &mut Net) {
        self.stores.iter().for_each(|store| store.dial(net));
    }

    pub(crate) fn opened(&mut self, net: &Net, conn: ConnId) {
        if let Some(Host::Store(store)) = net.peer(conn, Host::Logic) {
            self.stores[store].conn = Some(conn);
        }
    }

    pub(crate) fn closed(&mut self, net: &mut Net, conn: ConnId) {
        for store in self.stores.iter_mut().filter(|it| it.conn == Some(conn)) {
            for (conn, id, _) in store.lost(net) {
                reply(net, conn, id, Err(unknown()));
            }
        }
    }

    /// Any of those that are there: all have one database.
    fn any(&self, net: &mut Net) -> usize {
        let first = net.pick(self.stores.len());
        let is_up = |store: &usize| self.stores[*store].conn.is_some();
        let mut others = (0..self.stores.len()).filter(is_up);
        if is_up(&first) {
            first
        } else {
            others.next().unwrap_or(first)
        }
    }

    pub(crate) fn timer(&mut self, net: &mut Net, timer: Timer) {
        match timer {
            Timer::Dial(Host::Store(store)) => self.stores[store].dial(net),
            Timer::Call(Host::Store(store), id) => {
                if let Some((conn, id, _)) = self.stores[store].answered(id) {
                    reply(net, conn, id, Err(unanswered()));
                }
            }
            other => panic!("{other:?} at logic"),
        }
    }

    pub(crate) fn notice(&self, net: &mut Net, kind: u16, body: Bytes) {
        assert_eq!(kind, method::PASS_MARKS);
        let store = self.any(net);
        if let Some(conn) = self.stores[store].conn {
            let method = method::WRITE_MARKS;
            net.send(conn, Host::Logic, Packet::Notice { method, body });
        }
    }

    pub(crate) fn answer(
        &mut self,
        net: &mut Net,
        (conn, id): (ConnId, u64),
        outcome: Result<Bytes, Refusal>,
    ) {
        let mut stores = self.stores.iter_mut();
        let store = stores.find(|store| store.conn == Some(conn));
        let Some((conn, id, then)) = store.and_then(|store| store.answered(id)) else {
            return;
        };
        let outcome = outcome.map(|body| understood(then, body));
        reply(net, conn, id, outcome);
    }

    pub(crate) fn call(
        &mut self,
        net: &mut Net,
        (conn, id): (ConnId, u64),
        (kind, body): (u16, Bytes),
        deadline: Instant,
    ) {
        let asked = match kind {
            method::CLIENT_REQUEST => {
                let request = ClientRequest::decode(body).unwrap();
                question(&request, net.unix_ms())
            }
            method::AUTHENTICATE => {
                let token = Authenticate::decode(body).unwrap().token;
                let ensure = EnsureAccount {
                    proposed_account_id: token.parse().unwrap(),
                    ..EnsureAccount::default()
                };
                Ok((method::ENSURE_ACCOUNT, encode(&ensure), Then::Account))
            }
            method::MEMBERSHIPS => Ok((method::STORE_MEMBERSHIPS, body, Then::AsItIs)),
            method::CHECK_MEMBERS => {
                let check = CheckMembers::decode(body).unwrap();
                let members = Members {
                    conversation_id: check.conversation_id,
                    ..Members::default()
                };
                let then = Then::Checked(check.account_ids);
                Ok((method::MEMBERS, encode(&members), then))
            }
            other => panic!("method {other} to logic"),
        };
        let (method, body, then) = match asked {
            Ok(asked) => asked,
            Err(refusal) => return reply(net, conn, id, Err(refusal)),
        };
        let left = deadline.saturating_duration_since(net.now);
        let left = left.max(Duration::from_millis(1));
        // The owner alone numbers messages.
        let store = if method == method::APPEND {
            let key = Append::decode(body.clone()).unwrap().conversation_id;
            net.live.store(Host::Logic, &key)
        } else {
            Some(self.any(net))
        };
        let Some(store) = store else {
            let refusal = Refusal::unavailable("no store is known");
            return reply(net, conn, id, Err(refusal));
        };
        let asked = self.stores[store].call(net, method, body, left, (conn, id, then));
        if let Err(((conn, id, _), refusal)) = asked {
            reply(net, conn, id, Err(refusal));
        }
    }
}

/// What a client's request becomes for the store.
fn question(request: &ClientRequest, now_ms: u64) -> Result<(u16, Bytes, Then), Refusal> {
    let account = AccountId(request.account_id);
    let body = request.body.clone();
    match u16::try_from(request.kind).unwrap() {
        client::SEND => {
            let message = Outgoing::parse(Send::decode(body).unwrap())?;
            let append = append(account, &message, now_ms)?;
            Ok((method::APPEND, encode(&append), Then::Acked))
        }
        client::PULL => {
            let read = Read {
                account_id: account.0,
                pull: Some(Pull::decode(body).unwrap()),
            };
            Ok((method::READ, encode(&read), Then::Pulled))
        }
        client::LIST_CONVERSATIONS => {
            let list = ListConversations::decode(body).unwrap();
            let question = Memberships {
                account_id: account.0,
                after_conversation_id: list.after_conversation_id,
                limit: list.limit,
                history_generation: list.history_generation,
            };
            Ok((method::STORE_MEMBERSHIPS, encode(&question), Then::Listed))
        }
        client::CHANGE_MEMBERS => {
            let change = ChangeMembers::decode(body).unwrap();
            let append = changes(account, &change)?;
            Ok((method::APPEND, encode(&append), Then::Changed))
        }
        other => panic!("kind {other} of a client"),
    }
}

fn append(sender: AccountId, message: &Outgoing, now_ms: u64) -> Result<Append, Refusal> {
    let is_pair = matches!(message.conversation.kind(), ConversationKind::Pair(..));
    let standing = Standing {
        kind: Some(kind_of(sender)),
        membership: if is_pair {
            Membership::Member(Role::Member)
        } else {
            Membership::Unknown
        },
    };
    match decide(message, sender, standing, now_ms) {
        Verdict::Allow => {}
        Verdict::Refuse(refusal) => return Err(refusal),
        Verdict::NeedStanding => panic!("all is known of what is stored"),
    }
    let Keeping::Stored(id) = &message.keeping else {
        panic!("only what is stored is sent here");
    };
    Ok(Append {
        conversation_id: message.conversation.to_bytes(),
        sender: sender.0,
        client_message_id: id.to_bytes(),
        kind: message.kind.into(),
        content: message.content.clone(),
        priority: message.priority.into(),
        deliver_before_ms: message.deliver_before_ms,
        ..Append::default()
    })
}

/// Those who go first, and the caller last of all.
fn changes(caller: AccountId, request: &ChangeMembers) -> Result<Append, Refusal> {
    let leaves_alone = request.add.is_empty() && request.remove == [caller.0];
    if kind_of(caller) != AccountKind::Operator && !leaves_alone {
        return Err(Refusal::new(ErrorCode::Forbidden, "a robot may leave"));
    }
    let change = |account_id: u64, joined: bool| MemberChange {
        account_id,
        joined,
        ..MemberChange::default()
    };
    let (last, others): (Vec<u64>, Vec<u64>) =
        request.remove.iter().partition(|id| **id == caller.0);
    let mut changes: Vec<_> = others.into_iter().map(|id| change(id, false)).collect();
    changes.extend(request.add.iter().map(|id| change(*id, true)));
    changes.extend(last.into_iter().map(|id| change(id, false)));
    let said = MembershipChange {
        changes: changes.clone(),
        roles: Vec::new(),
    };
    Ok(Append {
        conversation_id: request.conversation_id.clone(),
        sender: caller.0,
        client_message_id: request.client_message_id.clone(),
        kind: EntryKind::Membership.into(),
        content: content::encode(Content::Membership(said)),
        priority: Priority::Chat.into(),
        deliver_before_ms: 0,
        changes,
        ..Append::default()
    })
}

fn understood(then: Then, body: Bytes) -> Bytes {
    match then {
        Then::AsItIs => body,
        Then::Account => encode(&Authenticated {
            account: Some(Account::decode(body).unwrap()),
            ..Authenticated::default()
        }),
        Then::Checked(asked) => {
            let page = MembersPage::decode(body).unwrap();
            let members = page.members.iter().map(|member| member.account_id);
            encode(&CheckedMembers {
                members: members.filter(|id| asked.contains(id)).collect(),
                membership_sequence: page.membership_sequence,
                head: page.head,
            })
        }
        Then::Acked => {
            let appended = Appended::decode(body).unwrap();
            client_reply(&SendAck {
                sequence: appended.sequence,
                committed_at_ms: appended.committed_at_ms,
                duplicate: appended.duplicate,
            })
        }
        Then::Changed => {
            let sequence = Appended::decode(body).unwrap().sequence;
            client_reply(&MembersChanged { sequence })
        }
        Then::Pulled => encode(&ClientReply { body }),
        Then::Listed => {
            let page = MembershipsPage::decode(body).unwrap();
            client_reply(&ConversationPage {
                memberships: page.memberships,
                more: page.more,
            })
        }
    }
}

/// The first two accounts are people.
pub(crate) const fn kind_of(account: AccountId) -> AccountKind {
    if account.0 <= 2 {
        AccountKind::Operator
    } else {
        AccountKind::Robot
    }
}

fn client_reply(message: &impl Message) -> Bytes {
    let body = encode(message);
    encode(&ClientReply { body })
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn reply(net: &mut Net, conn: ConnId, id: u64, outcome: Result<Bytes, Refusal>) {
    net.send(conn, Host::Logic, Packet::Answer { id, outcome });
}
