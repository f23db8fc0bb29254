//! One logic or more between this test, which is their gateway, and a fake store and router, over
//! real links.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use im_logic::config::{AnalysisConfig, Config, DEFAULTS, MediaConfig, RatesConfig, TokensConfig};
use im_logic::credentials::Keys;
use im_logic::credentials::passwords::Passwords;
use im_logic::service::{PEERS, Parts, Service};
use im_logic::store::Store;
use prost::Message;
use protocol::kind::{client, method};
use protocol::wire::internal::{
    Authenticate, Authenticated, ClientReply, ClientRequest, Online, OnlineAccounts, PassEphemeral,
};
use protocol::wire::{AccountKind, EntryKind, Priority, Send, SendAck};
use protocol::{ClientMessageId, ConversationId, Refusal, content};
use service_kit::admin::Readiness;
use service_kit::drain::Drain;
use service_kit::peers::{self, PeerEvent, PeerEvents, Peers, PeersConfig};
use service_kit::rpc::{self, Handler, Link, LinkConfig, Peer, Request};
use service_kit::snowflake::Snowflakes;
use service_kit::testing::Authority;
use service_kit::token::{TokenSigner, TokenVerifier, generate_key_pair};
use service_kit::{clock, listen, tls};
use tokio::sync::{mpsc, watch};

use crate::fake_store::FakeStore;

/// Longer than anything takes; it ends a test that hangs.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// Sub-accounts of an operator.
pub(crate) const SUB_ACCOUNTS_MAX: u32 = 10;

pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(crate) struct World {
    pub(crate) store: Arc<FakeStore>,
    /// Ends the store's process.
    pub(crate) store_drain: Drain,
    pub(crate) store_address: SocketAddr,
    pub(crate) signer: TokenSigner,
    pub(crate) drain: Drain,
    passed_on: mpsc::Receiver<PassEphemeral>,
    router_address: SocketAddr,
    tokens: TokenVerifier,
    authority: Authority,
    folder: tempfile::TempDir,
}

/// A logic, and this test's link to it.
pub(crate) struct Logic {
    pub(crate) gateway: Link,
    /// How often the store has come up.
    pub(crate) store_came_up: watch::Receiver<u32>,
}

struct FakeRouter(mpsc::Sender<PassEphemeral>);

impl Handler for FakeRouter {
    fn call(
        self: &Arc<Self>,
        _: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + std::marker::Send + 'static {
        assert_eq!(request.method, method::ONLINE);
        let online: Online = rpc::decode(request.body).unwrap();
        let limit = usize::try_from(online.limit).unwrap();
        let those = [ANA, LIFT, CART].into_iter();
        let mut those: Vec<_> = those.filter(|id| *id > online.after_account_id).collect();
        those.sort_unstable();
        let more = those.len() > limit;
        those.truncate(limit);
        let answer = OnlineAccounts {
            account_ids: those,
            more,
        };
        std::future::ready(Ok(rpc::encode(&answer)))
    }

    async fn notice(self: &Arc<Self>, _: &Peer, method: u16, body: Bytes) {
        assert_eq!(method, method::PASS_EPHEMERAL);
        self.0.send(rpc::decode(body).unwrap()).await.unwrap();
    }
}

impl World {
    pub(crate) async fn start() -> (Self, Logic) {
        let folder = tempfile::tempdir().unwrap();
        let (private, public) = generate_key_pair();
        std::fs::write(folder.path().join("private"), private).unwrap();
        std::fs::write(folder.path().join("public"), public).unwrap();
        let (passing, passed_on) = mpsc::channel(1000);
        let mut world = Self {
            store: Arc::default(),
            store_drain: Drain::new(),
            store_address: ANY_PORT,
            signer: TokenSigner::from_pem(&folder.path().join("private")).unwrap(),
            drain: Drain::new(),
            passed_on,
            router_address: ANY_PORT,
            tokens: TokenVerifier::from_pem(&folder.path().join("public")).unwrap(),
            authority: Authority::new(),
            folder,
        };
        world.start_store().await;
        let router = Arc::new(FakeRouter(passing));
        let drain = world.drain.clone();
        let serving = world.serve("im-router", &["im-logic"], ANY_PORT, router, drain);
        world.router_address = serving.await;
        let logic = world.logic().await;
        (world, logic)
    }

    /// Puts `self.store` where it was, or anywhere.
    pub(crate) async fn start_store(&mut self) {
        self.store_drain = Drain::new();
        let (store, drain) = (Arc::clone(&self.store), self.store_drain.clone());
        let serving = self.serve("im-store", &["im-logic"], self.store_address, store, drain);
        self.store_address = serving.await;
    }

    async fn serve<H: Handler>(
        &self,
        name: &str,
        peers: &'static [&'static str],
        address: SocketAddr,
        handler: Arc<H>,
        drain: Drain,
    ) -> SocketAddr {
        let listener = listen::bind("test", address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let files = self.authority.files(self.folder.path(), name);
        let tls = tls::internal_server(&files).unwrap();
        tokio::spawn(rpc::serve(listener, tls, peers, handler, drain));
        address
    }

    fn link_config(&self, own: &str, name: &'static str, address: SocketAddr) -> LinkConfig {
        let files = self.authority.files(self.folder.path(), own);
        LinkConfig {
            name,
            address: address.to_string(),
            tls: tls::internal_client(&files).unwrap(),
        }
    }

    /// The fake store, over another link.
    pub(crate) async fn other_store(&self) -> Store {
        let (stores, _) = self.open("im-store", self.store_address, &Readiness::new());
        stores.up().await;
        Store::new(stores)
    }

    fn open(
        &self,
        name: &'static str,
        address: SocketAddr,
        readiness: &Readiness,
    ) -> (Peers, PeerEvents) {
        let LinkConfig { name, address, tls } = self.link_config("im-logic", name, address);
        let live = peers::fixed(address);
        peers::open(
            PeersConfig { name, tls, live },
            readiness.gate(name),
            &self.drain,
        )
    }

    /// Another logic, with its links up.
    pub(crate) async fn logic(&self) -> Logic {
        let (mut logic, mut router_came_up) = self.logic_of(self.store_address).await;
        router_came_up.wait_for(|times| *times > 0).await.unwrap();
        logic.store_comes_up(1).await;
        logic
    }

    /// A logic whose store is there, or is not.
    pub(crate) async fn logic_of(&self, store: SocketAddr) -> (Logic, watch::Receiver<u32>) {
        let readiness = Readiness::new();
        let (stores, store_events) = self.open("im-store", store, &readiness);
        let (routers, router_events) = self.open("im-router", self.router_address, &readiness);
        let defaults: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        let service = Arc::new(Service::new(Parts {
            fleet: "dev".into(),
            tokens: TokensConfig {
                sub_accounts_max: SUB_ACCOUNTS_MAX,
                ..defaults.tokens
            },
            enrolled_only: false,
            keys: Keys {
                issuer: None,
                signer: None,
                verifier: self.tokens.clone(),
                passwords: Passwords::new(&defaults.passwords).unwrap(),
            },
            content: Arc::default(),
            rates: RatesConfig {
                account_sends_per_second: 0,
                group_sends_per_second: 0,
            },
            media: MediaConfig {
                upload_bytes_max: 1 << 30,
                account_bytes_max: 1 << 30,
                fleet_bytes_max: 1 << 30,
                unfinished_max: 64,
            },
            groups_per_account_max: 0,
            analysis: AnalysisConfig {
                accounts: String::new(),
            },
            snowflakes: Arc::new(Snowflakes::new(1)),
            stores,
            routers,
        }));
        let remembering = Arc::clone(&service);
        let store_came_up = self.count_ups(store_events, move || remembering.forget());
        let router_came_up = self.count_ups(router_events, || {});
        let drain = self.drain.clone();
        let serving = self.serve("im-logic", PEERS, ANY_PORT, service, drain);
        let config = self.link_config("im-gateway", "im-logic", serving.await);
        let (gateway, _) = rpc::connect(config, self.drain.clone());
        gateway.up().await;
        let logic = Logic {
            gateway,
            store_came_up,
        };
        (logic, router_came_up)
    }

    fn count_ups(
        &self,
        mut events: PeerEvents,
        on_up: impl Fn() + std::marker::Send + 'static,
    ) -> watch::Receiver<u32> {
        let (counter, count) = watch::channel(0);
        self.drain.spawn(async move {
            while let Some(event) = events.next().await {
                if matches!(event, PeerEvent::Up(_)) {
                    on_up();
                    counter.send_modify(|times| *times += 1);
                }
            }
        });
        count
    }

    /// A good token of `im://dev/...`.
    pub(crate) fn token(&self, subject: &str) -> String {
        let lifetime_ms = 60_000;
        self.signer.sign(subject, clock::unix_ms(), lifetime_ms)
    }

    /// The next message that was passed on to the router.
    pub(crate) async fn passed_on(&mut self) -> PassEphemeral {
        let next = tokio::time::timeout(WAIT, self.passed_on.recv());
        next.await.unwrap().unwrap()
    }
}

impl Logic {
    pub(crate) async fn store_comes_up(&mut self, times: u32) {
        let enough = |came_up: &u32| *came_up >= times;
        self.store_came_up.wait_for(enough).await.unwrap();
    }

    pub(crate) async fn ask<A: Message + Default>(
        &self,
        method: u16,
        question: &impl Message,
    ) -> Result<A, Refusal> {
        let answer = self.gateway.call(method, rpc::encode(question), WAIT);
        rpc::decode(answer.await?)
    }

    pub(crate) async fn authenticate(
        &self,
        certificate_subject: &str,
        token: &str,
    ) -> Result<Authenticated, Refusal> {
        let question = Authenticate {
            certificate_subject: certificate_subject.into(),
            token: token.into(),
            session_id: 1,
            ..Authenticate::default()
        };
        self.ask(method::AUTHENTICATE, &question).await
    }

    /// What a client asks. It has left when this returns.
    pub(crate) fn client<A: Message + Default>(
        &self,
        account_id: u64,
        kind: u16,
        question: &dyn Encode,
    ) -> impl Future<Output = Result<A, Refusal>> + std::marker::Send + use<'_, A> {
        let request = ClientRequest {
            account_id,
            session_id: 1,
            kind: kind.into(),
            body: question.encoded(),
        };
        let body = rpc::encode(&request);
        let answer = self.gateway.call(method::CLIENT_REQUEST, body, WAIT);
        async move {
            let reply: ClientReply = rpc::decode(answer.await?)?;
            rpc::decode(reply.body)
        }
    }

    /// A message. It has left when this returns.
    pub(crate) fn send(
        &self,
        account: u64,
        send: &Send,
    ) -> impl Future<Output = Result<SendAck, Refusal>> + std::marker::Send + use<'_> {
        self.client(account, client::SEND, send)
    }
}

/// Any message.
pub(crate) trait Encode {
    fn encoded(&self) -> Bytes;
}

impl<M: Message> Encode for M {
    fn encoded(&self) -> Bytes {
        rpc::encode(self)
    }
}

/// The same for the same words, so that what says the same is a repeat.
pub(crate) fn message_id(what: &str) -> ClientMessageId {
    static STARTED_AT_MS: LazyLock<u64> = LazyLock::new(clock::unix_ms);
    ClientMessageId::new(*STARTED_AT_MS, [7; 10]).derive(&[what.as_bytes()])
}

pub(crate) fn text(conversation: ConversationId, said: &str) -> Send {
    Send {
        conversation_id: conversation.to_bytes(),
        client_message_id: message_id(said).to_bytes(),
        kind: EntryKind::Text.into(),
        content: content::encode(content::text(said)),
        ..Send::default()
    }
}

pub(crate) fn emergency(conversation: ConversationId, said: &str) -> Send {
    Send {
        priority: Priority::Emergency.into(),
        ..text(conversation, said)
    }
}

pub(crate) fn ephemeral(conversation: ConversationId, said: &str) -> Send {
    Send {
        client_message_id: Bytes::new(),
        ephemeral_key: "位置".into(),
        ..text(conversation, said)
    }
}

/// The accounts of a test: an operator, a planner, and two robots, of which the last is in no group.
pub(crate) const ANA: u64 = 10;
pub(crate) const PLANNER: u64 = 20;
pub(crate) const LIFT: u64 = 30;
pub(crate) const CART: u64 = 40;

/// All of them, and a group of all but the last.
pub(crate) fn settle(store: &FakeStore) -> ConversationId {
    store.account(AccountKind::Operator, ANA);
    store.account(AccountKind::Planner, PLANNER);
    store.account(AccountKind::Robot, LIFT);
    store.account(AccountKind::Robot, CART);
    store.group(7, &[ANA, PLANNER, LIFT])
}
