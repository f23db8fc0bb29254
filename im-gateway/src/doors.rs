//! How many connections there may be, on whichever listener they come: all of them, those that
//! nobody has been seen behind, and of these the ones from one address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::addresses::{Addresses, Allowances};
use crate::config::LimitsConfig;
use crate::events;
use crate::failures::Failures;

/// Connections beyond the allowance of their address that are told so at once; those beyond that are
/// closed without a word, which costs no handshake.
const TOLD_AT_ONCE_MAX: usize = 32;

/// How long one waits whose address has too many connections, in milliseconds.
pub const ADDRESS_RETRY_AFTER_MS: u32 = 1000;

/// Counts connections. When a limit is reached, new ones are closed as they come.
#[derive(Debug)]
pub struct Doors {
    open: AtomicUsize,
    most: usize,
    half_open: Arc<Semaphore>,
    allowances: Allowances,
    addresses: Mutex<Addresses>,
    told: Arc<Semaphore>,
    /// Logins that failed.
    pub(crate) failures: Mutex<Failures>,
}

/// One connection.
#[derive(Debug)]
pub struct Place(Arc<Doors>);

/// One connection that nobody has been seen behind. Dropped, it is none any more.
#[derive(Debug)]
pub struct HalfOpen {
    doors: Arc<Doors>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

/// What becomes of a connection at the door.
#[derive(Debug)]
pub enum Entrance {
    /// It may introduce itself.
    Open(HalfOpen),
    /// It is told that there are too many from its address.
    Told(OwnedSemaphorePermit),
    /// It is closed.
    Closed,
}

impl Doors {
    /// With nobody in.
    ///
    /// # Panics
    /// When a network makes no sense, which [`crate::config::Config::check`] finds before.
    #[must_use]
    pub fn new(limits: &LimitsConfig) -> Arc<Self> {
        let allowances = limits.allowances();
        Arc::new(Self {
            open: AtomicUsize::new(0),
            most: limits.connections_max,
            half_open: Arc::new(Semaphore::new(limits.half_open_max)),
            allowances: allowances.expect("the configuration was checked when it was read"),
            addresses: Mutex::default(),
            told: Arc::new(Semaphore::new(TOLD_AT_ONCE_MAX)),
            failures: Mutex::default(),
        })
    }

    /// Waits for a place among those without a session. Cancel-safe.
    ///
    /// # Panics
    /// Never: the semaphore is never closed.
    pub async fn half_open(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.half_open)
            .acquire_owned()
            .await
            .expect("this semaphore is never closed")
    }

    /// The same without waiting.
    #[must_use]
    pub fn try_half_open(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.half_open).try_acquire_owned().ok()
    }

    /// Whether a connection from there may use this place.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr, permit: OwnedSemaphorePermit) -> Entrance {
        let most = self.allowances.of(address);
        if self.addresses.lock().enter(address, most) {
            return Entrance::Open(HalfOpen {
                doors: Arc::clone(self),
                address,
                _permit: permit,
            });
        }
        events::connection_refused("address");
        match Arc::clone(&self.told).try_acquire_owned() {
            Ok(permit) => Entrance::Told(permit),
            Err(_) => Entrance::Closed,
        }
    }

    /// A place for a connection; `None`: all are taken. Dropped, it is given back.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        events::connections(before + 1);
        (before < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::Relaxed);
        events::connections(before.saturating_sub(1));
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.doors.addresses.lock().leave(self.address);
    }
}
