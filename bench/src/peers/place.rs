//! Where a peer runs: a private folder, a free port, a certificate, and its configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use deploy::authority::Authority;
use service_kit::clock;

use super::process::free_port;
use super::{Clients, Target};

/// A name in the servers' certificates.
const SERVER_NAME: &str = "localhost";

/// Gone, with everything in it, when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    folder: tempfile::TempDir,
    port: u16,
    authority: Authority,
}

impl Place {
    /// A new one, with a certificate of an authority of its own.
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::open(&folder.path().join("authority"), clock::unix_ms())?;
        Ok(Self {
            port: free_port()?,
            authority,
            folder,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Writes a configuration into the folder. In its template stands `@NAME@` for what differs from
    /// start to start: the port, the certificate and its key, the authority, and `more`.
    pub(super) fn configure(
        &self,
        file: &str,
        template: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<PathBuf> {
        let shown = |path: &Path| path.display().to_string();
        let files = self.authority.public_certificate();
        let known = [
            ("PORT", self.port.to_string()),
            ("CERTIFICATE", shown(&files.certificate)),
            ("KEY", shown(&files.key)),
            ("CA", shown(&self.authority.fleet_ca())),
        ];
        let mut text = template.to_owned();
        let known = known.iter().map(|(name, value)| (*name, &value[..]));
        for (name, value) in known.chain(more.iter().copied()) {
            text = text.replace(&format!("@{name}@"), value);
        }
        ensure!(
            !text.contains('@'),
            "{file} has a name that nobody fills in"
        );
        let path = self.path().join(file);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// How these clients come here.
    pub(super) fn target(&self, clients: Clients) -> Target {
        Target {
            address: self.address(),
            server_name: SERVER_NAME.to_owned(),
            ca: self.authority.fleet_ca(),
            alpn: None,
            line_before_tls: false,
            acknowledges: true,
            clients,
        }
    }
}
