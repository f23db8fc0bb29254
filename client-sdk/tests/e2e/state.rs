//! What the gateways of a fleet know and have seen, and what they answer to each request.

use std::collections::{BTreeMap, HashMap, VecDeque};

use client_sdk::content::{self, Content};
use client_sdk::protocol::Frame;
use client_sdk::protocol::kind::client as kind;
use client_sdk::protocol::wire;
use client_sdk::{
    AccountId, AccountKind, ClientMessageId, ConversationId, EntryKind, Refusal, clock,
};
use prost::Message as _;
use tokio::sync::mpsc;

use super::gateway::Order;

/// Who the client under test is, whatever its credential.
pub(crate) const ME: AccountId = AccountId(7);

/// Somebody else.
pub(crate) const PLANNER: AccountId = AccountId(9);

/// What becomes of one send.
#[derive(Debug)]
pub(crate) enum Fault {
    Refuse(Refusal),
    /// The connection ends before the answer.
    HangUp {
        stored: bool,
    },
    /// No answer comes.
    Silence,
}

/// What the gateways know, and what they have seen.
pub(crate) struct State {
    pub(crate) logs: HashMap<ConversationId, Vec<wire::Entry>>,
    pub(crate) groups: BTreeMap<ConversationId, String>,
    /// The *delivered* marks of the account, as the store has them.
    pub(crate) marks: HashMap<ConversationId, u64>,
    pub(crate) trimmed_up_to: u64,
    pub(crate) announced: Option<wire::CapabilityCard>,
    /// The address and the words of each hello.
    pub(crate) hellos: Vec<(String, wire::Hello)>,
    /// The connection and the id of each send that came.
    pub(crate) sends: Vec<(usize, ClientMessageId)>,
    pub(crate) ephemerals: Vec<wire::Send>,
    pub(crate) pulls: usize,
    pub(crate) pings: usize,
    pub(crate) pongs: usize,
    /// For the sends to come, in order.
    pub(crate) faults: VecDeque<Fault>,
    /// For the pulls to come.
    pub(crate) pull_refusals: VecDeque<Refusal>,
    pub(crate) heartbeat_interval_ms: u32,
    /// How far the gateways' clock is ahead of ours.
    pub(crate) clock_ahead_ms: i64,
    pub(crate) answers_pings: bool,
    /// Heartbeats say how far all conversations are.
    pub(crate) tells_heads: bool,
    /// The live gateways, as every Welcome has them.
    pub(crate) listed: Vec<String>,
    pub(crate) page_entries: usize,
    pub(super) clients: Vec<mpsc::Sender<Order>>,
}

pub(super) struct HungUp;

impl State {
    pub(super) fn new() -> Self {
        Self {
            logs: HashMap::new(),
            groups: BTreeMap::new(),
            marks: HashMap::new(),
            trimmed_up_to: 0,
            announced: None,
            hellos: Vec::new(),
            sends: Vec::new(),
            ephemerals: Vec::new(),
            pulls: 0,
            pings: 0,
            pongs: 0,
            faults: VecDeque::new(),
            pull_refusals: VecDeque::new(),
            heartbeat_interval_ms: 10_000,
            clock_ahead_ms: 0,
            answers_pings: true,
            tells_heads: false,
            listed: Vec::new(),
            page_entries: 7,
            clients: Vec::new(),
        }
    }

    /// Stores a message; nobody is told.
    pub(crate) fn store(
        &mut self,
        conversation: ConversationId,
        sender: AccountId,
        id: ClientMessageId,
        content: Content,
    ) -> u64 {
        let kind = content::kind_of(&content);
        self.append(conversation, sender, id, kind, content::encode(content))
    }

    /// Stores so many texts in a group; nobody is told.
    pub(crate) fn store_texts(&mut self, conversation: ConversationId, count: usize) {
        for _ in 0..count {
            let id = client_sdk::new_message_id();
            self.store(conversation, PLANNER, id, content::text("text"));
        }
    }

    fn append(
        &mut self,
        conversation: ConversationId,
        sender: AccountId,
        id: ClientMessageId,
        kind: EntryKind,
        content: bytes::Bytes,
    ) -> u64 {
        let log = self.logs.entry(conversation).or_default();
        let sequence = log.len() as u64 + 1;
        log.push(wire::Entry {
            conversation_id: conversation.to_bytes(),
            sequence,
            sender: sender.0,
            client_message_id: id.to_bytes(),
            kind: kind.into(),
            content,
            committed_at_ms: clock::unix_ms(),
            priority: wire::Priority::Chat.into(),
            deliver_before_ms: 0,
        });
        sequence
    }

    /// What the log of a conversation says, in order.
    pub(crate) fn contents(&self, conversation: ConversationId) -> Vec<Content> {
        let log = self.logs.get(&conversation);
        log.into_iter()
            .flatten()
            .map(|entry| content::decode(&entry.content).unwrap())
            .collect()
    }

    pub(super) fn welcome(&self, is_robot: bool, zstd: bool) -> wire::Welcome {
        let kind = if is_robot {
            AccountKind::Robot
        } else {
            AccountKind::Operator
        };
        wire::Welcome {
            version: 1,
            features: if zstd {
                vec![wire::Feature::Zstd.into()]
            } else {
                vec![]
            },
            session_id: self.clients.len() as u64,
            account: Some(wire::Account {
                account_id: ME.0,
                kind: kind.into(),
                name: "lift-1".into(),
                capabilities: None,
            }),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            server_time_ms: clock::unix_ms().saturating_add_signed(self.clock_ahead_ms),
            limits: None,
            memberships: self.memberships(),
            gateways: self.listed.clone(),
            ..wire::Welcome::default()
        }
    }

    fn heads(&self) -> Vec<wire::Head> {
        let head = |(id, log): (&ConversationId, &Vec<wire::Entry>)| wire::Head {
            conversation_id: id.to_bytes(),
            head: log.len() as u64,
        };
        self.logs.iter().map(head).collect()
    }

    fn memberships(&self) -> Vec<wire::Membership> {
        let pairs = self.logs.keys().filter(|id| id.is_pair_of(ME));
        let pairs = pairs.map(|id| (*id, String::new()));
        let groups = self.groups.iter().map(|(id, name)| (*id, name.clone()));
        groups
            .chain(pairs)
            .map(|(id, name)| self.membership(id, name))
            .collect()
    }

    pub(crate) fn membership(&self, id: ConversationId, name: String) -> wire::Membership {
        wire::Membership {
            conversation_id: id.to_bytes(),
            name,
            head: self.logs.get(&id).map_or(0, |log| log.len() as u64),
            joined_sequence: 1,
            readable_from: 1,
            delivered: self.marks.get(&id).copied().unwrap_or(0),
            ..wire::Membership::default()
        }
    }

    pub(super) fn answer(
        &mut self,
        connection: usize,
        frame: Frame,
    ) -> Result<Option<Frame>, HungUp> {
        let (to, body) = (frame.correlation, frame.body);
        Ok(Some(match frame.kind {
            kind::SEND => return self.send(connection, to, wire::Send::decode(body).unwrap()),
            kind::PULL => match self.pull_refusals.pop_front() {
                Some(refusal) => answer(kind::ERROR, to, &refusal.to_wire()),
                None => answer(
                    kind::PULL_PAGE,
                    to,
                    &self.page(wire::Pull::decode(body).unwrap()),
                ),
            },
            kind::PING => {
                self.pings += 1;
                let pong = wire::Pong {
                    answered_at_ms: clock::unix_ms(),
                    heads: if self.tells_heads {
                        self.heads()
                    } else {
                        Vec::new()
                    },
                    ..Default::default()
                };
                return Ok(self.answers_pings.then(|| answer(kind::PONG, to, &pong)));
            }
            kind::PONG => {
                self.pongs += 1;
                return Ok(None);
            }
            kind::MARKS => {
                for mark in wire::Marks::decode(body).unwrap().marks {
                    let id = ConversationId::from_slice(&mark.conversation_id).unwrap();
                    let before = self.marks.insert(id, mark.delivered);
                    assert!(before <= Some(mark.delivered), "marks only rise");
                }
                return Ok(None);
            }
            kind::LIST_CONVERSATIONS => {
                let page = wire::ConversationPage {
                    memberships: self.memberships(),
                    more: false,
                };
                answer(kind::answer(kind::LIST_CONVERSATIONS), to, &page)
            }
            kind::ANNOUNCE => {
                self.announced = wire::Announce::decode(body).unwrap().capabilities;
                answer(kind::answer(kind::ANNOUNCE), to, &wire::Announced {})
            }
            other => panic!("no test asks for kind {other}"),
        }))
    }

    fn send(
        &mut self,
        connection: usize,
        correlation: u32,
        send: wire::Send,
    ) -> Result<Option<Frame>, HungUp> {
        let id = ClientMessageId::from_slice(&send.client_message_id).unwrap();
        if !send.ephemeral_key.is_empty() {
            self.ephemerals.push(send);
            return Ok(Some(answer(
                kind::SEND_ACK,
                correlation,
                &wire::SendAck::default(),
            )));
        }
        self.sends.push((connection, id));
        match self.faults.pop_front() {
            None => Ok(Some(answer(
                kind::SEND_ACK,
                correlation,
                &self.store_once(id, send),
            ))),
            Some(Fault::Refuse(refusal)) => {
                Ok(Some(answer(kind::ERROR, correlation, &refusal.to_wire())))
            }
            Some(Fault::Silence) => Ok(None),
            Some(Fault::HangUp { stored }) => {
                if stored {
                    self.store_once(id, send);
                }
                Err(HungUp)
            }
        }
    }

    fn store_once(&mut self, id: ClientMessageId, send: wire::Send) -> wire::SendAck {
        let conversation = ConversationId::from_slice(&send.conversation_id).unwrap();
        let log = self.logs.entry(conversation).or_default();
        let stored = log.iter().find(|entry| {
            entry.sender == ME.0 && entry.client_message_id.as_ref() == id.as_bytes()
        });
        let duplicate = stored.map(|entry| entry.sequence);
        let sequence = duplicate
            .unwrap_or_else(|| self.append(conversation, ME, id, send.kind(), send.content));
        wire::SendAck {
            sequence,
            committed_at_ms: clock::unix_ms(),
            duplicate: duplicate.is_some(),
        }
    }

    fn page(&mut self, pull: wire::Pull) -> wire::PullPage {
        self.pulls += 1;
        let id = ConversationId::from_slice(&pull.conversation_id).unwrap();
        let log = self.logs.get(&id).map_or(&[][..], |log| &log[..]);
        let after = pull.after_sequence.max(self.trimmed_up_to);
        wire::PullPage {
            conversation_id: pull.conversation_id,
            entries: log
                .iter()
                .filter(|entry| entry.sequence > after)
                .take(self.page_entries)
                .cloned()
                .collect(),
            head: log.len() as u64,
            trimmed_up_to: self.trimmed_up_to,
        }
    }
}

pub(super) fn answer(kind: u16, correlation: u32, body: &impl prost::Message) -> Frame {
    Frame {
        correlation,
        ..Frame::notice(kind, body)
    }
}
