//! A store in memory: what the logic may rely on, and no more. It notes what it is asked, and can
//! be made to hold its answers back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use protocol::id::ConversationKind;
use protocol::kind::method;
use protocol::role::or_member;
use protocol::wire::internal::{
    AccountList, AccountMarks, Append, Appended, ConversationCreated, CreateConversation,
    EnsureAccount, LookUpAccounts, Members, MembersPage, Memberships, MembershipsPage, Read,
    SetCapabilities,
};
use protocol::wire::{Account, AccountKind, EntryKind, MemberChange, Membership, PullPage, Role};
use protocol::{AccountId, ConversationId, ErrorCode, Refusal, Rights};
use service_kit::clock;
use service_kit::rpc::{self, Handler, Peer, Request};
use tokio::sync::{Semaphore, watch};

#[derive(Debug, Default)]
pub(crate) struct FakeStore {
    state: Mutex<State>,
    held: Mutex<HashMap<u16, Arc<Semaphore>>>,
    /// The methods of all questions, in order.
    asked: watch::Sender<Vec<u16>>,
    pub(crate) marks: watch::Sender<AccountMarks>,
}

#[derive(Debug, Default)]
struct State {
    accounts: BTreeMap<u64, Account>,
    groups: BTreeMap<ConversationId, Group>,
    created: HashMap<(u64, Bytes), ConversationId>,
    log: Vec<Append>,
}

#[derive(Debug, Default)]
struct Group {
    name: String,
    members: BTreeSet<u64>,
    membership_sequence: u64,
}

impl Handler for FakeStore {
    fn call(
        self: &Arc<Self>,
        _: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let method = request.method;
        // What was true when it was asked, however long it is held back.
        let answer = self.state.lock().answer(method, request.body);
        let held = self.held.lock().get(&method).cloned();
        self.asked.send_modify(|asked| asked.push(method));
        async move {
            if let Some(held) = held {
                held.acquire().await.unwrap().forget();
            }
            answer
        }
    }

    async fn notice(self: &Arc<Self>, _: &Peer, method: u16, body: Bytes) {
        assert_eq!(method, method::WRITE_MARKS);
        self.marks.send_replace(rpc::decode(body).unwrap());
    }
}

impl FakeStore {
    /// An account that the logic has not heard of.
    pub(crate) fn account(&self, kind: AccountKind, id: u64) {
        let account = Account {
            account_id: id,
            kind: kind.into(),
            name: format!("a{id}"),
            capabilities: None,
        };
        self.state.lock().accounts.insert(id, account);
    }

    /// A group that the logic has not heard of.
    pub(crate) fn group(&self, id: u64, members: &[u64]) -> ConversationId {
        let group = Group {
            name: format!("组{id}"),
            members: members.iter().copied().collect(),
            membership_sequence: 1,
        };
        let id = ConversationId::group(id);
        self.state.lock().groups.insert(id, group);
        id
    }

    pub(crate) fn members(&self, group: ConversationId) -> Vec<u64> {
        let state = self.state.lock();
        state.groups[&group].members.iter().copied().collect()
    }

    pub(crate) fn groups(&self) -> usize {
        self.state.lock().groups.len()
    }

    /// What was stored, in order.
    pub(crate) fn log(&self) -> Vec<Append> {
        self.state.lock().log.clone()
    }

    /// Holds all answers to `method` back until the semaphore has a permit for each.
    pub(crate) fn hold(&self, method: u16) -> Arc<Semaphore> {
        let held = Arc::new(Semaphore::new(0));
        self.held.lock().insert(method, Arc::clone(&held));
        held
    }

    /// Lets go of everything that is held, and of what comes.
    pub(crate) fn release(&self) {
        for held in std::mem::take(&mut *self.held.lock()).values() {
            held.add_permits(Semaphore::MAX_PERMITS);
        }
    }

    /// How often this was asked.
    pub(crate) fn asked(&self, method: u16) -> usize {
        count(&self.asked.borrow(), method)
    }

    /// Ends when this was asked so often.
    pub(crate) async fn is_asked(&self, method: u16, times: usize) {
        let mut asked = self.asked.subscribe();
        let enough = |asked: &Vec<u16>| count(asked, method) >= times;
        asked.wait_for(enough).await.unwrap();
    }
}

fn count(asked: &[u16], method: u16) -> usize {
    asked.iter().filter(|asked| **asked == method).count()
}

impl State {
    fn answer(&mut self, method: u16, body: Bytes) -> Result<Bytes, Refusal> {
        match method {
            method::APPEND => encoded(self.append(rpc::decode(body)?)),
            method::CREATE_CONVERSATION => encoded(self.create(rpc::decode(body)?)),
            method::READ => encoded(self.read(&rpc::decode(body)?)),
            method::ENSURE_ACCOUNT => encoded(self.ensure(rpc::decode(body)?)),
            method::SET_CAPABILITIES => {
                let set: SetCapabilities = rpc::decode(body)?;
                let account = self.accounts.get_mut(&set.account_id).unwrap();
                account.capabilities = set.capabilities;
                Ok(Bytes::new())
            }
            method::LOOK_UP_ACCOUNTS => {
                let asked: LookUpAccounts = rpc::decode(body)?;
                let is_asked = |a: &&Account| {
                    asked.account_ids.contains(&a.account_id) || asked.names.contains(&a.name)
                };
                let accounts = self.accounts.values().filter(is_asked).cloned().collect();
                encoded(Ok(AccountList { accounts }))
            }
            method::STORE_MEMBERSHIPS => encoded(Ok(self.memberships(&rpc::decode(body)?))),
            method::MEMBERS => encoded(self.list(&rpc::decode(body)?)),
            other => panic!("method {other}"),
        }
    }

    fn append(&mut self, append: Append) -> Result<Appended, Refusal> {
        let conversation = ConversationId::from_slice(&append.conversation_id).unwrap();
        let appended = |sequence, duplicate| Appended {
            sequence,
            committed_at_ms: 1,
            duplicate,
        };
        if let Some(first) = self.repeated(conversation, &append)? {
            return Ok(appended(first, true));
        }
        if (1..=clock::unix_ms()).contains(&append.deliver_before_ms) {
            return Err(Refusal::new(ErrorCode::Expired, "late"));
        }
        let head = self.head(conversation);
        if let ConversationKind::Group(_) = conversation.kind() {
            let group = self.groups.get_mut(&conversation).ok_or_else(no_such)?;
            let opens = group.membership_sequence == 0;
            if !opens && !group.members.contains(&append.sender) {
                return Err(not_a_member());
            }
            if !opens {
                may(&append, |id| role(&self.accounts, id))?;
            }
            if append.kind() == EntryKind::Membership {
                if !group.apply(&append) {
                    return Ok(appended(0, false));
                }
                group.membership_sequence = head + 1;
            }
        }
        self.log.push(append);
        Ok(appended(head + 1, false))
    }

    /// The number of the entry that this one repeats.
    fn repeated(
        &self,
        conversation: ConversationId,
        append: &Append,
    ) -> Result<Option<u64>, Refusal> {
        for (sequence, entry) in (1..).zip(self.entries(conversation)) {
            let same_id = entry.client_message_id == append.client_message_id;
            if same_id && entry.sender == append.sender {
                let same = entry.content == append.content;
                let conflict = Refusal::new(ErrorCode::Conflict, "another body");
                return if same {
                    Ok(Some(sequence))
                } else {
                    Err(conflict)
                };
            }
        }
        Ok(None)
    }

    fn create(&mut self, create: CreateConversation) -> Result<ConversationCreated, Refusal> {
        let key = (create.creator, create.client_message_id.clone());
        let proposed = ConversationId::from_slice(&create.conversation_id).unwrap();
        let id = *self.created.entry(key).or_insert(proposed);
        let group = self.groups.entry(id).or_default();
        group.name = create.name;
        let opening = Append {
            conversation_id: id.to_bytes(),
            sender: create.creator,
            client_message_id: create.client_message_id,
            kind: EntryKind::Membership.into(),
            content: create
                .members
                .iter()
                .flat_map(|m| m.account_id.to_be_bytes())
                .collect(),
            changes: create.members,
            ..Append::default()
        };
        let head = self.append(opening)?.sequence;
        Ok(ConversationCreated {
            conversation_id: id.to_bytes(),
            head,
        })
    }

    fn read(&self, read: &Read) -> Result<PullPage, Refusal> {
        let id = read.pull.as_ref().unwrap().conversation_id.clone();
        let conversation = ConversationId::from_slice(&id).unwrap();
        let group = self.groups.get(&conversation).ok_or_else(no_such)?;
        if !group.members.contains(&read.account_id) {
            return Err(not_a_member());
        }
        Ok(PullPage {
            conversation_id: id,
            head: self.head(conversation),
            ..PullPage::default()
        })
    }

    fn ensure(&mut self, ensure: EnsureAccount) -> Result<Account, Refusal> {
        if let Some(known) = self.accounts.values().find(|a| a.name == ensure.name) {
            if known.kind != ensure.kind {
                return Err(Refusal::new(ErrorCode::Forbidden, "another kind"));
            }
            return Ok(known.clone());
        }
        if ensure.proposed_account_id == 0 {
            return Err(Refusal::new(ErrorCode::NoSuchAccount, "nobody"));
        }
        let account = Account {
            account_id: ensure.proposed_account_id,
            kind: ensure.kind,
            name: ensure.name,
            capabilities: None,
        };
        self.accounts.insert(account.account_id, account.clone());
        Ok(account)
    }

    fn memberships(&self, asked: &Memberships) -> MembershipsPage {
        let is_next = |(id, group): &(&ConversationId, &Group)| {
            group.members.contains(&asked.account_id)
                && id.as_bytes()[..] > asked.after_conversation_id[..]
        };
        let limit = asked.limit as usize;
        let rest: Vec<_> = self.groups.iter().filter(is_next).collect();
        let page = rest.iter().take(limit).map(|(id, group)| Membership {
            conversation_id: id.to_bytes(),
            name: group.name.clone(),
            ..Membership::default()
        });
        MembershipsPage {
            memberships: page.collect(),
            more: rest.len() > limit,
            ..MembershipsPage::default()
        }
    }

    fn list(&self, asked: &Members) -> Result<MembersPage, Refusal> {
        let conversation = ConversationId::from_slice(&asked.conversation_id).unwrap();
        let group = self.groups.get(&conversation).ok_or_else(no_such)?;
        let limit = asked.limit as usize;
        let rest = group.members.range(asked.after_account_id + 1..);
        let members = rest.clone().take(limit).map(|id| Account {
            capabilities: None,
            ..self.accounts[id].clone()
        });
        Ok(MembersPage {
            members: members.collect(),
            membership_sequence: group.membership_sequence,
            head: self.head(conversation),
            roles: rest
                .clone()
                .take(limit)
                .map(|id| role(&self.accounts, *id) as i32)
                .collect(),
            dissolved: false,
            more: rest.count() > limit,
        })
    }

    fn entries(&self, conversation: ConversationId) -> impl Iterator<Item = &Append> {
        let of = move |entry: &&Append| entry.conversation_id[..] == conversation.as_bytes()[..];
        self.log.iter().filter(of)
    }

    fn head(&self, conversation: ConversationId) -> u64 {
        self.entries(conversation).count() as u64
    }
}

impl Group {
    /// Whether anything changed.
    fn apply(&mut self, append: &Append) -> bool {
        let mut changed = false;
        for change in &append.changes {
            changed |= if change.joined {
                self.members.insert(change.account_id)
            } else {
                self.members.remove(&change.account_id)
            };
        }
        changed
    }
}

/// People and planners own every group that they are in.
fn role(accounts: &BTreeMap<u64, Account>, id: u64) -> Role {
    match accounts.get(&id).map(Account::kind) {
        Some(AccountKind::Operator | AccountKind::Planner) => Role::Owner,
        Some(AccountKind::Robot | AccountKind::Unspecified) | None => Role::Member,
    }
}

/// What the logic says that the sender may, held against its role.
fn may(append: &Append, role: impl Fn(u64) -> Role) -> Result<(), Refusal> {
    let (over, given) = (&append.over_roles, &append.given_roles);
    let rights = Rights::from_wire(append.sender_roles, over, given);
    let sender = role(append.sender);
    let may = |change: &MemberChange| {
        let its_own = change.account_id == append.sender;
        if change.joined {
            rights.given(sender).has(or_member(change.role()))
        } else {
            its_own || rights.over(sender).has(role(change.account_id))
        }
    };
    if rights.senders.has(sender) && append.changes.iter().all(may) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Forbidden, "not with this role"))
}

fn not_a_member() -> Refusal {
    Refusal::new(ErrorCode::NotAMember, "not a member")
}

fn no_such() -> Refusal {
    Refusal::new(ErrorCode::NoSuchConversation, "no such conversation")
}

fn encoded<M: Message>(answer: Result<M, Refusal>) -> Result<Bytes, Refusal> {
    answer.map(|answer| rpc::encode(&answer))
}

/// Both ends of a pair.
pub(crate) fn pair(a: u64, b: u64) -> ConversationId {
    ConversationId::pair(AccountId(a), AccountId(b))
}
