//! For tests of what rests on this crate: an internal authority that signs tiers' certificates,
//! private Redis servers, and whether what is asked by HTTP is documented.
//!
//! Behind the feature `testing`, so that no process carries it.

mod documented;
mod redis_server;

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

pub use self::documented::assert_documented;
pub use self::redis_server::{RedisCluster, RedisSentinels, RedisServer, free_port};
use crate::config::InternalTlsConfig;

/// An authority that signs the ends of links.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, unlike any other.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the system has randomness");
        Self(CertifiedIssuer::self_signed(params, key).expect("plain parameters are signed"))
    }

    /// A new certificate for the tier of this name, as files in `folder`.
    ///
    /// # Panics
    /// If the name is no DNS name or the folder takes no files.
    #[must_use]
    pub fn files(&self, folder: &Path, name: &str) -> InternalTlsConfig {
        let key = KeyPair::generate().expect("the system has randomness");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a DNS name");
        let certificate = params.signed_by(&key, &self.0).expect("it is signed");
        let write = |kind: &str, pem: String| {
            let path = folder.join(format!("{name}.{kind}"));
            std::fs::write(&path, pem).expect("the folder takes files");
            path
        };
        InternalTlsConfig {
            ca: write("ca", self.0.pem()),
            certificate: write("pem", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}
