//! The proxy as a process, and the mock behind it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use llm_bridge::config::{Config, DEFAULTS};
use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::server::MockProvider;
use llm_bridge::provider::{ProviderKind, Service};
use llm_bridge::proxy::SUBJECT_PREFIX;
use llm_bridge::proxy::account::Line;
use serde_json::Value;
use service_kit::token::TokenSigner;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{REAL_KEY, WITHIN};

/// A proxy, and the mock behind it.
pub(crate) struct Running {
    pub(crate) mock: MockProvider,
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
}

/// An address of this machine that nobody has.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Makes a pair of keys.
pub(crate) async fn new_keys(folder: &Path) {
    let made = Command::new(env!("CARGO_BIN_EXE_openai-proxy"))
        .args(["--new-keys", &folder.display().to_string()])
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

impl Running {
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        new_keys(folder.path()).await;
        std::fs::write(folder.path().join("openai.key"), REAL_KEY).unwrap();
        let mock = MockProvider::new(Brand::Openai, REAL_KEY);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = mock.base_url(listener.local_addr().unwrap());
        tokio::spawn(mock.clone().serve(listener));
        let address = free_address();
        let child = Self::spawn(folder.path(), address, &upstream, variables);
        let running = Self {
            mock,
            folder,
            address,
            child,
        };
        running.ready().await;
        running
    }

    pub(crate) fn spawn(
        folder: &Path,
        address: SocketAddr,
        upstream: &str,
        more: &[(&str, &str)],
    ) -> Child {
        let mut log = std::fs::OpenOptions::new();
        let log = log
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_openai-proxy"));
        command
            .env_clear()
            .current_dir(folder)
            .env("OPENAI_PROXY__LISTEN__ADDRESS", address.to_string())
            .env("OPENAI_PROXY__ADMIN__LISTEN", free_address().to_string())
            .env("OPENAI_PROXY__UPSTREAM__BASE_URL", upstream)
            .env("OPENAI_PROXY__LOG__FILTER", "trace");
        for (key, value) in more {
            command.env(format!("OPENAI_PROXY__{key}"), value);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    pub(crate) async fn ready(&self) {
        let connects = async {
            while tokio::net::TcpStream::connect(self.address).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WITHIN, connects).await.unwrap();
    }

    pub(crate) fn signing_key(&self) -> PathBuf {
        self.folder.path().join("proxy-signing.pem")
    }

    pub(crate) fn key(&self, client: &str, issued_at_ms: u64) -> String {
        let signer = TokenSigner::from_pem(&self.signing_key()).unwrap();
        signer.sign(&format!("{SUBJECT_PREFIX}{client}"), issued_at_ms, 300_000)
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        // It fails when it was set before, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/v1{path}", self.address);
        let sent = http
            .post(url)
            .bearer_auth(key)
            .json(body)
            .send()
            .await
            .unwrap();
        let status = sent.status().as_u16();
        (status, sent.json().await.unwrap_or_default())
    }

    /// The bridge's own client, by base URL and a signing key.
    pub(crate) fn service(&self) -> Service {
        let defaults: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        let mut config = defaults.providers["openai"].clone();
        config.base_url = format!("http://{}/v1", self.address);
        config.signing_key = self.signing_key().display().to_string();
        assert_eq!(config.kind, ProviderKind::Openai);
        Service::new("openai", "providers.openai", &config, String::new()).unwrap()
    }

    /// The lines of the account, once there are so many.
    pub(crate) async fn lines(&self, count: usize) -> Vec<Line> {
        let file = self.folder.path().join("openai-proxy-account.csv");
        let written = async {
            loop {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let lines: Vec<Line> = text.lines().filter_map(Line::parse).collect();
                if lines.len() >= count {
                    return lines;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WITHIN, written).await.unwrap()
    }

    /// Ends the process and returns everything that it has said.
    pub(crate) async fn end(mut self) -> String {
        self.child.kill().await.unwrap();
        said(self.folder.path())
    }
}

/// What the processes of this folder have said.
pub(crate) fn said(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap()
}
