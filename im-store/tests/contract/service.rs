//! The store's service over real links: accounts, groups, history, and the commit stream to a
//! router that comes and goes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_store::retention::Retention;
use im_store::stream::Ownership;
use im_store::tier::{self, Wiring};
use prost::Message;
use protocol::content;
use protocol::kind::method;
use protocol::wire::internal::{
    AccountList, Append, Appended, Commits, ConversationCreated, CreateConversation, EnsureAccount,
    Heads, LookUpAccounts, Members, MembersPage, Memberships, MembershipsPage, Read,
};
use protocol::wire::{Account, AccountKind, EntryKind, MemberChange, Pull, PullPage};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Roles};
use service_kit::config::InternalTlsConfig;
use service_kit::drain::Drain;
use service_kit::peers::{self, PeersConfig};
use service_kit::rpc::{self, Handler, Link, LinkConfig, Peer, Request};
use service_kit::testing::Authority;
use service_kit::{clock, listen, tls};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::backend::Backend;

/// What the router was told, in order.
#[derive(Debug)]
enum Told {
    Heads(Heads),
    Commits(Commits),
}

struct FakeRouter(mpsc::Sender<Told>);

impl Handler for FakeRouter {
    fn call(
        self: &Arc<Self>,
        _: &Peer,
        _: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        std::future::ready(Err(Refusal::internal("the store asks the router nothing")))
    }

    async fn notice(self: &Arc<Self>, _: &Peer, kind: u16, body: Bytes) {
        let told = match kind {
            method::HEADS => Told::Heads(rpc::decode(body).unwrap()),
            method::COMMITS => Told::Commits(rpc::decode(body).unwrap()),
            other => panic!("method {other}"),
        };
        self.0.send(told).await.unwrap();
    }
}

/// A runtime that may be dropped within another: at once, as a kill would.
struct Process(Option<Runtime>);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

/// A router on a runtime of its own, so that shutting that down is like killing the process.
fn start_router(
    tls: &InternalTlsConfig,
    address: SocketAddr,
) -> (Process, SocketAddr, mpsc::Receiver<Told>) {
    let runtime = Runtime::new().unwrap();
    let (told, heard) = mpsc::channel(1000);
    let tls = tls::internal_server(tls).unwrap();
    let listener = std::net::TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let router = Arc::new(FakeRouter(told));
        rpc::serve(listener, tls, &["im-store"], router, Drain::new()).await;
    });
    (Process(Some(runtime)), address, heard)
}

pub(crate) struct Store {
    pub(crate) link: Link,
    drain: Drain,
}

impl Store {
    pub(crate) async fn start(
        backend: &impl Backend,
        authority: &Authority,
        folder: &Path,
        router: SocketAddr,
    ) -> Self {
        let drain = Drain::new();
        let own = authority.files(folder, "im-store");
        let listener = listen::bind("t", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let wiring = Wiring {
            routers: PeersConfig {
                name: "im-router",
                tls: tls::internal_client(&own).unwrap(),
                live: peers::fixed(router.to_string()),
            },
            ownership: Ownership::sole(),
            listener,
            server_tls: tls::internal_server(&own).unwrap(),
            retention: Retention::default(),
            sweep_interval: Duration::from_secs(60),
            index_interval: Some(Duration::from_millis(10)),
        };
        let database = backend.database();
        drop(tier::start(&database, wiring, &drain).await.unwrap());

        let logic = tls::internal_client(&authority.files(folder, "im-logic")).unwrap();
        let to_store = LinkConfig {
            name: "im-store",
            address,
            tls: logic,
        };
        let (link, _) = rpc::connect(to_store, drain.clone());
        link.up().await;
        Self { link, drain }
    }

    pub(crate) async fn ask<A: Message + Default>(
        &self,
        method: u16,
        ask: &impl Message,
    ) -> Result<A, Refusal> {
        let wait = Duration::from_secs(10);
        let body = self.link.call(method, rpc::encode(ask), wait).await?;
        rpc::decode(body)
    }

    pub(crate) async fn account(
        &self,
        name: &str,
        kind: AccountKind,
        proposed: u64,
    ) -> Result<Account, Refusal> {
        let ask = EnsureAccount {
            fleet: "dev".into(),
            kind: kind.into(),
            name: name.into(),
            proposed_account_id: proposed,
            ..EnsureAccount::default()
        };
        self.ask(method::ENSURE_ACCOUNT, &ask).await
    }

    pub(crate) async fn append(
        &self,
        conversation: ConversationId,
        sender: u64,
        said: &str,
    ) -> Result<Appended, Refusal> {
        let ask = Append {
            conversation_id: conversation.to_bytes(),
            sender,
            client_message_id: message_id(said).to_bytes(),
            kind: EntryKind::Text.into(),
            content: content::encode(content::text(said)),
            sender_roles: Roles::ALL.bits(),
            ..Append::default()
        };
        self.ask(method::APPEND, &ask).await
    }

    pub(crate) async fn group(&self, creator: u64, members: &[u64]) -> ConversationId {
        let members = members.iter().map(|id| MemberChange {
            account_id: *id,
            joined: true,
            ..MemberChange::default()
        });
        let ask = CreateConversation {
            conversation_id: ConversationId::group(77).to_bytes(),
            name: "演示".into(),
            creator,
            client_message_id: message_id("make").to_bytes(),
            members: members.collect(),
            ..CreateConversation::default()
        };
        let made: ConversationCreated = self.ask(method::CREATE_CONVERSATION, &ask).await.unwrap();
        ConversationId::from_slice(&made.conversation_id).unwrap()
    }

    async fn read(&self, account: u64, conversation: ConversationId) -> Result<PullPage, Refusal> {
        let ask = Read {
            account_id: account,
            pull: Some(Pull {
                conversation_id: conversation.to_bytes(),
                ..Pull::default()
            }),
        };
        self.ask(method::READ, &ask).await
    }
}

fn message_id(said: &str) -> ClientMessageId {
    ClientMessageId::new(clock::unix_ms(), [7; 10]).derive(&[said.as_bytes()])
}

const NO_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(crate) async fn accounts_are_made_once_and_keep_their_kind(backend: &impl Backend) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let store = Store::start(
        backend,
        &authority,
        folder.path(),
        ([127, 0, 0, 1], 9).into(),
    )
    .await;
    // Without an id to give it is only looked for.
    let nobody = store.account("升降机-1", AccountKind::Robot, 0).await;
    assert_eq!(nobody.unwrap_err().code, ErrorCode::NoSuchAccount);
    let first = store
        .account("升降机-1", AccountKind::Robot, 11)
        .await
        .unwrap();
    let again = store
        .account("升降机-1", AccountKind::Robot, 0)
        .await
        .unwrap();
    let proposed = store.account("升降机-1", AccountKind::Robot, 12).await;
    let proposed = proposed.unwrap().account_id;
    assert_eq!((first.account_id, again.account_id, proposed), (11, 11, 11));
    let other = store.account("升降机-1", AccountKind::Operator, 13).await;
    assert_eq!(other.unwrap_err().code, ErrorCode::Forbidden);
    let ask = LookUpAccounts {
        fleet: "dev".into(),
        names: vec!["升降机-1".into(), "nobody".into()],
        account_ids: vec![99],
    };
    let found: AccountList = store.ask(method::LOOK_UP_ACCOUNTS, &ask).await.unwrap();
    assert_eq!(found.accounts, [first]);
}

/// No collation makes two names one.
pub(crate) async fn names_are_told_apart_byte_by_byte(backend: &impl Backend) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let nobody = ([127, 0, 0, 1], 9).into();
    let store = Store::start(backend, &authority, folder.path(), nobody).await;
    let names = ["bo", "BO", "bo ", "bó", "机器人", "机器人2", "🤖"];
    for (id, name) in (1..).zip(names) {
        let made = store.account(name, AccountKind::Robot, id).await.unwrap();
        assert_eq!((made.account_id, &made.name[..]), (id, name));
    }
    let ask = LookUpAccounts {
        fleet: "dev".into(),
        names: vec!["bo".into(), "🤖".into()],
        account_ids: vec![5],
    };
    let found: AccountList = store.ask(method::LOOK_UP_ACCOUNTS, &ask).await.unwrap();
    let found: Vec<_> = found.accounts.iter().map(|a| &a.name[..]).collect();
    assert_eq!(found, ["bo", "机器人", "🤖"]);
    let none: AccountList = store
        .ask(method::LOOK_UP_ACCOUNTS, &LookUpAccounts::default())
        .await
        .unwrap();
    assert!(none.accounts.is_empty());
}

pub(crate) async fn groups_pairs_and_their_history_are_for_their_members(backend: &impl Backend) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let store = Store::start(
        backend,
        &authority,
        folder.path(),
        ([127, 0, 0, 1], 9).into(),
    )
    .await;
    for (id, name) in [(1, "ana"), (2, "bo"), (3, "cy")] {
        store
            .account(name, AccountKind::Operator, id)
            .await
            .unwrap();
    }
    let group = store.group(1, &[1, 2]).await;
    assert_eq!(store.append(group, 2, "你好").await.unwrap().sequence, 2);
    let refused = store.append(group, 3, "let me in").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAMember);
    let page = store.read(2, group).await.unwrap();
    assert_eq!((page.entries.len(), page.head), (2, 2));
    assert_eq!(page.entries[0].kind(), EntryKind::Membership);
    assert_eq!(
        store.read(3, group).await.unwrap_err().code,
        ErrorCode::NotAMember
    );
    let nowhere = ConversationId::group(5);
    assert_eq!(
        store.read(1, nowhere).await.unwrap_err().code,
        ErrorCode::NoSuchConversation
    );

    let pair = ConversationId::pair(AccountId(1), AccountId(3));
    assert_eq!(store.read(1, pair).await.unwrap().head, 0);
    assert_eq!(
        store.read(2, pair).await.unwrap_err().code,
        ErrorCode::NotAMember
    );
    let members = async |conversation: ConversationId, after_account_id, limit| {
        let ask = Members {
            conversation_id: conversation.to_bytes(),
            after_account_id,
            limit,
        };
        let page: MembersPage = store.ask(method::MEMBERS, &ask).await.unwrap();
        let names: Vec<_> = page.members.into_iter().map(|m| m.name).collect();
        (names.join(" "), page.more, page.membership_sequence)
    };
    assert_eq!(members(group, 0, 1).await, ("ana".into(), true, 1));
    assert_eq!(members(group, 1, 1).await, ("bo".into(), false, 1));
    assert_eq!(members(pair, 0, 9).await, ("ana cy".into(), false, 0));

    store.append(pair, 3, "psst").await.unwrap();
    let ask = Memberships {
        account_id: 1,
        ..Memberships::default()
    };
    let mine: MembershipsPage = store.ask(method::STORE_MEMBERSHIPS, &ask).await.unwrap();
    let mine: Vec<_> = mine
        .memberships
        .iter()
        .map(|m| (&m.name[..], m.head, m.readable_from))
        .collect();
    assert_eq!(mine, [("演示", 2, 1), ("", 1, 1)]);
}

pub(crate) async fn a_router_is_told_all_heads_when_it_comes_and_every_commit_after_that(
    backend: &impl Backend,
) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let router_tls = authority.files(folder.path(), "im-router");
    let (router, address, mut heard) = start_router(&router_tls, NO_PORT);
    let store = Store::start(backend, &authority, folder.path(), address).await;
    let told = heard.recv().await.unwrap();
    assert!(matches!(told, Told::Heads(heads) if heads.restarted && heads.heads.is_empty()));

    let group = store.group(1, &[1, 2]).await;
    for said in ["a", "b"] {
        store.append(group, 1, said).await.unwrap();
    }
    let mut streamed = Vec::new();
    while streamed.len() < 3 {
        let Told::Commits(commits) = heard.recv().await.unwrap() else {
            panic!("heads, and nothing was lost");
        };
        streamed.extend(commits.commits);
    }
    let numbers: Vec<_> = streamed
        .iter()
        .map(|c| c.entry.as_ref().unwrap().sequence)
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    let opening = &streamed[0];
    assert_eq!(
        (
            opening.previous_membership_sequence,
            opening.membership_sequence
        ),
        (0, 1)
    );
    assert_eq!((opening.changes.len(), &opening.name[..]), (2, "演示"));
    assert_eq!(streamed[2].membership_sequence, 1);

    drop(router);
    // Committed while the router is away: no commit of it is streamed, and its head is told.
    store.append(group, 2, "c").await.unwrap();
    let (_router, _, mut heard) = start_router(&router_tls, address);
    let Told::Heads(heads) = heard.recv().await.unwrap() else {
        panic!("a commit before the heads");
    };
    assert!(heads.restarted);
    let heads: Vec<_> = heads
        .heads
        .iter()
        .map(|h| (&h.conversation_id[..], h.head))
        .collect();
    assert_eq!(heads, [(&group.as_bytes()[..], 4)]);
    drop(store.drain);
}
