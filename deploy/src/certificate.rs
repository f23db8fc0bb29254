//! X.509 certificates of a development cluster as PEM texts. No files, no clock.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use x509_parser::pem::parse_x509_pem;

/// Certificates are good from a little before they are made, in milliseconds: the clocks of robots
/// differ.
const BACKDATE_MS: u64 = 60 * 60 * 1000;

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// A public server of these names or addresses.
    Server(&'a [&'a str]),
    /// Both ends of internal links of this tier.
    Tier(&'a str),
    /// A robot of a fleet.
    Robot {
        /// The fleet.
        fleet: &'a str,
        /// The robot's account.
        name: &'a str,
    },
}

impl fmt::Display for Purpose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(names) => f.write_str(names.first().copied().unwrap_or("server")),
            Self::Tier(name) | Self::Robot { name, .. } => f.write_str(name),
        }
    }
}

/// An authority: its certificate and key.
pub fn self_signed(
    name: &str,
    from_ms: u64,
    until_ms: u64,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = authority_params(name);
    validity(&mut params, from_ms, until_ms);
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A certificate and its key, signed by the authority of this name and key.
pub fn signed(
    authority: &str,
    authority_key: &KeyPair,
    purpose: Purpose<'_>,
    from_ms: u64,
    until_ms: u64,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = leaf_params(purpose)?;
    validity(&mut params, from_ms, until_ms);
    let issuer_params = authority_params(authority);
    let issuer = Issuer::from_params(&issuer_params, authority_key);
    let certificate = params.signed_by(&key, &issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// When the first certificate of a PEM text expires, in milliseconds since the Unix epoch.
#[must_use]
pub fn expires_at_ms(pem: &[u8]) -> Option<u64> {
    let (_, pem) = parse_x509_pem(pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    u64::try_from(certificate.validity().not_after.timestamp())
        .ok()?
        .checked_mul(1000)
}

/// The same for each call, so that an authority is known by its name and key alone.
fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("swarm development {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(purpose: Purpose<'_>) -> Result<CertificateParams, rcgen::Error> {
    let (server, client) = (
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let mut params = match purpose {
        Purpose::Server(names) => {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            CertificateParams::new(names)?
        }
        Purpose::Tier(name) => CertificateParams::new(vec![name.to_owned()])?,
        Purpose::Robot { fleet, name } => {
            let mut params = CertificateParams::default();
            let uri = format!("im://{fleet}/robot/{name}");
            params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
            params
        }
    };
    params.extended_key_usages = match purpose {
        Purpose::Server(_) => vec![server],
        Purpose::Tier(_) => vec![server, client],
        Purpose::Robot { .. } => vec![client],
    };
    params.distinguished_name = named(&purpose.to_string());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn validity(params: &mut CertificateParams, from_ms: u64, until_ms: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_millis(from_ms.saturating_sub(BACKDATE_MS));
    params.not_after = epoch + Duration::from_millis(until_ms);
}
