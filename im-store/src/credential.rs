//! Credentials as the store keeps them: enrolment tokens, certificates by their serial numbers,
//! what is revoked, hashes of passwords.
//!
//! Pure: what is asked, what is known, and what follows. Not here: SQL, signatures, hashes.

use bytes::Bytes;
use protocol::wire::internal::{Admit, EnrolmentToken, KeepPassword, Revoke};
use protocol::wire::{Account, AccountKind};
use protocol::{ErrorCode, Refusal};

use crate::engine::EngineError;

/// Certificates of one account that are good at once: the present one, the next, and what was signed
/// for a robot that did not hear the answer. One more: the oldest is revoked.
pub const CERTIFICATES_PER_ACCOUNT_MAX: usize = 8;

/// Enrolment tokens that are kept: some 20 MiB. When full, no more are made until some have expired.
pub const ENROLMENT_TOKENS_MAX: u64 = 100_000;

/// How long a token is kept after it has expired, in milliseconds, so that its robot hears why.
pub const TOKEN_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Revocations in one page.
pub const REVOCATIONS_PER_PAGE: u32 = 1024;

/// One change of credentials, in a transaction of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum CredentialChore {
    /// Keeps a token.
    KeepToken(EnrolmentToken),
    /// A certificate is good from now on.
    Admit(Box<Admit>),
    /// None of an account's certificates is.
    Revoke(Revoke),
    /// A password is good from now on.
    KeepPassword(KeepPassword),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CredentialDone {
    /// Whose.
    pub account: Account,
    /// What is revoked now.
    pub revoked: Vec<Bytes>,
    /// Certificates that were good until now.
    pub certificates: u32,
    /// Of a password.
    pub generation: u64,
}

/// What an account's certificate is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The account has never enrolled: whatever the authority has signed is good.
    NotEnrolled,
    /// It has been revoked.
    Revoked,
    /// It has enrolled; whether the certificate is one that is good.
    Enrolled {
        /// Whether.
        is_good: bool,
    },
}

/// A password that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Password {
    /// Whose.
    pub account: Account,
    /// A PHC string.
    pub hash: String,
    /// It is good once, with a new one.
    pub is_one_time: bool,
    /// The account is an owner of the fleet.
    pub is_owner: bool,
    /// Which of the account's passwords it is, from 1.
    pub generation: u64,
}

/// What is read of credentials, beside the writer.
pub trait CredentialReaders {
    /// The token of this digest.
    fn enrolment_token(
        &self,
        digest: &[u8],
    ) -> impl Future<Output = Result<Option<EnrolmentToken>, EngineError>> + Send;

    /// How a certificate of this serial number stands with this account.
    fn standing(
        &self,
        account: u64,
        serial: &[u8],
    ) -> impl Future<Output = Result<Standing, EngineError>> + Send;

    /// The password of an operator.
    fn password(
        &self,
        fleet: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<Password>, EngineError>> + Send;

    /// How often revocations have changed, and a page of those after this entry that are not over.
    fn revocations(
        &self,
        after: &[u8],
        now_ms: u64,
    ) -> impl Future<Output = Result<(u64, Vec<Bytes>), EngineError>> + Send;
}

/// How a certificate is called where revocations are listed.
#[must_use]
pub fn serial_entry(serial: &[u8]) -> Bytes {
    [b"s", serial].concat().into()
}

/// How all certificates of an account are.
#[must_use]
pub fn subject_entry(fleet: &str, account: &Account) -> Bytes {
    let kind = match account.kind() {
        AccountKind::Planner => "planner",
        AccountKind::Operator => "operator",
        AccountKind::Robot | AccountKind::Unspecified => "robot",
    };
    let name = &account.name;
    format!("nim://{fleet}/{kind}/{name}").into_bytes().into()
}

/// Whether a token lets this key in.
///
/// # Errors
/// *Enrolment refused*, which says why.
pub fn check_token(
    token: Option<&EnrolmentToken>,
    admit: &Admit,
    now_ms: u64,
) -> Result<(), Refusal> {
    let refused = |why: &str| Err(Refusal::new(ErrorCode::EnrolmentRefused, why));
    let Some(token) = token else {
        return refused("there is no such enrolment token");
    };
    if token.used_at_ms > 0 && token.used_key != admit.key_digest {
        return refused("the enrolment token has been used");
    }
    if token.expires_at_ms <= now_ms {
        return refused("the enrolment token has expired");
    }
    if token.kind != admit.kind {
        return refused("the enrolment token is for accounts of another kind");
    }
    Ok(())
}

/// Whether who presents a certificate comes in.
///
/// # Errors
/// *Revoked*, or *unauthenticated*.
pub fn check_standing(standing: Standing, enrolled_only: bool) -> Result<(), Refusal> {
    match standing {
        Standing::NotEnrolled if enrolled_only => Err(Refusal::new(
            ErrorCode::Unauthenticated,
            "the account has not enrolled; ask an operator for an enrolment token",
        )),
        Standing::NotEnrolled | Standing::Enrolled { is_good: true } => Ok(()),
        Standing::Revoked => Err(revoked("the account's certificates were revoked")),
        Standing::Enrolled { is_good: false } => {
            Err(revoked("another certificate took this one's place"))
        }
    }
}

fn revoked(why: &str) -> Refusal {
    Refusal::new(ErrorCode::Revoked, format!("{why}; enrol again"))
}

/// Whether a password may take the place of what there is.
///
/// # Errors
/// *Already initialised*, *no such account*, or *unauthenticated* when it was overtaken.
pub fn check_password(
    keep: &KeepPassword,
    first_owner: Option<u64>,
    present: Option<u64>,
) -> Result<(), Refusal> {
    if keep.first_owner && first_owner.is_some() {
        return Err(Refusal::new(
            ErrorCode::AlreadyInitialised,
            "the fleet has its first owner already",
        ));
    }
    if keep.instead_of != 0 && present != Some(keep.instead_of) {
        return Err(Refusal::new(
            ErrorCode::Unauthenticated,
            "another password was set meanwhile",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> EnrolmentToken {
        EnrolmentToken {
            kind: AccountKind::Robot.into(),
            expires_at_ms: 100,
            ..EnrolmentToken::default()
        }
    }

    fn admit(key: &'static [u8]) -> Admit {
        Admit {
            kind: AccountKind::Robot.into(),
            key_digest: Bytes::from_static(key),
            ..Admit::default()
        }
    }

    #[test]
    fn a_token_lets_one_key_in_until_it_expires() {
        let why = |token: Option<&EnrolmentToken>, key, now_ms| {
            check_token(token, &admit(key), now_ms).map_err(|refusal| refusal.message)
        };
        assert_eq!(why(Some(&token()), b"a", 99), Ok(()));
        assert!(why(None, b"a", 99).unwrap_err().contains("no such"));
        assert!(
            why(Some(&token()), b"a", 100)
                .unwrap_err()
                .contains("expired")
        );
        let used = EnrolmentToken {
            used_at_ms: 50,
            used_key: Bytes::from_static(b"a"),
            ..token()
        };
        assert_eq!(why(Some(&used), b"a", 99), Ok(()), "a repeat");
        assert!(why(Some(&used), b"b", 99).unwrap_err().contains("used"));
        let other = EnrolmentToken {
            kind: AccountKind::Planner.into(),
            ..token()
        };
        assert!(why(Some(&other), b"a", 99).unwrap_err().contains("kind"));
    }

    #[test]
    fn who_has_enrolled_comes_in_only_with_what_is_good() {
        let code = |standing, only| check_standing(standing, only).err().map(|r| r.code);
        let good = |is_good| Standing::Enrolled { is_good };
        assert_eq!(code(Standing::NotEnrolled, false), None);
        let not_enrolled = code(Standing::NotEnrolled, true);
        assert_eq!(not_enrolled, Some(ErrorCode::Unauthenticated));
        assert_eq!(code(Standing::Revoked, false), Some(ErrorCode::Revoked));
        assert_eq!(code(good(false), false), Some(ErrorCode::Revoked));
        assert_eq!(code(good(true), true), None);
    }

    #[test]
    fn there_is_one_first_owner_and_no_password_is_overwritten_unseen() {
        let first = KeepPassword {
            first_owner: true,
            ..KeepPassword::default()
        };
        assert!(check_password(&first, None, None).is_ok());
        let again = check_password(&first, Some(7), None).unwrap_err();
        assert_eq!(again.code, ErrorCode::AlreadyInitialised);
        let later = KeepPassword {
            instead_of: 2,
            ..KeepPassword::default()
        };
        assert!(check_password(&later, Some(7), Some(2)).is_ok());
        assert!(check_password(&later, Some(7), Some(3)).is_err());
    }
}
