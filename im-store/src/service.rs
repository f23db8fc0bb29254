//! What the logic tier may ask of the store: methods 101 to 112, and those from 125 on, of
//! `internal.proto`.
//!
//! A shell: it parses, asks the writer or the readers, and encodes. Not here: any decision.

mod accounts;
mod audit;
mod cards;
mod credentials;
mod estops;
mod groups;
mod media;
mod search;

use std::sync::Arc;

use bytes::Bytes;
use protocol::content::{self, Content};
use protocol::id::ConversationKind;
use protocol::kind::method;
use protocol::limits::{LACKING_PER_PAGE_MAX, MEMBERS_PER_PAGE_MAX, MEMBERSHIPS_PER_PAGE_MAX};
use protocol::wire::{
    EntryKind, LackingPage, MarkKind, MembershipChange, Priority, PullPage, Role, internal,
};
use protocol::{
    AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Rights, SequenceNumber,
};
use service_kit::clock;
use service_kit::rpc::{self, Handler, Peer, Request};

use crate::command_service::Commands;
use crate::engine::{Chore, Described, Done, EngineError, Lacking, NewGroup, Readers};
use crate::events;
use crate::generation::{self, Generation};
use crate::marks::MarkSink;
use crate::read::{self, Entitlement, Span, Stay};
use crate::shard::{Append, Ruled};
use crate::writer::Writer;

/// Answers on the links of the logic tier.
#[derive(Debug)]
pub struct Service<R> {
    writer: Writer,
    readers: R,
    marks: MarkSink,
    generation: Generation,
    commands: Commands<R>,
}

impl<R: Readers> Handler for Service<R> {
    fn call(
        self: &Arc<Self>,
        _: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let service = Arc::clone(self);
        async move { service.answer(request).await }
    }

    async fn notice(self: &Arc<Self>, _: &Peer, method: u16, body: Bytes) {
        if method != method::WRITE_MARKS {
            events::notice_unknown(method);
            return;
        }
        match rpc::decode(body).and_then(|body| self.generation.marks(body)) {
            Ok(marks) => self.marks.raise(marks).await,
            Err(refusal) => events::notice_malformed(method, &refusal),
        }
    }
}

impl<R: Readers> Service<R> {
    /// Over these.
    #[must_use]
    pub const fn new(
        writer: Writer,
        readers: R,
        marks: MarkSink,
        generation: Generation,
        commands: Commands<R>,
    ) -> Self {
        Self {
            writer,
            readers,
            marks,
            generation,
            commands,
        }
    }

    async fn answer(&self, request: Request) -> Result<Bytes, Refusal> {
        let body = request.body;
        match request.method {
            method::APPEND => self.append(rpc::decode(body)?).await,
            method::CREATE_CONVERSATION => self.create_conversation(rpc::decode(body)?).await,
            method::READ => self.read(rpc::decode(body)?).await,
            method::ENSURE_ACCOUNT => self.ensure_account(rpc::decode(body)?).await,
            method::SET_CAPABILITIES => self.set_capabilities(rpc::decode(body)?).await,
            method::LOOK_UP_ACCOUNTS => self.look_up_accounts(rpc::decode(body)?).await,
            method::STORE_MEMBERSHIPS => self.memberships(rpc::decode(body)?).await,
            method::MEMBERS => self.members(rpc::decode(body)?).await,
            method::DESCRIBE => self.describe(rpc::decode(body)?).await,
            method::SEARCH => self.search(rpc::decode(body)?).await,
            method::LACKING => self.lacking(rpc::decode(body)?).await,
            method::WRITE_CREDENTIALS => credentials::write(&self.writer, rpc::decode(body)?).await,
            method::READ_CREDENTIALS => credentials::read(&self.readers, rpc::decode(body)?).await,
            method::STORE_REVOCATIONS => {
                credentials::revocations(&self.readers, rpc::decode(body)?).await
            }
            method::ESTOP_WRITE => estops::write(&self.writer, rpc::decode(body)?).await,
            method::ESTOP_LIST => estops::list(&self.readers, &rpc::decode(body)?).await,
            method::ESTOP_ROBOTS => estops::robots(&self.readers, &rpc::decode(body)?).await,
            media @ method::STORE_MEDIA..=method::LIST_MEDIA_RECORDS => {
                media::answer(&self.writer, &self.readers, media, body).await
            }
            method::CARDS_SINCE => cards::since(&self.readers, rpc::decode(body)?).await,
            method::BUSY_AMONG => cards::busy(&self.readers, rpc::decode(body)?).await,
            method::OPEN_COMMAND => self.commands.open(rpc::decode(body)?).await,
            method::STORE_REPORTS => self.commands.report(rpc::decode(body)?).await,
            method::STORE_CANCEL => self.commands.cancel(rpc::decode(body)?).await,
            method::READ_COMMANDS => self.commands.read(rpc::decode(body)?).await,
            method::LIST_COMMANDS => self.commands.list(rpc::decode(body)?).await,
            of @ (method::AUDIT_WRITE | method::AUDIT_LIST) => self.audit(of, body).await,
            method::STORE_TAKE_EPOCH => self.commands.take_epoch(rpc::decode(body)?).await,
            other => Err(Refusal::new(
                ErrorCode::UnknownKind,
                format!("the store has no method {other}"),
            )),
        }
    }

    async fn append(&self, append: internal::Append) -> Result<Bytes, Refusal> {
        let stored = self.writer.append(groups::parse(append)?).await?;
        Ok(rpc::encode(&internal::Appended {
            sequence: stored.sequence.0,
            committed_at_ms: stored.committed_at_ms,
            duplicate: stored.duplicate,
        }))
    }

    /// Two steps, each of which a repeat finds done: the row, and the entry that opens the log.
    async fn create_conversation(
        &self,
        request: internal::CreateConversation,
    ) -> Result<Bytes, Refusal> {
        let creator = AccountId(request.creator);
        let message_id = ClientMessageId::from_slice(&request.client_message_id)?;
        let proposed = ConversationId::from_slice(&request.conversation_id)?;
        if !matches!(proposed.kind(), ConversationKind::Group(_)) {
            return Err(Refusal::bad_request("conversation_id: not a group"));
        }
        let row = Chore::CreateGroup(NewGroup {
            creator,
            message_id,
            proposed,
            name: request.name,
            history_open: request.history_open,
            owned_max: request.owned_max,
        });
        let Done::Group(conversation) = self.writer.chore(row).await? else {
            return Err(Refusal::internal("a group was made, and no group came"));
        };
        let opened = self
            .writer
            .append(Append {
                conversation,
                sender: creator,
                message_id,
                kind: EntryKind::Membership,
                priority: Priority::Chat,
                deliver_before_ms: 0,
                rights: Rights::default(),
                changes: request.members.iter().map(groups::change).collect(),
                group: None,
                target: None,
                ruled: Ruled::default(),
                reply_to: None,
                content: content::encode(Content::Membership(MembershipChange {
                    changes: request.members,
                    roles: Vec::new(),
                })),
            })
            .await?;
        Ok(rpc::encode(&internal::ConversationCreated {
            conversation_id: conversation.to_bytes(),
            head: opened.sequence.0,
        }))
    }

    async fn read(&self, request: internal::Read) -> Result<Bytes, Refusal> {
        let pull = request.pull.unwrap_or_default();
        self.generation.check(pull.history_generation)?;
        let conversation = ConversationId::from_slice(&pull.conversation_id)?;
        let account = AccountId(request.account_id);
        let history = self
            .readers
            .history(conversation, account, Span::of(&pull))
            .await
            .map_err(failed)?;
        let mut page = PullPage {
            conversation_id: pull.conversation_id,
            ..PullPage::default()
        };
        match history {
            Some(history) => {
                let entitlement = Entitlement::new(history.stays, history.history_open)?;
                page.entries = read::page(history.entries, &entitlement, clock::unix_ms());
                page.head = history.head.0;
                page.trimmed_up_to = history.trimmed.0;
            }
            None => unwritten(conversation, account)?,
        }
        Ok(rpc::encode(&page))
    }

    async fn memberships(&self, request: internal::Memberships) -> Result<Bytes, Refusal> {
        let limit = bounded(request.limit, MEMBERSHIPS_PER_PAGE_MAX);
        let mut memberships = self
            .readers
            .memberships(
                AccountId(request.account_id),
                &request.after_conversation_id,
                limit + 1,
            )
            .await
            .map_err(failed)?;
        let more = memberships.len() > limit as usize;
        memberships.truncate(limit as usize);
        let theirs = request.history_generation;
        if !self.generation.is(theirs) {
            let ids: Vec<_> = memberships
                .iter()
                .map(|its| its.conversation_id.clone())
                .collect();
            let heads = self.readers.parted(theirs, &ids).await.map_err(failed)?;
            generation::part(&mut memberships, heads);
        }
        Ok(rpc::encode(&internal::MembershipsPage {
            memberships,
            more,
            history_generation: self.generation.0,
        }))
    }

    async fn members(&self, request: internal::Members) -> Result<Bytes, Refusal> {
        let conversation = ConversationId::from_slice(&request.conversation_id)?;
        let limit = bounded(request.limit, MEMBERS_PER_PAGE_MAX);
        let after = AccountId(request.after_account_id);
        let rows = self
            .readers
            .members(conversation, after, limit + 1)
            .await
            .map_err(failed)?;
        let mut page = internal::MembersPage::default();
        match (rows, conversation.kind()) {
            (Some(rows), _) => {
                page.membership_sequence = rows.membership.0;
                page.head = rows.head.0;
                page.dissolved = rows.is_dissolved;
                page.roles = rows.members.iter().map(|(_, role)| *role as i32).collect();
                page.members = rows.members.into_iter().map(|(member, _)| member).collect();
            }
            (None, ConversationKind::Pair(low, high)) => {
                let both = [low.0, high.0];
                let found = self
                    .readers
                    .accounts("", &[], &both)
                    .await
                    .map_err(failed)?;
                page.members = found;
                page.members.retain(|account| account.account_id > after.0);
                page.members.iter_mut().for_each(|m| m.capabilities = None);
                page.roles = vec![Role::Member as i32; page.members.len()];
            }
            (None, ConversationKind::Group(_)) => return Err(no_such(conversation)),
        }
        page.more = page.members.len() > limit as usize;
        page.members.truncate(limit as usize);
        page.roles.truncate(limit as usize);
        Ok(rpc::encode(&page))
    }

    async fn describe(&self, request: internal::Describe) -> Result<Bytes, Refusal> {
        let conversation = ConversationId::from_slice(&request.conversation_id)?;
        let asker = AccountId(request.account_id);
        let described = self.readers.describe(conversation, asker).await;
        let code = match described.map_err(failed)? {
            Described::ToAMember(description) => return Ok(rpc::encode(&*description)),
            Described::Unknown => return Err(no_such(conversation)),
            Described::Dissolved => ErrorCode::GroupDissolved,
            Described::ToAStranger => ErrorCode::NotAMember,
        };
        let why = format!("{asker} is not a member of {conversation}");
        Err(Refusal::new(code, why))
    }

    async fn lacking(&self, request: internal::Lacking) -> Result<Bytes, Refusal> {
        let list = request.list.unwrap_or_default();
        let conversation = ConversationId::from_slice(&list.conversation_id)?;
        let asker = AccountId(request.account_id);
        let limit = bounded(list.limit, LACKING_PER_PAGE_MAX);
        let question = Lacking {
            sequence: SequenceNumber(list.sequence),
            read: list.mark() == MarkKind::Read,
            after: AccountId(list.after_account_id),
            limit: limit + 1,
        };
        let rows = self.readers.lacking(conversation, asker, question).await;
        let Some(mut rows) = rows.map_err(failed)? else {
            unwritten(conversation, asker)?;
            return Err(no_such_entry(question.sequence));
        };
        if !rows.asker_is_member {
            let why = format!("{asker} is not a member of {conversation}");
            return Err(Refusal::new(ErrorCode::NotAMember, why));
        }
        if question.sequence == SequenceNumber::ZERO || question.sequence > rows.head {
            return Err(no_such_entry(question.sequence));
        }
        let more = rows.members.len() > limit as usize;
        rows.members.truncate(limit as usize);
        let (entitled, delivered, read) = rows.counts;
        Ok(rpc::encode(&LackingPage {
            members: rows.members,
            more,
            entitled,
            delivered,
            read,
        }))
    }
}

fn no_such_entry(sequence: SequenceNumber) -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchEntry,
        format!("sequence: there is no entry {sequence}"),
    )
}

/// A conversation without a row is an unwritten pair, or none.
fn unwritten(conversation: ConversationId, account: AccountId) -> Result<(), Refusal> {
    match conversation.kind() {
        ConversationKind::Pair(low, high) => {
            let stay = Stay {
                joined: SequenceNumber::ZERO,
                left: None,
            };
            let is_in = low == account || high == account;
            Entitlement::new(is_in.then_some(stay).into_iter().collect(), false).map(|_| ())
        }
        ConversationKind::Group(_) => Err(no_such(conversation)),
    }
}

fn no_such(conversation: ConversationId) -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchConversation,
        format!("there is no conversation {conversation}"),
    )
}

fn bounded(asked: u32, most: u32) -> u32 {
    if asked == 0 { most } else { asked.min(most) }
}

fn failed(error: EngineError) -> Refusal {
    events::read_failed(&error);
    Refusal::unavailable("the database failed")
}
