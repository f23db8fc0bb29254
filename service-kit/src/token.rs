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

/// Verifies tokens.
#[derive(Debug, Clone)]
pub struct TokenVerifier(Vec<u8>);

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
        let claims = Claims {
            sub: subject.into(),
            iat: issued_at_ms / 1000,
            exp: issued_at_ms.saturating_add(lifetime_ms) / 1000,
        };
        let claims = serde_json::to_vec(&claims).expect("three plain fields always serialise");
        let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(&claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    }
}

impl TokenVerifier {
    /// From a PEM file with the public key.
    pub fn from_pem(path: &Path) -> Result<Self, KeyError> {
        let malformed = || KeyError::Pem(path.display().to_string());
        let pem = read_file("tokens.public_key", path)?;
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem).map_err(|_| malformed())?;
        der.strip_prefix(&ED25519_SPKI_PREFIX)
            .filter(|key| key.len() == 32)
            .map(|key| Self(key.to_vec()))
            .ok_or_else(malformed)
    }

    /// The subject of a good token.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Subject, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if header != encode(HEADER.as_bytes()) {
            return Err(TokenError::Malformed);
        }
        let signature = decode(signature)?;
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::BadSignature)?;
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        if now_ms / 1000 >= claims.exp {
            Err(TokenError::Expired)
        } else {
            Ok(Subject(claims.sub))
        }
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
