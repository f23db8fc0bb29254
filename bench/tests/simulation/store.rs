//! The store as a host: batches that form while the previous commit runs, the commit stream with
//! its bounded queue, marks written behind. What `writer.rs`, `stream.rs` and `marks.rs` of
//! `im-store` do in tasks is done here in steps; a batch is decided by the real `shard::plan`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use im_store::shard::{self, Append, MemberChange, Verdict};
use prost::Message as _;
use protocol::kind::method;
use protocol::wire::Head;
use protocol::wire::internal::{
    self, AccountMarks, Appended, Commit, Commits, Heads, Members, MembersPage, Memberships, Read,
};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, SequenceNumber};

use crate::link::Link;
use crate::log::{Log, digest};
use crate::net::{ConnId, Host, Net, Packet, Timer};

/// Batches that wait for the link. When full: only their heads are told.
const STREAM_QUEUE_MAX: usize = 2;

/// Appends in one batch.
const BATCH_MAX: usize = 8;

/// Memberships in one page, so that lists have several.
const PAGE_MAX: usize = 3;

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) log: Log,
    /// To be counted: batches that did not fit into the stream.
    pub(crate) overflowed: u64,
    run: Run,
}

/// What a crash forgets.
struct Run {
    queue: VecDeque<(ConnId, u64, Append)>,
    committing: Vec<(ConnId, u64, Append)>,
    reads: BTreeMap<u64, (ConnId, u64, Result<Bytes, Refusal>)>,
    last_read: u64,
    marks: BTreeMap<(ConversationId, AccountId), (u64, u64)>,
    router: Link<()>,
    stream: VecDeque<Vec<Commit>>,
    /// What did not fit into the stream.
    missed: BTreeMap<ConversationId, u64>,
    missed_all: bool,
    /// The link came up, and the heads are not told yet.
    is_new_link: bool,
    is_reading_heads: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            committing: Vec::new(),
            reads: BTreeMap::new(),
            last_read: 0,
            marks: BTreeMap::new(),
            router: Link::new(Host::Store, Host::Router),
            stream: VecDeque::new(),
            missed: BTreeMap::new(),
            missed_all: false,
            is_new_link: false,
            is_reading_heads: false,
        }
    }
}

impl Store {
    pub(crate) fn start(&self, net: &mut Net) {
        self.run.router.dial(net);
    }

    /// What was being committed may be stored, and nobody is told.
    pub(crate) fn crash(&mut self, net: &mut Net) {
        if net.chance(500) {
            let batch = std::mem::take(&mut self.run.committing);
            self.store(net, batch);
        }
        self.run = Run::default();
    }

    pub(crate) fn opened(&mut self, net: &mut Net, conn: ConnId) {
        if net.peer(conn, Host::Store) == Some(Host::Router) {
            self.run.router.conn = Some(conn);
            self.run.is_new_link = true;
            self.pump(net);
        }
    }

    pub(crate) fn closed(&mut self, net: &mut Net, conn: ConnId) {
        if self.run.router.conn == Some(conn) {
            self.run.router.lost(net);
        }
    }

    pub(crate) fn timer(&mut self, net: &mut Net, timer: Timer) {
        match timer {
            Timer::Dial(_) => self.run.router.dial(net),
            Timer::Commit => self.commit(net),
            Timer::Marks => {
                for ((at, account), marks) in std::mem::take(&mut self.run.marks) {
                    self.log.raise_mark(at, account, marks);
                }
            }
            Timer::Read(read) => {
                if let Some((conn, id, outcome)) = self.run.reads.remove(&read) {
                    net.send(conn, Host::Store, Packet::Answer { id, outcome });
                }
            }
            Timer::Heads => {
                self.run.is_reading_heads = false;
                let heads = self.log.heads();
                let restarted = true;
                let heads = Heads { heads, restarted };
                self.run.router.notify(net, method::HEADS, &heads);
                self.pump(net);
            }
            other => panic!("{other:?} at the store"),
        }
    }

    pub(crate) fn notice(&mut self, net: &mut Net, kind: u16, body: Bytes) {
        assert_eq!(kind, method::WRITE_MARKS);
        if self.run.marks.is_empty() {
            let wait = net.micros(150_000, 250_000);
            net.timer(Host::Store, wait, Timer::Marks);
        }
        for of in AccountMarks::decode(body).unwrap().marks {
            let mark = of.mark.unwrap();
            let at = ConversationId::from_slice(&mark.conversation_id).unwrap();
            let marks = self.run.marks.entry((at, AccountId(of.account_id)));
            let marks = marks.or_default();
            *marks = (marks.0.max(mark.delivered), marks.1.max(mark.read));
        }
    }

    pub(crate) fn call(&mut self, net: &mut Net, conn: ConnId, id: u64, kind: u16, body: Bytes) {
        let outcome = match kind {
            method::APPEND => {
                let append = append(internal::Append::decode(body).unwrap());
                self.run.queue.push_back((conn, id, append));
                return self.next_batch(net);
            }
            method::READ => {
                let read = Read::decode(body).unwrap();
                let account = AccountId(read.account_id);
                let pull = read.pull.unwrap();
                let page = self.log.pull(account, pull, net.unix_ms());
                page.map(|page| page.encode_to_vec().into())
            }
            method::STORE_MEMBERSHIPS => {
                let asked = Memberships::decode(body).unwrap();
                let (account, after) = (AccountId(asked.account_id), asked.after_conversation_id);
                let page = self.log.memberships(account, &after, PAGE_MAX);
                Ok(page.encode_to_vec().into())
            }
            method::MEMBERS => self.members(&Members::decode(body).unwrap()),
            method::ENSURE_ACCOUNT => {
                let asked = internal::EnsureAccount::decode(body).unwrap();
                let account = AccountId(asked.proposed_account_id);
                Ok(self.log.account(account).encode_to_vec().into())
            }
            other => panic!("method {other} to the store"),
        };
        let wait = match net.pick(20) {
            0 => net.micros(100_000, 600_000),
            1..5 => net.micros(2_000, 30_000),
            _ => net.micros(50, 2_000),
        };
        self.run.last_read += 1;
        let read = self.run.last_read;
        self.run.reads.insert(read, (conn, id, outcome));
        net.timer(Host::Store, wait, Timer::Read(read));
    }

    fn members(&self, asked: &Members) -> Result<Bytes, Refusal> {
        let id = ConversationId::from_slice(&asked.conversation_id)?;
        let conversation = self.log.conversations.get(&id);
        let conversation = conversation
            .ok_or_else(|| Refusal::new(ErrorCode::NoSuchConversation, "no such conversation"))?;
        let state = &conversation.state;
        let members = state.members.iter().map(|member| self.log.account(*member));
        let page = MembersPage {
            members: members.collect(),
            membership_sequence: state.membership.0,
            head: state.head.0,
            more: false,
        };
        Ok(page.encode_to_vec().into())
    }

    fn next_batch(&mut self, net: &mut Net) {
        if self.run.committing.is_empty() && !self.run.queue.is_empty() {
            let most = self.run.queue.len().min(BATCH_MAX);
            self.run.committing = self.run.queue.drain(..most).collect();
            let wait = if net.chance(20) {
                net.micros(100_000, 1_500_000)
            } else {
                net.micros(200, 12_000)
            };
            net.timer(Host::Store, wait, Timer::Commit);
        }
    }

    fn commit(&mut self, net: &mut Net) {
        let batch = std::mem::take(&mut self.run.committing);
        if net.chance(10) {
            // The database failed, before the commit or after it.
            let code = if net.chance(500) {
                self.store(net, batch.clone());
                ErrorCode::OutcomeUnknown
            } else {
                ErrorCode::Unavailable
            };
            for (conn, id, _) in batch {
                let outcome = Err(Refusal::new(code, "the database failed"));
                net.send(conn, Host::Store, Packet::Answer { id, outcome });
            }
        } else {
            let outcomes = self.store(net, batch.clone());
            for ((conn, id, _), outcome) in batch.into_iter().zip(outcomes) {
                net.send(conn, Host::Store, Packet::Answer { id, outcome });
            }
        }
        self.next_batch(net);
    }

    fn store(
        &mut self,
        net: &mut Net,
        batch: Vec<(ConnId, u64, Append)>,
    ) -> Vec<Result<Bytes, Refusal>> {
        let appends: Vec<_> = batch.into_iter().map(|(_, _, append)| append).collect();
        let now_ms = net.unix_ms();
        let plan = shard::plan(&appends, digest, &self.log.known(&appends), now_ms);
        self.log.commit(&appends, &plan, now_ms);
        if !plan.entries.is_empty() {
            if self.run.stream.len() < STREAM_QUEUE_MAX {
                let commits = Log::commits(&appends, &plan, now_ms);
                self.run.stream.push_back(commits);
            } else {
                self.overflowed += 1;
                self.run.missed_all |= plan.entries.iter().any(|e| !e.changes.is_empty());
                let heads = plan.heads.iter().map(|(at, head)| (*at, head.to.head.0));
                self.run.missed.extend(heads);
            }
            self.pump(net);
        }
        let outcome = |verdict: &Verdict| answer(verdict, now_ms);
        plan.verdicts.iter().map(outcome).collect()
    }

    /// The stream's task: a new link is told all heads first.
    pub(crate) fn pump(&mut self, net: &mut Net) {
        while !self.run.is_reading_heads {
            if std::mem::take(&mut self.run.is_new_link) {
                self.read_heads(net);
                return;
            }
            if let Some(conn) = self.run.router.conn
                && !net.has_room(conn, Host::Store)
            {
                return;
            }
            let Some(commits) = self.run.stream.pop_front() else {
                return;
            };
            // Without a link they are lost; the next link is told the heads.
            let commits = Commits { commits };
            self.run.router.notify(net, method::COMMITS, &commits);
            self.tell_missed(net);
        }
    }

    fn tell_missed(&mut self, net: &mut Net) {
        if self.run.missed_all {
            return self.read_heads(net);
        }
        let missed = std::mem::take(&mut self.run.missed);
        if !missed.is_empty() {
            let heads = missed.into_iter().map(|(at, head)| Head {
                conversation_id: at.to_bytes(),
                head,
            });
            let heads = Heads {
                heads: heads.collect(),
                restarted: false,
            };
            self.run.router.notify(net, method::HEADS, &heads);
        }
    }

    fn read_heads(&mut self, net: &mut Net) {
        self.run.missed.clear();
        self.run.missed_all = false;
        self.run.is_reading_heads = true;
        let wait = net.micros(100, 40_000);
        net.timer(Host::Store, wait, Timer::Heads);
    }
}

fn answer(verdict: &Verdict, now_ms: u64) -> Result<Bytes, Refusal> {
    let (sequence, committed_at_ms, duplicate) = match verdict {
        Verdict::Store(sequence) => (*sequence, now_ms, false),
        Verdict::Duplicate {
            sequence,
            committed_at_ms,
        } => (*sequence, *committed_at_ms, true),
        Verdict::NothingToDo => (SequenceNumber::ZERO, now_ms, false),
        Verdict::Refuse(refusal) => return Err(refusal.clone()),
    };
    let appended = Appended {
        sequence: sequence.0,
        committed_at_ms,
        duplicate,
    };
    Ok(appended.encode_to_vec().into())
}

pub(crate) fn append(append: internal::Append) -> Append {
    let change = |change: &protocol::wire::MemberChange| MemberChange {
        account: AccountId(change.account_id),
        joins: change.joined,
    };
    Append {
        conversation: ConversationId::from_slice(&append.conversation_id).unwrap(),
        sender: AccountId(append.sender),
        message_id: ClientMessageId::from_slice(&append.client_message_id).unwrap(),
        kind: append.kind(),
        priority: append.priority(),
        deliver_before_ms: append.deliver_before_ms,
        changes: append.changes.iter().map(change).collect(),
        target: None,
        content: append.content,
    }
}
