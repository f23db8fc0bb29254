//! Credentials: robots enrol and renew, operators make tokens and revoke, owners make operators.
//!
//! What a transaction has to decide is the store's; here is who may, what is signed, and who is
//! told. Not here: one-time tokens (`tokens`), logging in (`people`), signatures ([`issuer`]), hashes
//! ([`passwords`]).

pub mod issuer;
pub mod passwords;
pub mod pattern;
mod people;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use protocol::kind::method;
use protocol::wire::change_credentials::Change;
use protocol::wire::credentials_changed::Result as Changed;
use protocol::wire::internal::write_credentials::Write;
use protocol::wire::internal::{
    self, Admit, CredentialsRead, CredentialsWritten, CutSessions, ReadCredentials,
    WriteCredentials,
};
use protocol::wire::{
    AccountKind, ChangeCredentials, CredentialsChanged, Enrol, Enrolled, RenewCertificate,
    RevokeRobot, RobotRevoked,
};
use protocol::{AccountId, ErrorCode, Refusal, SessionId};
use service_kit::clock;
use service_kit::peers::Peers;
use service_kit::rpc;
use service_kit::snowflake::Snowflakes;
use service_kit::token::{TokenSigner, TokenVerifier};
use sha2::{Digest as _, Sha256};

use self::issuer::{Issuer, Proven, Signed, nobody_enrols};
use self::passwords::Passwords;
use crate::accounts;
use crate::config::{Config, TokensConfig};
use crate::directory::{Directory, Profile};
use crate::events;
use crate::groups::Groups;
use crate::members::Members;
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline, Store, To};

/// The longest reason of a revocation, in characters.
const REASON_CHARS_MAX: usize = 256;

/// What the credentials are made with.
#[derive(Debug)]
pub struct Keys {
    /// Signs certificates; none: nobody enrols.
    pub issuer: Option<Issuer>,
    /// Signs the tokens of those who log in; none: nobody does.
    pub signer: Option<TokenSigner>,
    /// Checks them.
    pub verifier: TokenVerifier,
    /// Makes and checks hashes.
    pub passwords: Passwords,
}

impl Keys {
    /// As configured.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it should be.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let tokens = &config.tokens;
        let signs = !tokens.private_key.as_os_str().is_empty();
        let signer = signs.then(|| TokenSigner::from_pem(&tokens.private_key));
        Ok(Self {
            issuer: Issuer::open(&config.enrolment)?,
            signer: signer.transpose()?,
            verifier: TokenVerifier::from_pem(&tokens.public_key)?,
            passwords: Passwords::new(&config.passwords)?,
        })
    }
}

/// Whom it asks and tells.
#[derive(Debug)]
pub struct Around {
    /// Makes ids of accounts.
    pub snowflakes: Arc<Snowflakes>,
    /// Who is who.
    pub directory: Arc<Directory>,
    /// Who is where.
    pub members: Arc<Members>,
    /// Adds them to groups.
    pub groups: Arc<Groups>,
    /// Keeps all of it.
    pub store: Store,
    /// Tell gateways whose session ends.
    pub routers: Peers,
}

/// Makes credentials and takes them away.
#[derive(Debug)]
pub struct Credentials {
    tokens: TokensConfig,
    keys: Keys,
    around: Around,
}

impl Credentials {
    /// Of the accounts of one fleet.
    #[must_use]
    pub const fn new(tokens: TokensConfig, keys: Keys, around: Around) -> Self {
        Self {
            tokens,
            keys,
            around,
        }
    }

    /// A robot that has a token and a key gets a certificate.
    ///
    /// # Errors
    /// *Enrolment refused*, *bad request*, *forbidden*.
    pub async fn enrol(&self, enrol: Enrol, deadline: Deadline) -> Result<Enrolled, Refusal> {
        let issuer = self.keys.issuer.as_ref().ok_or_else(nobody_enrols)?;
        let name = enrol.name;
        if !pattern::is_name(&name) {
            return Err(Refusal::bad_request("name: not one of an account"));
        }
        if let Some(card) = &enrol.capabilities {
            accounts::check(card)?;
        }
        let proven = Proven::parse(&enrol.certificate_request)?;
        let digest = Bytes::from(Sha256::digest(&enrol.token).to_vec());
        let question = ReadCredentials {
            token_digest: digest.clone(),
            ..ReadCredentials::default()
        };
        let read: CredentialsRead = self.read(&question, deadline).await?;
        let unknown = || {
            let why = "there is no such enrolment token";
            Refusal::new(ErrorCode::EnrolmentRefused, why)
        };
        let token = read.token.ok_or_else(unknown)?;
        pattern::admit(&token.name_pattern, &name)?;
        let now_ms = clock::unix_ms();
        let who = (token.kind(), &name[..]);
        let signed = issuer.sign(&proven, &self.tokens.fleet, who, now_ms)?;
        let admit = Admit {
            token_digest: digest,
            capabilities: enrol.capabilities,
            proposed_account_id: self.around.snowflakes.next_id().await?,
            ..self.admission(&proven, &signed, who)
        };
        let written = self.write(Write::Admit(admit), deadline).await?;
        let account = written.account.clone().unwrap_or_default();
        self.around
            .directory
            .remember(std::slice::from_ref(&account));
        let id = AccountId(account.account_id);
        self.cut(&written, 0, SessionId(0));
        let not_joined = self.join(id, &token, deadline).await?;
        events::enrolled(id, &name, signed.expires_at_ms);
        Ok(Enrolled {
            not_joined,
            authorities_pem: issuer.trusted_pem().to_owned(),
            ..enrolled(Some(account), signed)
        })
    }

    /// What an account asks of credentials in its session.
    ///
    /// # Errors
    /// *Forbidden*, and what makes no sense.
    pub async fn change(
        &self,
        caller: Caller,
        request: ChangeCredentials,
    ) -> Result<CredentialsChanged, Refusal> {
        let profile = self
            .around
            .directory
            .one(caller.account, caller.deadline)
            .await?;
        let missing = || Refusal::bad_request("change: missing");
        let changed = match request.change.ok_or_else(missing)? {
            Change::MakeEnrolmentToken(make) => {
                Changed::EnrolmentTokenMade(self.make_token(caller, &profile, make).await?)
            }
            Change::RenewCertificate(renew) => {
                Changed::CertificateRenewed(self.renew(caller, &profile, renew).await?)
            }
            Change::RevokeRobot(revoke) => {
                Changed::RobotRevoked(self.revoke(caller, &profile, revoke).await?)
            }
            Change::RefreshToken(refresh) => {
                Changed::TokenRefreshed(self.refresh(caller, &profile, refresh).await?)
            }
            Change::SetPassword(set) => {
                Changed::PasswordSet(self.set_password(caller, &profile, set).await?)
            }
            Change::InitialiseFleet(initialise) => {
                Changed::FleetInitialised(self.initialise(caller, &profile, initialise).await?)
            }
        };
        Ok(CredentialsChanged {
            result: Some(changed),
        })
    }

    /// What gateways are told of revocations.
    ///
    /// # Errors
    /// The store is away.
    pub async fn revocations(&self, body: Bytes, deadline: Deadline) -> Result<Bytes, Refusal> {
        let to = To::Any(&[]);
        let store = &self.around.store;
        store
            .pass(to, method::STORE_REVOCATIONS, body, deadline)
            .await
    }

    async fn renew(
        &self,
        caller: Caller,
        profile: &Profile,
        renew: RenewCertificate,
    ) -> Result<Enrolled, Refusal> {
        if !matches!(profile.kind, AccountKind::Robot | AccountKind::Planner) {
            let why = "robots and planners have certificates";
            return Err(Refusal::new(ErrorCode::Forbidden, why));
        }
        let issuer = self.keys.issuer.as_ref().ok_or_else(nobody_enrols)?;
        let proven = Proven::parse(&renew.certificate_request)?;
        let who = (profile.kind, &profile.name[..]);
        let signed = issuer.sign(&proven, &self.tokens.fleet, who, clock::unix_ms())?;
        let admit = self.admission(&proven, &signed, who);
        let written = self.write(Write::Admit(admit), caller.deadline).await?;
        self.cut(&written, 0, SessionId(0));
        events::renewed(caller, signed.expires_at_ms);
        Ok(Enrolled {
            authorities_pem: issuer.trusted_pem().to_owned(),
            ..enrolled(written.account, signed)
        })
    }

    async fn revoke(
        &self,
        caller: Caller,
        profile: &Profile,
        revoke: RevokeRobot,
    ) -> Result<RobotRevoked, Refusal> {
        permission::check(Action::RevokeRobot, profile.kind, None)?;
        person(profile)?;
        if revoke.reason.chars().count() > REASON_CHARS_MAX {
            let why = format!("reason: at most {REASON_CHARS_MAX} characters");
            return Err(Refusal::bad_request(why));
        }
        let write = Write::Revoke(internal::Revoke {
            fleet: self.tokens.fleet.clone(),
            name: revoke.name,
            reason: revoke.reason,
        });
        let written = self.write(write, caller.deadline).await?;
        let account = written
            .account
            .as_ref()
            .map_or(0, |account| account.account_id);
        self.cut(&written, 0, SessionId(0));
        events::revoked(caller, AccountId(account), written.certificates);
        Ok(RobotRevoked {
            account_id: account,
            certificates: written.certificates,
        })
    }

    /// Whom its certificate admits.
    fn admission(&self, proven: &Proven, signed: &Signed, who: (AccountKind, &str)) -> Admit {
        Admit {
            key_digest: proven.key_digest().into(),
            fleet: self.tokens.fleet.clone(),
            kind: who.0.into(),
            name: who.1.to_owned(),
            serial: signed.serial.clone().into(),
            expires_at_ms: signed.expires_at_ms,
            ..Admit::default()
        }
    }

    /// Ends the sessions whose credential is good no longer, wherever they are. A gateway that does
    /// not hear it reads the list of revocations.
    fn cut(&self, written: &CredentialsWritten, password_generation: u64, but: SessionId) {
        if written.revoked.is_empty() && password_generation == 0 {
            return;
        }
        let account = written
            .account
            .as_ref()
            .map_or(0, |account| account.account_id);
        let body = rpc::encode(&CutSessions {
            account_id: account,
            revoked: written.revoked.clone(),
            password_generation,
            newer_session_id: but.0,
            newer_since_ms: 0,
        });
        let routers = &self.around.routers;
        for link in routers.ids().into_iter().filter_map(|id| routers.link(id)) {
            if let Err(refusal) = link.try_notify(method::PASS_CUT, body.clone()) {
                events::cut_not_told(&refusal);
            }
        }
    }

    async fn write(&self, write: Write, deadline: Deadline) -> Result<CredentialsWritten, Refusal> {
        let write = WriteCredentials { write: Some(write) };
        let store = &self.around.store;
        let to = To::Any(&[]);
        store
            .ask(to, method::WRITE_CREDENTIALS, &write, deadline)
            .await
    }

    async fn read(
        &self,
        question: &ReadCredentials,
        deadline: Deadline,
    ) -> Result<CredentialsRead, Refusal> {
        let store = &self.around.store;
        let to = To::Any(&[]);
        store
            .ask(to, method::READ_CREDENTIALS, question, deadline)
            .await
    }
}

/// Sub-accounts are for load tests and drivers: they have no say in who comes in.
fn person(profile: &Profile) -> Result<(), Refusal> {
    if profile.kind != AccountKind::Operator || profile.name.contains('~') {
        let why = "only operators, and not for their sub-accounts";
        return Err(Refusal::new(ErrorCode::Forbidden, why));
    }
    Ok(())
}

fn enrolled(account: Option<protocol::wire::Account>, signed: Signed) -> Enrolled {
    Enrolled {
        account,
        certificate_pem: signed.certificate_pem,
        authorities_pem: String::new(),
        expires_at_ms: signed.expires_at_ms,
        renew_at_ms: signed.renew_at_ms,
        not_joined: Vec::new(),
    }
}
