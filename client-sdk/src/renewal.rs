//! The credential after the present one, in time and over the session that the present one made: the
//! certificate of an [`Identity`], the token of a [`Login`].
//!
//! A task of its own beside the client's, which ends with it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use protocol::wire::change_credentials::Change;
use protocol::wire::credentials_changed::Result as Changed;
use protocol::wire::{RefreshToken, RenewCertificate};
use rand::RngExt as _;

use crate::client::{Client, Inner};
use crate::config::Credential;
use crate::connection::Dialer;
use crate::enrolment::Login;
use crate::error::Error;
use crate::events;
use crate::identity::{Identity, Key};

/// The wait after an attempt that failed, at first; it doubles.
const AGAIN_FIRST: Duration = Duration::from_secs(1);

/// And at most.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// Attempts are spread over this part of what is left, so that a fleet does not come at once.
const SPREAD: f64 = 0.2;

/// What is renewed.
enum Present {
    Identity(Box<Identity>),
    Login(Login),
}

/// Starts it, if there is anything to renew.
pub(crate) fn start(credential: &Credential, inner: &Arc<Inner>, dialer: Arc<Dialer>) {
    let present = match credential {
        Credential::Identity(identity) => Present::Identity(identity.clone()),
        Credential::Login(login) => Present::Login(login.clone()),
        Credential::Certificate { .. } | Credential::Token(_) => return,
    };
    let mut ended = inner.shared().sessions.subscribe();
    let keeping = keep(present, Arc::downgrade(inner), dialer);
    tokio::spawn(async move {
        tokio::select! {
            () = keeping => {}
            _ = ended.wait_for(|session| *session == u64::MAX) => {}
        }
    });
}

async fn keep(mut present: Present, inner: Weak<Inner>, dialer: Arc<Dialer>) {
    let mut again = AGAIN_FIRST;
    let mut failed = false;
    loop {
        let wait = {
            let Some(inner) = inner.upgrade() else {
                return;
            };
            let now_ms = inner.shared().server_time_ms();
            match present.due(now_ms) {
                Some(_) if failed => again,
                Some(due) => due,
                None => return,
            }
        };
        tokio::time::sleep(wait).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        match present.renew(&Client::of(inner)).await {
            Ok(renewed) => {
                if let Err(error) = dialer.set_credential(&renewed.credential()) {
                    events::not_renewed(&error);
                } else {
                    events::renewed(renewed.expires_at_ms());
                }
                present = renewed;
                (again, failed) = (AGAIN_FIRST, false);
            }
            Err(Error::Closed) => return,
            Err(error) => {
                // Also when it was refused: somebody may mend it before the certificate ends.
                events::not_renewed(&error);
                if failed {
                    again = (again * 2).min(AGAIN_MAX);
                }
                failed = true;
            }
        }
    }
}

impl Present {
    /// How long until it is to be renewed; `None`: it cannot be.
    fn due(&self, now_ms: u64) -> Option<Duration> {
        let (renew_at_ms, expires_at_ms) = match self {
            Self::Identity(identity) => (identity.renew_at_ms(), identity.expires_at_ms()),
            Self::Login(login) => (login.refresh_at_ms, login.expires_at_ms),
        };
        if renew_at_ms == 0 {
            return None;
        }
        let left = Duration::from_millis(expires_at_ms.saturating_sub(renew_at_ms));
        let spread = left.mul_f64(rand::rng().random_range(0.0..SPREAD));
        Some(Duration::from_millis(renew_at_ms.saturating_sub(now_ms)) + spread)
    }

    async fn renew(&self, client: &Client) -> Result<Self, Error> {
        match self {
            Self::Identity(identity) => {
                let key = Key::new()?;
                let renew = RenewCertificate {
                    certificate_request: key.request()?.into(),
                };
                let changed = client.change(Change::RenewCertificate(renew)).await?;
                let Changed::CertificateRenewed(enrolled) = changed else {
                    return Err(Error::Protocol("another answer was asked for".into()));
                };
                let (folder, known) = (identity.folder(), identity.authorities());
                let renewed = Identity::store(folder, &key, &enrolled, known)?;
                Ok(Self::Identity(Box::new(renewed)))
            }
            Self::Login(login) => {
                let refresh = RefreshToken {
                    token: login.token.clone(),
                };
                let changed = client.change(Change::RefreshToken(refresh)).await?;
                let Changed::TokenRefreshed(told) = changed else {
                    return Err(Error::Protocol("another answer was asked for".into()));
                };
                let refreshed = Login::of(told, login.file.clone());
                refreshed.write()?;
                Ok(Self::Login(refreshed))
            }
        }
    }

    fn credential(&self) -> Credential {
        match self {
            Self::Identity(identity) => Credential::Identity(identity.clone()),
            Self::Login(login) => Credential::Login(login.clone()),
        }
    }

    const fn expires_at_ms(&self) -> u64 {
        match self {
            Self::Identity(identity) => identity.expires_at_ms(),
            Self::Login(login) => login.expires_at_ms,
        }
    }
}
