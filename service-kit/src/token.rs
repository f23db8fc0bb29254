//! Signed, expiring tokens: JWTs (RFC 7519) signed with EdDSA over Ed25519 (RFC 8037).
//!
//! Exactly one header is written and accepted, so that no algorithm is ever read from a token.
//! Not here: what a subject may do.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{ConfigError, read_file};

/// The one header, as it is signed.
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// What precedes the 32 bytes of an Ed25519 key in its DER form (RFC 8410).
const ED25519_SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A token that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It has not the form of our tokens.
    #[error("the token is malformed")]
    Malformed,
    /// It was not signed by the authority, or changed since.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// It was good.
    #[error("the token has expired")]
    Expired,
}

/// A key that cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// It holds no Ed25519 key.
    #[error("{0} holds no Ed25519 key in PEM")]
    Pem(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since the Unix epoch, as the standard has it.
    iat: u64,
    exp: u64,
    /// Of a login: which password, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r#gen: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
}

/// What a token says of the login that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginClaims {
    /// Which of the account's passwords it was, from 1.
    pub generation: u64,
    /// When, in milliseconds since the Unix epoch; kept in seconds.
    pub at_ms: u64,
}

/// All that a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whom it speaks for.
    pub subject: Subject,
    /// Until when, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// Of the login that it came from; none: it was signed by who has the key.
    pub login: Option<LoginClaims>,
}

/// Whom a verified token speaks for. Only [`TokenVerifier::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.0
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Signs tokens.
#[derive(Debug)]
pub struct TokenSigner(Ed25519KeyPair);

/// Verifies tokens, by any of its keys.
#[derive(Debug, Clone)]
pub struct TokenVerifier(Vec<Vec<u8>>);

impl TokenSigner {
    /// From a PKCS#8 PEM file.
    pub fn from_pem(path: &Path) -> Result<Self, KeyError> {
        let malformed = || KeyError::Pem(path.display().to_string());
        let pem = read_file("the token key", path)?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| malformed())?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| malformed())
    }

    /// A token for `subject`, good for `lifetime_ms` from `issued_at_ms`.
    #[must_use]
    pub fn sign(&self, subject: &str, issued_at_ms: u64, lifetime_ms: u64) -> String {
        self.sign_claims(&claims(subject, issued_at_ms, lifetime_ms))
    }

    /// The same of a login.
    #[must_use]
    pub fn sign_login(
        &self,
        subject: &str,
        issued_at_ms: u64,
        lifetime_ms: u64,
        login: LoginClaims,
    ) -> String {
        self.sign_claims(&Claims {
            r#gen: Some(login.generation),
            auth_time: Some(login.at_ms / 1000),
            ..claims(subject, issued_at_ms, lifetime_ms)
        })
    }

    fn sign_claims(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("plain fields always serialise");
        let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(&claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    }
}

impl TokenVerifier {
    /// From a PEM file with the public key, or with several of them, while one takes another's
    /// place.
    pub fn from_pem(path: &Path) -> Result<Self, KeyError> {
        let malformed = || KeyError::Pem(path.display().to_string());
        let pem = read_file("tokens.public_key", path)?;
        let mut keys = Vec::new();
        for der in SubjectPublicKeyInfoDer::pem_slice_iter(&pem) {
            let der = der.map_err(|_| malformed())?;
            let key = der.strip_prefix(&ED25519_SPKI_PREFIX);
            let key = key.filter(|key| key.len() == 32).ok_or_else(malformed)?;
            keys.push(key.to_vec());
        }
        if keys.is_empty() {
            return Err(malformed());
        }
        Ok(Self(keys))
    }

    /// The subject of a good token.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Subject, TokenError> {
        self.examine(token, now_ms).map(|verified| verified.subject)
    }

    /// All that a good token says.
    pub fn examine(&self, token: &str, now_ms: u64) -> Result<Verified, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if header != encode(HEADER.as_bytes()) {
            return Err(TokenError::Malformed);
        }
        let signature = decode(signature)?;
        let is_signed = self.0.iter().any(|key| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            key.verify(signed.as_bytes(), &signature).is_ok()
        });
        if !is_signed {
            return Err(TokenError::BadSignature);
        }
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        if now_ms / 1000 >= claims.exp {
            return Err(TokenError::Expired);
        }
        let login = claims.r#gen.map(|generation| LoginClaims {
            generation,
            at_ms: claims.auth_time.unwrap_or(claims.iat).saturating_mul(1000),
        });
        Ok(Verified {
            subject: Subject(claims.sub),
            expires_at_ms: claims.exp.saturating_mul(1000),
            login,
        })
    }
}

/// A new key pair: the private key as PKCS#8, the public one as `SubjectPublicKeyInfo`, both PEM.
///
/// # Panics
/// If the system has no randomness; nothing safe could go on without it.
#[must_use]
pub fn generate_key_pair() -> (String, String) {
    let pkcs8 =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the system has randomness");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a new key is a good key");
    let mut public = ED25519_SPKI_PREFIX.to_vec();
    public.extend_from_slice(pair.public_key().as_ref());
    (
        pem("PRIVATE KEY", pkcs8.as_ref()),
        pem("PUBLIC KEY", &public),
    )
}

fn claims(subject: &str, issued_at_ms: u64, lifetime_ms: u64) -> Claims {
    Claims {
        sub: subject.into(),
        iat: issued_at_ms / 1000,
        exp: issued_at_ms.saturating_add(lifetime_ms) / 1000,
        r#gen: None,
        auth_time: None,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = String::new();
    // Base64 is ASCII: every 64 bytes are 64 characters.
    for start in (0..text.len()).step_by(64) {
        lines.push_str(&text[start..text.len().min(start + 64)]);
        lines.push('\n');
    }
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (TokenSigner, TokenVerifier) {
        let (private, public) = generate_key_pair();
        let folder = tempfile::tempdir().unwrap();
        let (private_path, public_path) = (folder.path().join("k"), folder.path().join("p"));
        std::fs::write(&private_path, private).unwrap();
        std::fs::write(&public_path, public).unwrap();
        (
            TokenSigner::from_pem(&private_path).unwrap(),
            TokenVerifier::from_pem(&public_path).unwrap(),
        )
    }

    #[test]
    fn a_token_names_its_subject_until_it_expires() {
        let (signer, verifier) = keys();
        let token = signer.sign("someone", 1_000_000, 60_000);
        let subject = verifier.verify(&token, 1_059_999).unwrap();
        assert_eq!(subject.as_str(), "someone");
        assert_eq!(verifier.verify(&token, 1_060_000), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_says_which_login_it_came_from() {
        let (signer, verifier) = keys();
        let login = LoginClaims {
            generation: 3,
            at_ms: 900_000,
        };
        let token = signer.sign_login("someone", 1_000_000, 60_000, login);
        let verified = verifier.examine(&token, 1_000_000).unwrap();
        assert_eq!(verified.login, Some(login));
        assert_eq!(verified.expires_at_ms, 1_060_000);
        let plain = signer.sign("someone", 1_000_000, 60_000);
        assert_eq!(verifier.examine(&plain, 1_000_000).unwrap().login, None);
    }

    #[test]
    fn two_keys_are_good_while_one_takes_the_others_place() {
        let folder = tempfile::tempdir().unwrap();
        let (paths, pairs) = (["a", "b"], [generate_key_pair(), generate_key_pair()]);
        let both = folder.path().join("both");
        std::fs::write(&both, format!("{}{}", pairs[0].1, pairs[1].1)).unwrap();
        let verifier = TokenVerifier::from_pem(&both).unwrap();
        for (path, (private, _)) in paths.iter().zip(&pairs) {
            let path = folder.path().join(path);
            std::fs::write(&path, private).unwrap();
            let token = TokenSigner::from_pem(&path).unwrap().sign("s", 0, 60_000);
            assert!(verifier.verify(&token, 0).is_ok());
        }
    }

    #[test]
    fn what_was_not_signed_here_is_refused() {
        let (signer, verifier) = keys();
        let token = signer.sign("someone", 0, 60_000);
        let (_, other) = keys();
        assert_eq!(other.verify(&token, 0), Err(TokenError::BadSignature));

        let parts: Vec<_> = token.split('.').collect();
        let forged = encode(br#"{"sub":"owner","iat":0,"exp":9999999999}"#);
        let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
        assert_eq!(verifier.verify(&forged, 0), Err(TokenError::BadSignature));

        let none = encode(br#"{"alg":"none","typ":"JWT"}"#);
        for bad in [
            "",
            ".",
            "a.b.c",
            &format!("{none}.{}.", parts[1]),
            &"x".repeat(5000),
        ] {
            assert_eq!(
                verifier.verify(bad, 0),
                Err(TokenError::Malformed),
                "{bad:.20}"
            );
        }
    }
}
