//! One of a host's connections, for one question.
//!
//! A question that is given up half-way (its time is over, its asker is gone) leaves a connection in
//! which an answer is still to come, or a transaction stands open that nobody knows of: the driver
//! counts a transaction from the answer to BEGIN. Its next user would be shown the past. So only
//! what was answered goes back to the others.

use std::ops::{Deref, DerefMut};

use sqlx::mysql::{MySqlConnection, MySqlPool};
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, MySql, Transaction};

/// Dropped before it is given back, it is closed.
pub(super) struct Lease(Option<PoolConnection<MySql>>);

impl Lease {
    /// Waits for a connection that is free.
    pub(super) async fn take(pool: &MySqlPool) -> Result<Self, sqlx::Error> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// A transaction, which has to be committed before this is given back.
    pub(super) async fn begin(&mut self) -> Result<Transaction<'_, MySql>, sqlx::Error> {
        let connection: &mut MySqlConnection = self;
        connection.begin().await
    }

    /// The question was answered, and nothing is left of it.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Lease {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        self.0.as_ref().expect("given back only by value")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        self.0.as_mut().expect("given back only by value")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
