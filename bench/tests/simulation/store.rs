//! A store as a host: batches that form while the previous commit runs, a lane of the commit stream
//! to each router, marks written behind. What `writer.rs`, `stream.rs` and `marks.rs` of `im-store`
//! do in tasks is done here in steps; a batch is decided by the real `shard::plan`. All stores have
//! one log, and plan at the moment at which they commit: of two that hold themselves for the owner
//! the later one plans after the other's commit, as after a lost compare-and-set.

mod lane;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use im_store::shard::{self, Append, MemberChange, Ruled, Verdict};
use prost::Message as _;
use protocol::kind::method;
use protocol::wire::internal::{
    self, AccountMarks, Appended, Commit, Members, MembersPage, Memberships, Read,
};
use protocol::{
    AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Rights, SequenceNumber,
};

use self::lane::Lane;
use crate::Fault;
use crate::live::News;
use crate::log::{Log, digest};
use crate::net::{ConnId, Host, Net, Packet, Timer};

/// Appends in one batch.
const BATCH_MAX: usize = 8;

/// Memberships in one page, so that lists have several.
const PAGE_MAX: usize = 3;

/// How long after others own conversations all heads are told once more: what the store before was
/// committing may end after it has died.
const SETTLE: Duration = Duration::from_secs(4);

/// Of a thousand batches, those that are streamed twice.
const REPEATED: u32 = 30;

pub(crate) struct Store {
    index: usize,
    me: Host,
    routers: usize,
    /// To be counted: batches that did not fit into the stream.
    pub(crate) overflowed: u64,
    run: Run,
}

/// What a crash forgets.
#[derive(Default)]
struct Run {
    queue: VecDeque<(ConnId, u64, Append)>,
    committing: Vec<(ConnId, u64, Append)>,
    reads: BTreeMap<u64, (ConnId, u64, Result<Bytes, Refusal>)>,
    last_read: u64,
    marks: BTreeMap<(ConversationId, AccountId), (u64, u64)>,
    /// By their routers.
    lanes: Vec<Lane>,
}

impl Store {
    pub(crate) fn new(index: usize, routers: usize) -> Self {
        Self {
            index,
            me: Host::Store(index),
            routers,
            overflowed: 0,
            run: Run::default(),
        }
    }

    pub(crate) fn start(&mut self, net: &mut Net) {
        let lane = |router| Lane::new(self.index, router);
        self.run.lanes = (0..self.routers).map(lane).collect();
        self.run.lanes.iter().for_each(|lane| lane.dial(net));
        net.timer(self.me, SETTLE, Timer::Settled);
    }

    /// What was being committed may be stored, and nobody is told.
    pub(crate) fn crash(&mut self, net: &mut Net, log: &mut Log) {
        if net.chance(500) {
            let batch = std::mem::take(&mut self.run.committing);
            self.store(net, log, batch);
        }
        self.run = Run::default();
    }

    /// Conversations may belong to others now: to other stores, or to other routers.
    pub(crate) fn moved(&mut self, net: &mut Net, log: &Log, news: News) {
        if log.fault == Fault::NoTakeover {
            return;
        }
        self.tell_all(net);
        if news.stores {
            net.timer(self.me, SETTLE, Timer::Settled);
        }
    }

    fn tell_all(&mut self, net: &mut Net) {
        let lanes = self.run.lanes.iter_mut();
        lanes.for_each(|lane| lane.tell_all(net));
    }

    pub(crate) fn opened(&mut self, net: &mut Net, conn: ConnId) {
        if let Some(Host::Router(router)) = net.peer(conn, self.me) {
            self.run.lanes[router].opened(net, conn);
        }
    }

    pub(crate) fn closed(&mut self, net: &mut Net, conn: ConnId) {
        let lanes = self.run.lanes.iter_mut();
        lanes.for_each(|lane| lane.closed(net, conn));
    }

    /// There is room on the way to a router.
    pub(crate) fn pump(&mut self, net: &mut Net) {
        self.run.lanes.iter_mut().for_each(|lane| lane.pump(net));
    }

    pub(crate) fn timer(&mut self, net: &mut Net, log: &mut Log, timer: Timer) {
        match timer {
            Timer::Dial(Host::Router(router)) => self.run.lanes[router].dial(net),
            Timer::Commit => self.commit(net, log),
            Timer::Marks => {
                for ((at, account), marks) in std::mem::take(&mut self.run.marks) {
                    log.raise_mark(at, account, marks);
                }
            }
            Timer::Read(read) => {
                if let Some((conn, id, outcome)) = self.run.reads.remove(&read) {
                    net.send(conn, self.me, Packet::Answer { id, outcome });
                }
            }
            Timer::Heads(router) => self.run.lanes[router].tell_heads(net, log),
            Timer::Settled if log.fault == Fault::NoTakeover => {}
            Timer::Settled => self.tell_all(net),
            other => panic!("{other:?} at a store"),
        }
    }

    pub(crate) fn notice(&mut self, net: &mut Net, kind: u16, body: Bytes) {
        assert_eq!(kind, method::WRITE_MARKS);
        if self.run.marks.is_empty() {
            let wait = net.micros(150_000, 250_000);
            net.timer(self.me, wait, Timer::Marks);
        }
        for of in AccountMarks::decode(body).unwrap().marks {
            let mark = of.mark.unwrap();
            let at = ConversationId::from_slice(&mark.conversation_id).unwrap();
            let marks = self.run.marks.entry((at, AccountId(of.account_id)));
            let marks = marks.or_default();
            *marks = (marks.0.max(mark.delivered), marks.1.max(mark.read));
        }
    }

    pub(crate) fn call(
        &mut self,
        net: &mut Net,
        log: &Log,
        (conn, id): (ConnId, u64),
        (kind, body): (u16, Bytes),
    ) {
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
                let page = log.pull(account, pull, net.unix_ms());
                page.map(|page| page.encode_to_vec().into())
            }
            method::STORE_MEMBERSHIPS => {
                let asked = Memberships::decode(body).unwrap();
                let (account, after) = (AccountId(asked.account_id), asked.after_conversation_id);
                let page = log.memberships(account, &after, PAGE_MAX);
                Ok(page.encode_to_vec().into())
            }
            method::MEMBERS => members(log, &Members::decode(body).unwrap()),
            method::ENSURE_ACCOUNT => {
                let asked = internal::EnsureAccount::decode(body).unwrap();
                let account = AccountId(asked.proposed_account_id);
                Ok(log.account(account).encode_to_vec().into())
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
        net.timer(self.me, wait, Timer::Read(read));
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
            net.timer(self.me, wait, Timer::Commit);
        }
    }

    fn commit(&mut self, net: &mut Net, log: &mut Log) {
        let batch = std::mem::take(&mut self.run.committing);
        if net.chance(10) {
            // The database failed, before the commit or after it.
            let code = if net.chance(500) {
                self.store(net, log, batch.clone());
                ErrorCode::OutcomeUnknown
            } else {
                ErrorCode::Unavailable
            };
            for (conn, id, _) in batch {
                let outcome = Err(Refusal::new(code, "the database failed"));
                net.send(conn, self.me, Packet::Answer { id, outcome });
            }
        } else {
            let outcomes = self.store(net, log, batch.clone());
            for ((conn, id, _), outcome) in batch.into_iter().zip(outcomes) {
                net.send(conn, self.me, Packet::Answer { id, outcome });
            }
        }
        self.next_batch(net);
    }

    fn store(
        &mut self,
        net: &mut Net,
        log: &mut Log,
        batch: Vec<(ConnId, u64, Append)>,
    ) -> Vec<Result<Bytes, Refusal>> {
        let appends: Vec<_> = batch.into_iter().map(|(_, _, append)| append).collect();
        let now_ms = net.unix_ms();
        let plan = shard::plan(&appends, digest, &log.known(&appends), now_ms);
        log.commit(&appends, &plan, now_ms);
        self.stream(net, Log::commits(&appends, &plan, now_ms));
        let outcome = |verdict: &Verdict| answer(verdict, now_ms);
        plan.verdicts.iter().map(outcome).collect()
    }

    /// Each router gets what belongs to it; where none lives that is known of, nothing is kept.
    fn stream(&mut self, net: &mut Net, commits: Vec<Commit>) {
        let mut by_router = BTreeMap::<_, Vec<_>>::new();
        for commit in commits {
            let key = &commit.entry.as_ref().unwrap().conversation_id;
            if let Some(router) = net.live.router(self.me, key) {
                by_router.entry(router).or_default().push(commit);
            }
        }
        for (router, commits) in by_router {
            let times = if net.chance(REPEATED) { 2 } else { 1 };
            for _ in 0..times {
                let fits = self.run.lanes[router].offer(net, commits.clone());
                self.overflowed += u64::from(!fits);
            }
        }
    }
}

fn members(log: &Log, asked: &Members) -> Result<Bytes, Refusal> {
    let id = ConversationId::from_slice(&asked.conversation_id)?;
    let conversation = log.conversations.get(&id);
    let conversation = conversation
        .ok_or_else(|| Refusal::new(ErrorCode::NoSuchConversation, "no such conversation"))?;
    let state = &conversation.state;
    let members = state.members.keys().map(|member| log.account(*member));
    let page = MembersPage {
        members: members.collect(),
        roles: state.members.values().map(|role| *role as i32).collect(),
        dissolved: false,
        membership_sequence: state.membership.0,
        head: state.head.0,
        more: false,
    };
    Ok(page.encode_to_vec().into())
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
    let change = |change: &protocol::wire::MemberChange| {
        MemberChange::joins(AccountId(change.account_id), change.joined)
    };
    Append {
        conversation: ConversationId::from_slice(&append.conversation_id).unwrap(),
        sender: AccountId(append.sender),
        message_id: ClientMessageId::from_slice(&append.client_message_id).unwrap(),
        kind: append.kind(),
        priority: append.priority(),
        deliver_before_ms: append.deliver_before_ms,
        rights: Rights::EVERYTHING,
        changes: append.changes.iter().map(change).collect(),
        group: None,
        target: None,
        reply_to: None,
        content: append.content,
        ruled: Ruled::default(),
    }
}
