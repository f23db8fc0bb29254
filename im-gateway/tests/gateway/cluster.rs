//! A gateway between a logic and a router that the test plays itself, over real TLS.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_gateway::config::{Config, DEFAULTS};
use im_gateway::gateway::{Around, Gateway};
use im_gateway::upstream::Upstream;
use im_gateway::{listener, router_link};
use parking_lot::Mutex;
use prost::Message;
use protocol::kind::{client, method};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::internal::{
    AccountMarks, Authenticate, Authenticated, CheckMembers, CheckedMembers, ClientReply,
    ClientRequest, EstopCommit, EstopGossip, EstopList, Memberships, MembershipsPage, Register,
    Registered, Revocations, Unregister,
};
use protocol::wire::{self, Account, AccountKind, Membership, SendAck, Welcome};
use protocol::{ErrorCode, FrameCodec, GatewayId, Refusal};
use rustls_pki_types::ServerName;
use service_kit::admin::Readiness;
use service_kit::config::InternalTlsConfig;
use service_kit::drain::Drain;
use service_kit::live::LiveSet;
use service_kit::peers::{self, PeersConfig};
use service_kit::rpc::{self, Handler, Peer, Request};
use service_kit::testing::Authority;
use service_kit::tls;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::codec::Framed;

use crate::talker::{Client, PATIENCE, hello};

/// What the played tiers know and have heard.
#[derive(Default)]
pub(crate) struct World {
    /// By token.
    pub(crate) accounts: HashMap<String, u64>,
    /// By account.
    pub(crate) memberships: HashMap<u64, Vec<Membership>>,
    /// By conversation: members, and the membership entry.
    pub(crate) members: HashMap<Bytes, (Vec<u64>, u64)>,
    /// Bodies of requests that were passed on, in order.
    pub(crate) requests: Vec<ClientRequest>,
    pub(crate) marks: Vec<wire::internal::AccountMark>,
    pub(crate) registers: Vec<Register>,
    /// So many registrations are refused next.
    pub(crate) refuses_registers: usize,
    pub(crate) unregisters: Vec<Unregister>,
    /// The gateway's link to the router.
    pub(crate) gateway: Option<Peer>,
    /// "register" and "memberships" in the order in which they were asked.
    pub(crate) asked: Vec<&'static str>,
    /// Those that are robots; the others are operators.
    pub(crate) robots: Vec<u64>,
    /// The emergency stops that the store has.
    pub(crate) stops: EstopList,
    /// No stop is stored.
    pub(crate) store_is_away: bool,
    /// Stops and releases that were stored.
    pub(crate) commits: Vec<EstopCommit>,
    /// What the gateway told the other gateways.
    pub(crate) gossip: Vec<EstopGossip>,
}

/// Shared by the test and the played tiers. Every change can be waited for.
pub(crate) struct Shared {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let result = act(&mut self.world.lock());
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// Waits until it holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let mut changed = self.changed.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(&self.world.lock()) {
                changed.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "never: {what}");
    }

    /// The router says this.
    pub(crate) async fn router_says(&self, method: u16, message: &impl Message) {
        let gateway = self.world.lock().gateway.clone().expect("it is linked");
        gateway
            .notify_wait(method, rpc::encode(message))
            .await
            .unwrap();
    }
}

struct Logic(Arc<Shared>);

impl Handler for Logic {
    fn call(
        self: &Arc<Self>,
        _: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        std::future::ready(self.answer(request))
    }

    fn notice(
        self: &Arc<Self>,
        _: &Peer,
        method: u16,
        body: Bytes,
    ) -> impl Future<Output = ()> + Send {
        assert_eq!(method, method::PASS_MARKS);
        let marks: AccountMarks = rpc::decode(body).unwrap();
        self.0.with(|world| world.marks.extend(marks.marks));
        std::future::ready(())
    }
}

impl Logic {
    fn answer(&self, request: Request) -> Result<Bytes, Refusal> {
        let body = request.body;
        self.0.with(|world| match request.method {
            method::AUTHENTICATE => {
                let credential: Authenticate = rpc::decode(body)?;
                let account_id = *world.accounts.get(&credential.token).ok_or_else(|| {
                    Refusal::new(ErrorCode::Unauthenticated, "nobody of that token")
                })?;
                let kind = match world.robots.contains(&account_id) {
                    true => AccountKind::Robot,
                    false => AccountKind::Operator,
                };
                let account = Some(Account {
                    account_id,
                    kind: kind.into(),
                    name: credential.token,
                    ..Account::default()
                });
                Ok(rpc::encode(&Authenticated {
                    account,
                    ..Authenticated::default()
                }))
            }
            method::MEMBERSHIPS => {
                world.asked.push("memberships");
                let question: Memberships = rpc::decode(body)?;
                let of = world.memberships.get(&question.account_id);
                Ok(rpc::encode(&MembershipsPage {
                    memberships: of.cloned().unwrap_or_default(),
                    ..MembershipsPage::default()
                }))
            }
            method::CHECK_MEMBERS => {
                let question: CheckMembers = rpc::decode(body)?;
                let found = world.members.get(&question.conversation_id);
                let (members, membership_sequence) = found.cloned().unwrap_or_default();
                Ok(rpc::encode(&CheckedMembers {
                    members,
                    membership_sequence,
                    head: 0,
                }))
            }
            method::CLIENT_REQUEST => {
                let request: ClientRequest = rpc::decode(body)?;
                let answer = match request.body.first() {
                    Some(b'!') => Err(Refusal::new(ErrorCode::NotAMember, "不是成员")),
                    _ => Ok(rpc::encode(&ClientReply {
                        body: request.body.clone(),
                    })),
                };
                world.requests.push(request);
                answer
            }
            method::ESTOP_RECORDS => Ok(rpc::encode(&world.stops)),
            method::ESTOP_COMMIT if world.store_is_away => Err(Refusal::unavailable("weg")),
            method::ESTOP_COMMIT => {
                world.commits.push(rpc::decode(body)?);
                Ok(rpc::encode(&SendAck {
                    sequence: 7,
                    committed_at_ms: 9,
                    duplicate: false,
                }))
            }
            method::ESTOP_TARGETS => Err(Refusal::unavailable("weg")),
            method::REVOCATIONS => Ok(rpc::encode(&Revocations::default())),
            other => panic!("method {other}"),
        })
    }
}

struct Router(Arc<Shared>);

impl Handler for Router {
    fn call(
        self: &Arc<Self>,
        peer: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        assert_eq!(request.method, method::REGISTER);
        let register: Register = rpc::decode(request.body).unwrap();
        let answer = self.0.with(|world| {
            if world.refuses_registers > 0 {
                world.refuses_registers -= 1;
                return Err(Refusal::unavailable("too much to do"));
            }
            world.asked.push("register");
            world.registers.push(register);
            world.gateway = Some(peer.clone());
            Ok(rpc::encode(&Registered::default()))
        });
        std::future::ready(answer)
    }

    fn notice(
        self: &Arc<Self>,
        _: &Peer,
        method: u16,
        body: Bytes,
    ) -> impl Future<Output = ()> + Send {
        if method == method::PASS_ESTOP {
            let gossip = rpc::decode(body).unwrap();
            self.0.with(|world| world.gossip.push(gossip));
            return std::future::ready(());
        }
        if matches!(method, method::PASS_CUT | method::PASS_SHARED_MARKS) {
            return std::future::ready(());
        }
        assert_eq!(method, method::UNREGISTER);
        let gone = rpc::decode(body).unwrap();
        self.0.with(|world| world.unregisters.push(gone));
        std::future::ready(())
    }
}

/// The gateway and what it is tried with.
pub(crate) struct Cluster {
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: std::net::SocketAddr,
    /// The gateways that are live.
    pub(crate) gateways: watch::Sender<Arc<LiveSet>>,
    pub(crate) drain: Drain,
    /// Ends the router; another can be started in its place.
    pub(crate) router: Drain,
    router_address: std::net::SocketAddr,
    authority: Authority,
    folder: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let (drain, router, tiers) = (Drain::new(), Drain::new(), Drain::new());
        let shared = Arc::new(Shared {
            world: Mutex::default(),
            changed: watch::channel(0).0,
        });
        let files = |name| authority.files(folder.path(), name);

        let logic = bind(0).await;
        let logic_address = logic.local_addr().unwrap();
        let server = tls::internal_server(&files("im-logic")).unwrap();
        let handler = Arc::new(Logic(Arc::clone(&shared)));
        let serving = rpc::serve(logic, server, &["im-gateway"], handler, tiers.clone());
        tiers.spawn(serving);
        let listening = bind(0).await;
        let router_address = listening.local_addr().unwrap();
        serve_router(listening, &files("im-router"), &shared, &router);

        let client = tls::internal_client(&files("im-gateway")).unwrap();
        let open = |name, address: std::net::SocketAddr| {
            let config = PeersConfig {
                name,
                tls: Arc::clone(&client),
                live: peers::fixed(address.to_string()),
            };
            peers::open(config, Readiness::new().gate(name), &drain)
        };
        let (logics, _) = open("im-logic", logic_address);
        let (routers, router_events) = open("im-router", router_address);
        let mut config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        change(&mut config);
        let (gateways, live) = watch::channel(Arc::default());
        let gateway = Gateway::new(
            GatewayId(rand::random()),
            (config.session, config.limits, Duration::from_secs(4)),
            Around {
                upstream: Upstream::new(logics.clone()),
                routers,
                gateways: live,
                routes: None,
                estop_file: None,
                media: None,
            },
            drain.clone(),
        );
        drain.spawn(router_link::run(Arc::clone(&gateway), router_events));
        drain.spawn(Arc::clone(&gateway).keep_estops());
        drain.spawn(Arc::clone(&gateway).keep_in_sync());
        drain.spawn(Arc::clone(&gateway).pass_marks());
        let public = files("localhost");
        let acceptor = tls::public_server(&public.certificate, &public.key, &public.ca).unwrap();
        let clients = bind(0).await;
        let address = clients.local_addr().unwrap();
        drain.spawn(listener::serve(clients, acceptor, gateway, drain.clone()));
        logics.up().await;
        let cluster = Self {
            shared,
            address,
            gateways,
            drain,
            router,
            router_address,
            authority,
            folder,
        };
        cluster.linked().await;
        cluster
    }

    /// Waits until the gateway has told the router all that it has.
    async fn linked(&self) {
        let told = |world: &World| world.registers.iter().any(|register| register.replace);
        self.shared.until("the gateway registers", told).await;
    }

    /// Kills the router and starts another in its place.
    pub(crate) async fn restart_router(&mut self) {
        self.shared.with(|world| {
            world.registers.clear();
            world.gateway = None;
        });
        self.router.finish(Duration::from_secs(1)).await;
        self.router = Drain::new();
        let listening = bind(self.router_address.port()).await;
        let files = self.authority.files(self.folder.path(), "im-router");
        // The links of a new authority would not verify: it is the same.
        serve_router(listening, &files, &self.shared, &self.router);
        self.linked().await;
    }

    /// A TLS connection with no hello yet.
    pub(crate) async fn connect(&self) -> Client {
        let files = self.authority.files(self.folder.path(), "someone");
        let mut config = (*tls::internal_client(&files).unwrap()).clone();
        config.alpn_protocols = vec![tls::ALPN_CLIENT.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.unwrap();
        Client(Framed::new(stream, FrameCodec::new(FRAME_BYTES_MAX)))
    }

    /// A session of the account with this token.
    pub(crate) async fn welcomed(&self, token: &str) -> (Client, Welcome) {
        let mut client = self.connect().await;
        client.send(client::HELLO, 1, &hello(token)).await;
        let welcome = client.receive(client::WELCOME).await;
        (client, protocol::error::decode_body(welcome.body).unwrap())
    }
}

async fn bind(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).await.unwrap()
}

fn serve_router(
    listener: TcpListener,
    files: &InternalTlsConfig,
    shared: &Arc<Shared>,
    drain: &Drain,
) {
    let server = tls::internal_server(files).unwrap();
    let handler = Arc::new(Router(Arc::clone(shared)));
    drain.spawn(rpc::serve(
        listener,
        server,
        &["im-gateway"],
        handler,
        drain.clone(),
    ));
}
