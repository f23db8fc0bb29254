//! One-time tokens: an operator makes one, and whoever enrols with it joins its groups.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use protocol::wire::internal::write_credentials::Write;
use protocol::wire::internal::{self, KeepEnrolmentToken};
use protocol::wire::{AccountKind, ChangeMembers, EnrolmentTokenMade, MakeEnrolmentToken, Role};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, SessionId};
use service_kit::clock;
use sha2::{Digest as _, Sha256};

use super::issuer::nobody_enrols;
use super::{Credentials, pattern, person};
use crate::directory::Profile;
use crate::events;
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline};

/// How long an enrolment token is good unless its maker says otherwise, in milliseconds.
const TOKEN_LIFETIME_MS_DEFAULT: u64 = 60 * 60 * 1000;

/// And at most.
const TOKEN_LIFETIME_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;

/// Groups that one token joins.
const TOKEN_GROUPS_MAX: usize = 32;

impl Credentials {
    pub(super) async fn make_token(
        &self,
        caller: Caller,
        maker: &Profile,
        make: MakeEnrolmentToken,
    ) -> Result<EnrolmentTokenMade, Refusal> {
        permission::check(Action::MakeEnrolmentToken, maker.kind, None)?;
        person(maker)?;
        if self.keys.issuer.is_none() {
            return Err(nobody_enrols());
        }
        pattern::check(&make.name_pattern)?;
        let kind = match make.kind() {
            AccountKind::Unspecified | AccountKind::Robot => AccountKind::Robot,
            AccountKind::Planner => AccountKind::Planner,
            AccountKind::Operator => {
                return Err(Refusal::bad_request("kind: operators log in by a password"));
            }
        };
        let role = match make.role() {
            Role::Unspecified | Role::Member => Role::Member,
            Role::Observer => Role::Observer,
            Role::Owner | Role::Admin => {
                return Err(Refusal::bad_request("role: a member or an observer"));
            }
        };
        let lifetime_ms = match make.lifetime_ms {
            0 => TOKEN_LIFETIME_MS_DEFAULT,
            asked if asked <= TOKEN_LIFETIME_MS_MAX => asked,
            _ => return Err(Refusal::bad_request("lifetime_ms: more than 30 days")),
        };
        if make.groups.len() > TOKEN_GROUPS_MAX {
            let why = format!("groups: at most {TOKEN_GROUPS_MAX}");
            return Err(Refusal::new(ErrorCode::LimitReached, why));
        }
        for group in &make.groups {
            let group = ConversationId::from_slice(group)?;
            let key = (group, caller.account);
            let standing = self.around.members.ask(key, caller.deadline).await?;
            permission::check_standing(Action::AddMember, standing)?;
        }
        let token = format!(
            "enrol-{}",
            URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
        );
        let expires_at_ms = clock::unix_ms() + lifetime_ms;
        let kept = internal::EnrolmentToken {
            digest: Sha256::digest(&token).to_vec().into(),
            kind: kind.into(),
            name_pattern: make.name_pattern,
            groups: make.groups,
            role: role.into(),
            made_by: caller.account.0,
            expires_at_ms,
            used_at_ms: 0,
            used_key: Bytes::new(),
        };
        let keep = KeepEnrolmentToken { token: Some(kept) };
        self.write(Write::KeepToken(keep), caller.deadline).await?;
        events::enrolment_token_made(caller, expires_at_ms);
        Ok(EnrolmentTokenMade {
            token,
            expires_at_ms,
        })
    }

    /// Adds an account to the groups of its token, by the right of whoever made that. Returns those
    /// where there is no such right any more.
    pub(super) async fn join(
        &self,
        account: AccountId,
        token: &internal::EnrolmentToken,
        deadline: Deadline,
    ) -> Result<Vec<Bytes>, Refusal> {
        let maker = Caller {
            account: AccountId(token.made_by),
            session: SessionId(0),
            deadline,
        };
        let mut not_joined = Vec::new();
        for group in &token.groups {
            let id = ClientMessageId::new(clock::unix_ms(), rand::random());
            let add = ChangeMembers {
                conversation_id: group.clone(),
                client_message_id: id.to_bytes(),
                add: vec![account.0],
                role: token.role,
                ..ChangeMembers::default()
            };
            match self.around.groups.change(maker, add).await {
                Ok(_) => {}
                Err(refusal) if refusal.is_retryable() => return Err(refusal),
                Err(refusal) => {
                    events::not_joined(account, &refusal);
                    not_joined.push(group.clone());
                }
            }
        }
        Ok(not_joined)
    }
}
