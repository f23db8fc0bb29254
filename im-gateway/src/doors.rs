//! How many connections there may be, on whichever listener they come: all of them, and those that
//! nobody has been seen behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::LimitsConfig;
use crate::events;

/// Counts connections. When the limit is reached, new ones are closed as they come.
#[derive(Debug)]
pub struct Doors {
    open: AtomicUsize,
    most: usize,
    half_open: Arc<Semaphore>,
}

/// One connection.
#[derive(Debug)]
pub struct Place(Arc<Doors>);

impl Doors {
    /// With nobody in.
    #[must_use]
    pub fn new(limits: &LimitsConfig) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            most: limits.connections_max,
            half_open: Arc::new(Semaphore::new(limits.half_open_max)),
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
