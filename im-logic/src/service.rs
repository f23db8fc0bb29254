//! What gateways ask of the logic: methods 201 to 205 and 227 to 229 of `internal.proto`, and
//! within method 202 the requests of clients.
//!
//! A shell: it parses, asks the part that knows, and encodes.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use protocol::kind::{client, method};
use protocol::wire::internal::{ClientReply, ClientRequest, EnrolRobot};
use protocol::{AccountId, ErrorCode, Refusal, SessionId};
use service_kit::drain::Drain;
use service_kit::peers::Peers;
use service_kit::rpc::{self, Handler, Peer, Request};
use service_kit::snowflake::Snowflakes;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::accounts::Accounts;
use crate::analysis::Analysis;
use crate::audit::AuditLog;
use crate::authenticate::Authentication;
use crate::commands::Commands;
use crate::config::{AnalysisConfig, Config, MediaConfig, RatesConfig, TokensConfig};
use crate::content::ContentRules;
use crate::credentials::{Around, Credentials, Keys};
use crate::directory::Directory;
use crate::dispatch::Dispatch;
use crate::estop::Estops;
use crate::events;
use crate::groups::Groups;
use crate::history::History;
use crate::links::Links;
use crate::listing::Listing;
use crate::media::Media;
use crate::members::Members;
use crate::online::Online;
use crate::rates::Rates;
use crate::registry::Registry;
use crate::robots::Robots;
use crate::store::{Caller, Deadline, Store, To};

/// Who may link to a logic process.
pub const PEERS: &[&str] = &["im-gateway"];

/// Answers on the links of gateways.
#[derive(Debug)]
pub struct Service {
    members: Arc<Members>,
    pub(crate) authentication: Authentication,
    credentials: Credentials,
    dispatch: Dispatch,
    pub(crate) groups: Arc<Groups>,
    pub(crate) listing: Listing,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) robots: Robots,
    pub(crate) audit: AuditLog,
    pub(crate) links: Links,
    pub(crate) directory: Arc<Directory>,
    pub(crate) snowflakes: Arc<Snowflakes>,
    pub(crate) fleet: String,
    history: History,
    pub(crate) online: Arc<Online>,
    estops: Estops,
    store: Store,
    media: Media,
    pub(crate) commands: Commands,
    registry: Arc<Registry>,
    analysis: Analysis,
}

/// What a service is made of.
#[derive(Debug)]
pub struct Parts {
    /// The fleet whose accounts may come in.
    pub fleet: String,
    /// How tokens are.
    pub tokens: TokensConfig,
    /// Who may enrol.
    pub enrolled_only: bool,
    /// What credentials are made and checked with.
    pub keys: Keys,
    /// How much may be sent.
    pub rates: RatesConfig,
    /// Groups that one account may own; 0: no limit.
    pub groups_per_account_max: u32,
    /// What may not be said.
    pub content: Arc<ContentRules>,
    /// What may be uploaded.
    pub media: MediaConfig,
    /// Who may analyse.
    pub analysis: AnalysisConfig,
    /// Makes the ids of accounts and groups.
    pub snowflakes: Arc<Snowflakes>,
    /// To the stores.
    pub stores: Peers,
    /// To the routers.
    pub routers: Peers,
}

impl Parts {
    /// As the configuration says.
    #[must_use]
    pub fn of(
        config: &Config,
        keys: Keys,
        content: Arc<ContentRules>,
        snowflakes: Arc<Snowflakes>,
        (stores, routers): (Peers, Peers),
    ) -> Self {
        Self {
            fleet: config.tokens.fleet.clone(),
            tokens: config.tokens.clone(),
            enrolled_only: config.enrolment.required,
            keys,
            rates: config.rates,
            media: config.media,
            groups_per_account_max: config.limits.groups_per_account_max,
            content,
            analysis: config.analysis.clone(),
            snowflakes,
            stores,
            routers,
        }
    }
}

impl Handler for Service {
    fn call(
        self: &Arc<Self>,
        _: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let service = Arc::clone(self);
        async move { service.answer(request).await }
    }

    fn connected(self: &Arc<Self>, _: &Peer) {
        self.links.gateway(true);
    }

    fn closed(self: &Arc<Self>, _: &Peer) {
        self.links.gateway(false);
    }

    fn notice(
        self: &Arc<Self>,
        peer: &Peer,
        method: u16,
        body: Bytes,
    ) -> impl Future<Output = ()> + Send {
        if method == method::PASS_MARKS {
            self.history.pass_marks(body);
        } else {
            events::notice_unknown(peer, method);
        }
        std::future::ready(())
    }
}

impl Service {
    /// Over these.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a line or two for each part")]
    pub fn new(parts: Parts) -> Self {
        let store = Store::new(parts.stores.clone());
        let snowflakes = parts.snowflakes;
        let directory = Arc::new(Directory::new(store.clone()));
        let members = Arc::new(Members::new(store.clone(), Arc::clone(&directory)));
        let online = Arc::new(Online::new(Arc::clone(&directory), parts.routers.clone()));
        let accounts = Accounts::new(parts.fleet.clone(), Arc::clone(&directory), store.clone());
        let accounts = Arc::new(accounts);
        let registry = Arc::new(Registry::new(
            parts.fleet.clone(),
            (store.clone(), parts.routers.clone()),
            Arc::clone(&directory),
            Arc::clone(&members),
        ));
        let groups = Arc::new(Groups::new(
            Arc::clone(&snowflakes),
            Arc::clone(&directory),
            Arc::clone(&members),
            store.clone(),
            parts.groups_per_account_max,
        ));
        Self {
            robots: Robots::new(
                Arc::clone(&accounts),
                Arc::clone(&directory),
                Arc::clone(&online),
                store.clone(),
            ),
            audit: AuditLog::new(Arc::clone(&directory), store.clone()),
            links: Links::new(Arc::clone(&directory), parts.stores, parts.routers.clone()),
            snowflakes: Arc::clone(&snowflakes),
            authentication: Authentication::new(
                parts.fleet.clone(),
                parts.keys.verifier.clone(),
                (parts.tokens.sub_accounts_max, parts.enrolled_only),
                Arc::clone(&snowflakes),
                Arc::clone(&directory),
                store.clone(),
            ),
            online,
            credentials: Credentials::new(
                parts.tokens,
                parts.keys,
                Around {
                    snowflakes,
                    directory: Arc::clone(&directory),
                    members: Arc::clone(&members),
                    groups: Arc::clone(&groups),
                    store: store.clone(),
                    routers: parts.routers.clone(),
                },
            ),
            dispatch: Dispatch::new(
                store.clone(),
                parts.routers,
                Arc::clone(&members),
                (Rates::new(&parts.rates, Instant::now()), parts.content),
            ),
            groups,
            estops: Estops::new(Arc::clone(&directory), store.clone()),
            store: store.clone(),
            listing: Listing::new(Arc::clone(&directory), Arc::clone(&members), store.clone()),
            accounts,
            fleet: parts.fleet,
            media: Media::new(Arc::clone(&directory), parts.media, store.clone()),
            commands: Commands::new(
                Arc::clone(&directory),
                Arc::clone(&members),
                store.clone(),
                Arc::clone(&registry),
            ),
            registry,
            analysis: Analysis::new(Arc::clone(&directory), &parts.analysis),
            history: History::new(store),
            directory,
            members,
        }
    }

    /// A store is new, or back, or others own what was asked of it: what is remembered is asked for
    /// again.
    pub fn forget(&self) {
        self.directory.forget_all();
        self.members.forget_all();
        self.registry.forget();
        events::store_is_up();
    }

    /// Tells who watches what changes, until the drain.
    pub async fn keep_up(self: Arc<Self>, drain: Drain) {
        self.registry.keep_up(drain).await;
    }

    async fn answer(&self, request: Request) -> Result<Bytes, Refusal> {
        let deadline = Deadline::of(&request);
        let body = request.body;
        match request.method {
            method::CLIENT_REQUEST => self.client(rpc::decode(body)?, deadline).await,
            method::AUTHENTICATE => {
                let request = rpc::decode(body)?;
                reply(self.authentication.authenticate(request, deadline).await)
            }
            method::ENROL_ROBOT => {
                let request: EnrolRobot = rpc::decode(body)?;
                let enrol = request.enrol.unwrap_or_default();
                reply(self.credentials.enrol(enrol, deadline).await)
            }
            method::LOG_IN => {
                let request = rpc::decode(body)?;
                reply(self.credentials.log_in(request, deadline).await)
            }
            method::REVOCATIONS => self.credentials.revocations(body, deadline).await,
            method::CHECK_MEMBERS => {
                let request = rpc::decode(body)?;
                reply(self.listing.check(request, deadline).await)
            }
            method::MEMBERSHIPS => self.listing.memberships(body, deadline).await,
            method::ESTOP_COMMIT => {
                let request = rpc::decode(body)?;
                reply(self.estops.commit(request, deadline).await)
            }
            method::ESTOP_RECORDS => {
                let passed = self
                    .store
                    .pass(To::Any(&[]), method::ESTOP_LIST, body, deadline);
                passed.await
            }
            method::ESTOP_TARGETS => {
                let request = rpc::decode(body)?;
                reply(self.estops.targets(request, deadline).await)
            }
            method::MEDIA_STEP => {
                let passed = self.media.pass(method::STORE_MEDIA_STEP, body, deadline);
                passed.await
            }
            method::MEDIA_SWEEP => {
                let passed = self.media.pass(method::STORE_MEDIA_SWEEP, body, deadline);
                passed.await
            }
            other => Err(Refusal::new(
                ErrorCode::UnknownKind,
                format!("the logic has no method {other}"),
            )),
        }
    }

    async fn client(&self, request: ClientRequest, deadline: Deadline) -> Result<Bytes, Refusal> {
        let caller = Caller {
            account: AccountId(request.account_id),
            session: SessionId(request.session_id),
            deadline,
        };
        let kind = request.kind;
        let answered = self
            .client_body(caller, kind, request.body)
            .instrument(events::request_span(caller, kind))
            .await;
        events::request_ended(caller, kind, &answered);
        let body = answered?;
        Ok(rpc::encode(&ClientReply { body }))
    }

    async fn client_body(&self, caller: Caller, kind: u32, body: Bytes) -> Result<Bytes, Refusal> {
        match u16::try_from(kind).unwrap_or(u16::MAX) {
            client::SEND => reply(self.dispatch.send(caller, rpc::decode(body)?).await),
            client::PULL => self.history.pull(caller, rpc::decode(body)?).await,
            client::LIST_LACKING => self.history.lacking(caller, rpc::decode(body)?).await,
            client::CREATE_GROUP => reply(self.groups.create(caller, rpc::decode(body)?).await),
            client::CHANGE_MEMBERS => reply(self.groups.change(caller, rpc::decode(body)?).await),
            client::LIST_MEMBERS => reply(self.listing.members(caller, rpc::decode(body)?).await),
            client::LIST_CONVERSATIONS => {
                let request = rpc::decode(body)?;
                reply(self.listing.conversations(caller, request).await)
            }
            client::ANNOUNCE => reply(self.accounts.announce(caller, rpc::decode(body)?).await),
            client::FIND_ACCOUNTS => reply(self.accounts.find(caller, rpc::decode(body)?).await),
            client::SEND_COMMAND => self.commands.send(caller, rpc::decode(body)?).await,
            client::REPORT_OUTCOMES => self.commands.report(caller, rpc::decode(body)?).await,
            client::CANCEL_COMMAND => self.commands.cancel(caller, rpc::decode(body)?).await,
            client::GET_COMMAND => self.commands.get(caller, rpc::decode(body)?).await,
            client::LIST_ORDERS => self.commands.orders(caller, rpc::decode(body)?).await,
            client::TAKE_EPOCH => self.commands.take_epoch(caller, rpc::decode(body)?).await,
            client::WATCH => reply(self.analysis.watch(caller, rpc::decode(body)?).await),
            client::LIST_ONLINE => reply(self.online.list(caller, rpc::decode(body)?).await),
            client::QUERY_ROBOTS => reply(self.registry.query(caller, rpc::decode(body)?).await),
            client::WATCH_ROBOTS => reply(self.registry.watch(caller, rpc::decode(body)?).await),
            client::SET_LIVE => reply(self.registry.set_live(caller, rpc::decode(body)?).await),
            client::SEARCH_HISTORY => self.history.search(caller, rpc::decode(body)?).await,
            client::DESCRIBE_GROUP => self.groups.describe(caller, rpc::decode(body)?).await,
            client::CHANGE_GROUP => reply(self.groups.regroup(caller, rpc::decode(body)?).await),
            client::CHANGE_CREDENTIALS => {
                reply(self.credentials.change(caller, rpc::decode(body)?).await)
            }
            client::CHANGE_ROLES => reply(self.groups.roles(caller, rpc::decode(body)?).await),
            client::CREATE_MEDIA => reply(self.media.create(caller, rpc::decode(body)?).await),
            client::OPEN_MEDIA => reply(self.media.open(caller, rpc::decode(body)?).await),
            client::LIST_MEDIA => reply(self.media.list(caller, rpc::decode(body)?).await),
            _ => Err(Refusal::new(
                ErrorCode::UnknownKind,
                format!("kind {kind} is not a request"),
            )),
        }
    }
}

fn reply<M: Message>(result: Result<M, Refusal>) -> Result<Bytes, Refusal> {
    result.map(|message| rpc::encode(&message))
}
