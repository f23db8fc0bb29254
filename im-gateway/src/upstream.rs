//! The logic tier as the gateway asks it: methods 201 to 205 212 to 214, 245 and 246 of `internal.proto`.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use protocol::kind::method;
use protocol::limits::MEMBERSHIPS_PER_PAGE_MAX;
use protocol::media::MediaId;
use protocol::wire::internal::{
    AccountMarks, Authenticate, Authenticated, CheckMembers, CheckedMembers, ClientReply,
    ClientRequest, EstopCommit, EstopList, EstopTargets, ListEstopRecords, ListRevocations,
    MediaRecord, MediaStep, MembersPage, Memberships, MembershipsPage, Revocations, StepMedia,
    SweepMedia, SweptMedia,
};
use protocol::wire::{MediaItem, SendAck};
use protocol::{AccountId, ConversationId, Refusal, SessionId};
use service_kit::peers::{Peers, StickyLink};
use service_kit::rpc;

use crate::session::Passed;

/// How long a question of the gateway's own may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks logic. Clones share the links.
#[derive(Debug, Clone)]
pub struct Upstream {
    logics: Peers,
}

impl Upstream {
    /// Over these links.
    #[must_use]
    pub const fn new(logics: Peers) -> Self {
        Self { logics }
    }

    /// The link of a session's requests, which stay in order on it.
    #[must_use]
    pub fn link_for(&self, session: SessionId) -> StickyLink {
        self.logics.sticky(session.0)
    }

    /// Whose credential this is.
    pub async fn authenticate(&self, credential: Authenticate) -> Result<Authenticated, Refusal> {
        let key = credential.session_id.to_be_bytes();
        self.ask(&key, method::AUTHENTICATE, &credential).await
    }

    /// Asks for a credential on behalf of one who has none, within this time.
    pub async fn apply(
        &self,
        (method, session): (u16, SessionId),
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, Refusal> {
        let link = self.logics.any_link(&session.0.to_be_bytes())?;
        link.call(method, body, timeout).await
    }

    /// A page of what is revoked, unless the list still is of this revision.
    pub async fn revocations(
        &self,
        known_revision: u64,
        after: Bytes,
    ) -> Result<Revocations, Refusal> {
        let question = ListRevocations {
            known_revision,
            after,
        };
        self.ask(&[], method::REVOCATIONS, &question).await
    }

    /// Every conversation of an account, in one page, for a client whose marks are of this history
    /// generation.
    pub async fn memberships(
        &self,
        account: AccountId,
        history_generation: u64,
    ) -> Result<MembershipsPage, Refusal> {
        let mut all = MembershipsPage::default();
        loop {
            let question = Memberships {
                account_id: account.0,
                after_conversation_id: all
                    .memberships
                    .last()
                    .map(|last| last.conversation_id.clone())
                    .unwrap_or_default(),
                limit: MEMBERSHIPS_PER_PAGE_MAX,
                history_generation,
            };
            let page: MembershipsPage = self
                .ask(&account.0.to_be_bytes(), method::MEMBERSHIPS, &question)
                .await?;
            let more = page.more && !page.memberships.is_empty();
            all.memberships.extend(page.memberships);
            all.history_generation = page.history_generation;
            if !more {
                return Ok(all);
            }
        }
    }

    /// Which of these accounts are members.
    pub async fn check(
        &self,
        conversation: ConversationId,
        accounts: &[AccountId],
    ) -> Result<CheckedMembers, Refusal> {
        let check = CheckMembers {
            conversation_id: conversation.to_bytes(),
            account_ids: accounts.iter().map(|account| account.0).collect(),
        };
        self.ask(conversation.as_bytes(), method::CHECK_MEMBERS, &check)
            .await
    }

    /// Stores an emergency stop or a release for whoever sent it.
    pub async fn store_estop(
        &self,
        commit: &EstopCommit,
        timeout: Duration,
    ) -> Result<SendAck, Refusal> {
        self.ask_within(&[], method::ESTOP_COMMIT, commit, timeout)
            .await
    }

    /// The emergency stops that the store has: in force and released last, or these.
    pub async fn estop_records(&self, stop_ids: Vec<Bytes>) -> Result<EstopList, Refusal> {
        let question = ListEstopRecords { stop_ids };
        self.ask(&[], method::ESTOP_RECORDS, &question).await
    }

    /// A page of the robots that an emergency stop concerns.
    pub async fn estop_targets(&self, question: &EstopTargets) -> Result<MembersPage, Refusal> {
        self.ask(&[], method::ESTOP_TARGETS, question).await
    }

    /// Passes a client's request on, before this returns, so that a client's requests arrive in
    /// their order. The future is its answer.
    pub fn pass(
        link: &mut StickyLink,
        (account, session): (AccountId, SessionId),
        passed: &Passed,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + use<> {
        let request = ClientRequest {
            account_id: account.0,
            session_id: session.0,
            kind: passed.kind.into(),
            body: passed.body.clone(),
        };
        let body = rpc::encode(&request);
        let called = link
            .link()
            .map(|link| link.call(method::CLIENT_REQUEST, body, passed.timeout));
        async move {
            let reply = called?.await?;
            let reply: ClientReply = rpc::decode(reply).map_err(of_another_release)?;
            Ok(reply.body)
        }
    }

    /// Passes marks on, if there is room.
    pub fn marks(&self, marks: &AccountMarks) -> Result<(), Refusal> {
        self.logics
            .any_link(&[])?
            .try_notify(method::PASS_MARKS, rpc::encode(marks))
    }

    /// What becomes of an upload. As the store has it then.
    pub(crate) async fn media_step(
        &self,
        id: MediaId,
        step: MediaStep,
    ) -> Result<MediaItem, Refusal> {
        let question = StepMedia {
            media_id: id.to_bytes(),
            step: step.into(),
        };
        let answer: MediaRecord = self
            .ask(id.as_bytes(), method::MEDIA_STEP, &question)
            .await?;
        let missing = || Refusal::internal("a media without what it is");
        answer.media.ok_or_else(missing)
    }

    /// Which media have to go, and that the bytes of these are gone.
    pub(crate) async fn media_sweep(
        &self,
        grace_ms: u64,
        gone: Vec<Bytes>,
    ) -> Result<SweptMedia, Refusal> {
        let question = SweepMedia {
            grace_ms,
            gone,
            limit: 0,
        };
        self.ask(&[], method::MEDIA_SWEEP, &question).await
    }

    /// Ends when logic is reachable. Cancel-safe.
    pub async fn up(&self) {
        self.logics.up().await;
    }

    async fn ask<M: Message + Default>(
        &self,
        key: &[u8],
        method: u16,
        question: &impl Message,
    ) -> Result<M, Refusal> {
        self.ask_within(key, method, question, QUESTION_TIMEOUT)
            .await
    }

    async fn ask_within<M: Message + Default>(
        &self,
        key: &[u8],
        method: u16,
        question: &impl Message,
        timeout: Duration,
    ) -> Result<M, Refusal> {
        let answer = self
            .logics
            .any_link(key)?
            .call(method, rpc::encode(question), timeout)
            .await?;
        rpc::decode(answer).map_err(of_another_release)
    }
}

/// An answer of our own tiers that does not parse is no fault of the client's.
fn of_another_release(refusal: Refusal) -> Refusal {
    Refusal::internal(format!("an answer of im-logic: {}", refusal.message))
}
