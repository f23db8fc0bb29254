//! Who somebody is: from the verified subject of a certificate, or from a token, and from nothing
//! else. The signature of the fleet's authority is the enrolment: an account is made when it is
//! first seen.
//!
//! Not here: the verification of certificates, which the gateway's TLS has done.

use std::sync::Arc;

use bytes::Bytes;
use protocol::kind::method;
use protocol::limits::ACCOUNT_NAME_BYTES_MAX;
use protocol::wire::internal::{Authenticate, Authenticated, EnsureAccount};
use protocol::wire::{Account, AccountKind};
use protocol::{ErrorCode, Refusal, sub_account};
use service_kit::clock;
use service_kit::snowflake::Snowflakes;
use service_kit::token::{TokenError, TokenVerifier};

use crate::credentials::pattern;
use crate::directory::Directory;
use crate::events;
use crate::store::{Deadline, Store, To};

/// Authenticates sessions.
#[derive(Debug)]
pub struct Authentication {
    fleet: String,
    tokens: TokenVerifier,
    sub_accounts_max: u32,
    enrolled_only: bool,
    snowflakes: Arc<Snowflakes>,
    directory: Arc<Directory>,
    store: Store,
}

/// Whom a verified credential speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    kind: AccountKind,
    name: String,
}

/// An identity, and what else a credential says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Presented {
    identity: Identity,
    certificate_serial: Bytes,
    password_generation: u64,
    good_until_ms: u64,
}

impl Authentication {
    /// Of the accounts of one fleet.
    #[must_use]
    pub const fn new(
        fleet: String,
        tokens: TokenVerifier,
        (sub_accounts_max, enrolled_only): (u32, bool),
        snowflakes: Arc<Snowflakes>,
        directory: Arc<Directory>,
        store: Store,
    ) -> Self {
        Self {
            fleet,
            tokens,
            sub_accounts_max,
            enrolled_only,
            snowflakes,
            directory,
            store,
        }
    }

    /// The account behind a credential.
    pub async fn authenticate(
        &self,
        request: Authenticate,
        deadline: Deadline,
    ) -> Result<Authenticated, Refusal> {
        let presented = self.identify(&request).inspect_err(|refusal| {
            events::not_authenticated(request.session_id, refusal);
        })?;
        let known = self.account_of(&presented, 0, deadline).await;
        let account = match known {
            // Only who is new needs an id: a fleet that comes back makes thousands of logins a second.
            Err(refusal) if refusal.code == ErrorCode::NoSuchAccount => {
                let id = self.snowflakes.next_id().await?;
                self.account_of(&presented, id, deadline).await?
            }
            known => known?,
        };
        self.directory.remember(std::slice::from_ref(&account));
        events::authenticated(request.session_id, &account);
        Ok(Authenticated {
            account: Some(account),
            good_until_ms: presented.good_until_ms,
            password_generation: presented.password_generation,
        })
    }

    /// `proposed`: the id that it gets if it is new; 0: then there is none.
    async fn account_of(
        &self,
        presented: &Presented,
        proposed: u64,
        deadline: Deadline,
    ) -> Result<Account, Refusal> {
        let ensure = EnsureAccount {
            fleet: self.fleet.clone(),
            kind: presented.identity.kind.into(),
            name: presented.identity.name.clone(),
            proposed_account_id: proposed,
            certificate_serial: presented.certificate_serial.clone(),
            enrolled_only: self.enrolled_only && !presented.certificate_serial.is_empty(),
            password_generation: presented.password_generation,
        };
        let to = To::Any(ensure.name.as_bytes());
        self.store
            .ask(to, method::ENSURE_ACCOUNT, &ensure, deadline)
            .await
    }

    /// A certificate goes before a token: it is what the connection itself was made with.
    fn identify(&self, request: &Authenticate) -> Result<Presented, Refusal> {
        if !request.certificate_subject.is_empty() {
            let identity = identity(&request.certificate_subject, &self.fleet)?;
            return match identity.kind {
                AccountKind::Robot | AccountKind::Planner => Ok(Presented {
                    identity,
                    certificate_serial: request.certificate_serial.clone(),
                    password_generation: 0,
                    good_until_ms: 0,
                }),
                AccountKind::Operator | AccountKind::Unspecified => Err(unauthenticated(
                    "a certificate is for robots and planners; others present a token",
                )),
            };
        }
        if request.token.is_empty() {
            return Err(unauthenticated(
                "no credential: present a client certificate or a token",
            ));
        }
        let (token, number) = sub_account::split(&request.token)
            .map_err(|error| unauthenticated(error.to_string()))?;
        let verified =
            self.tokens
                .examine(token, clock::unix_ms())
                .map_err(|error| match error {
                    TokenError::Expired => Refusal::new(ErrorCode::TokenExpired, error.to_string()),
                    TokenError::Malformed | TokenError::BadSignature => {
                        unauthenticated(error.to_string())
                    }
                })?;
        let identity = identity(verified.subject.as_str(), &self.fleet)?;
        let login = verified.login.filter(|_| number.is_none());
        let presented = |identity| Presented {
            identity,
            certificate_serial: Bytes::new(),
            password_generation: login.map_or(0, |login| login.generation),
            good_until_ms: verified.expires_at_ms,
        };
        if let Some(number) = number {
            return sub_account(&identity, number, self.sub_accounts_max).map(presented);
        }
        match identity.kind {
            AccountKind::Operator | AccountKind::Planner => Ok(presented(identity)),
            AccountKind::Robot | AccountKind::Unspecified => Err(unauthenticated(
                "a token is for operators and planners; robots present a certificate",
            )),
        }
    }
}

/// From `im://FLEET/KIND/NAME`.
fn identity(subject: &str, fleet: &str) -> Result<Identity, Refusal> {
    let malformed = || unauthenticated("the subject is not of the form im://FLEET/KIND/NAME");
    let path = subject.strip_prefix("im://").ok_or_else(malformed)?;
    let mut parts = path.split('/');
    let (Some(of_fleet), Some(kind), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    if of_fleet != fleet {
        return Err(unauthenticated(format!(
            "the credential is of another fleet than `{fleet}`"
        )));
    }
    let kind = match kind {
        "robot" => AccountKind::Robot,
        "operator" => AccountKind::Operator,
        "planner" => AccountKind::Planner,
        _ => return Err(malformed()),
    };
    if !pattern::is_name(name) {
        return Err(unauthenticated(format!(
            "a name is 1 to {ACCOUNT_NAME_BYTES_MAX} of A-Z, a-z, 0-9, `.`, `_` and `-`"
        )));
    }
    Ok(Identity {
        kind,
        name: name.to_owned(),
    })
}

/// A sub-account is an operator as well, by a name that no credential can have.
fn sub_account(of: &Identity, number: u32, count_max: u32) -> Result<Identity, Refusal> {
    match of.kind {
        AccountKind::Operator => {}
        AccountKind::Robot | AccountKind::Planner | AccountKind::Unspecified => {
            return Err(unauthenticated("only operators have sub-accounts"));
        }
    }
    if number >= count_max {
        return Err(unauthenticated(format!(
            "the numbers of sub-accounts are below {count_max} here"
        )));
    }
    let name = sub_account::of(&of.name, number);
    if name.len() > ACCOUNT_NAME_BYTES_MAX {
        return Err(unauthenticated(format!(
            "with the number of the sub-account the name is longer than {ACCOUNT_NAME_BYTES_MAX}"
        )));
    }
    Ok(Identity {
        kind: of.kind,
        name,
    })
}

fn unauthenticated(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_fleet_kind_and_name() {
        let table = [
            ("robot", AccountKind::Robot),
            ("operator", AccountKind::Operator),
            ("planner", AccountKind::Planner),
        ];
        for (word, kind) in table {
            let found = identity(&format!("im://dev/{word}/lift-1.A_b"), "dev").unwrap();
            let name = "lift-1.A_b".to_owned();
            assert_eq!(found, Identity { kind, name });
        }
    }

    #[test]
    fn every_other_subject_is_refused() {
        let long = format!("im://dev/robot/{}", "x".repeat(ACCOUNT_NAME_BYTES_MAX + 1));
        for subject in [
            "",
            "lift-1",
            "im://",
            "im://dev/robot",
            "im://dev/robot/",
            "im://dev/robot/a/b",
            "im://dev/owner/a",
            "im://dev/Robot/a",
            "im://prod/robot/a",
            "im:///robot/a",
            "http://dev/robot/a",
            "im://dev/robot/a b",
            "im://dev/robot/机器人",
            "im://dev/robot/a\0",
            "im://dev/operator/ana~1",
            &long,
        ] {
            let refusal = identity(subject, "dev").unwrap_err();
            assert_eq!(refusal.code, ErrorCode::Unauthenticated, "{subject}");
        }
    }

    #[test]
    fn operators_have_sub_accounts_by_number() {
        let of = |kind, name: &str, number| {
            let name = name.to_owned();
            sub_account(&Identity { kind, name }, number, 10)
        };
        let ninth = of(AccountKind::Operator, "ana", 9).unwrap();
        assert_eq!(
            (ninth.kind, &ninth.name[..]),
            (AccountKind::Operator, "ana~9")
        );
        assert!(of(AccountKind::Operator, "ana", 10).is_err());
        assert!(of(AccountKind::Planner, "planner", 1).is_err());
        let long = "x".repeat(ACCOUNT_NAME_BYTES_MAX - 1);
        assert!(of(AccountKind::Operator, &long, 1).is_err());
    }
}
