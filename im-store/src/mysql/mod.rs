//! The MySQL-protocol engine: one server or a cluster, several stores; InnoDB syncs at every commit.
//!
//! [`MySqlEngine`] is the writer's one connection, to one host until that fails: `batch` looks up
//! and commits messages, `groups` who is in what, `amend` takes back and drops, `chores` does the
//! rare writes, `commands` those of commands, `schema` the tables, `backup` copies them, `session`
//! has the settings. [`MySqlReaders`] are the connections that only read, `pages` what they read of
//! a history. Whatever another owner was in the way of (deadlock, lock wait,
//! certification, a key that is taken) is *lost*, at COMMIT too, and decided anew. What becomes of
//! a message is decided in [`crate::shard`]. Longer than 400 lines: the list of the parts, and the
//! connection that they share.

mod address;
mod amend;
#[path = "../sql/audit.rs"]
mod audit;
pub(crate) mod backup;
mod batch;
#[path = "../sql/cards.rs"]
mod cards;
mod chores;
mod command_readers;
mod commands;
#[path = "../sql/create_group.rs"]
mod create_group;
mod credential_readers;
#[path = "../sql/credential_reads.rs"]
mod credential_reads;
#[path = "../sql/credentials.rs"]
mod credentials;
#[path = "../sql/estops.rs"]
mod estops;
mod groups;
mod hosts;
mod lacking;
mod lease;
#[path = "../sql/media.rs"]
mod media;
mod media_readers;
mod outcomes;
mod pages;
mod readers;
mod schema;
mod search;
mod session;
#[cfg(feature = "testing")]
pub mod testing;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::time::Duration;

use protocol::{ConversationId, Refusal};
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};

pub use address::{Address, AddressError};
pub use hosts::MySqlReaders;
pub use schema::SCHEMA_VERSION;
pub use session::{IDLE_WRITE_TIMEOUT_S, LOCK_WAIT_TIMEOUT_S, PACKET_BYTES_MIN};

use crate::engine::{Chore, Done, Engine, EngineError};
use crate::events;
use crate::shard::{Append, BatchPlan, ConversationState, Known};

/// Rows in one statement: a statement binds at most 65,535 values, and a message has nine.
const ROWS_PER_STATEMENT_MAX: usize = 512;

/// A look-up, a write or a COMMIT without an answer for this long has lost its connection. Above
/// the lock wait, far below the senders' timeouts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// The wait before the second attempt to connect; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest wait before an attempt to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Begins a transaction, and marks it. A node of a cluster breaks transactions off for the sake of
/// others', and has been seen to commit a later statement of such a one by itself. Without autocommit
/// what follows is another transaction, and that one has no mark.
const BEGIN: &str = "SET SESSION autocommit = 0; START TRANSACTION; SAVEPOINT whole";

/// Commits what began with the mark.
const COMMIT: &str = "RELEASE SAVEPOINT whole; COMMIT; SET SESSION autocommit = 1";

const ROLLBACK: &str = "ROLLBACK; SET SESSION autocommit = 1";

/// The longest wait after a loss to an owner on another node, where no lock gives each its turn.
/// Long enough for the other to commit.
const CONTENTION_WAIT_MAX: Duration = Duration::from_millis(30);

/// What the statements in `../sql` run on: those files are compiled once for each engine.
type Connection = MySqlConnection;

/// The name of a fleet or an account, as its column has it.
fn name_value(name: &str) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// The writer's connection to a server. A call that ends early (an error, a dropped future) takes
/// its connection with it: the server rolls back, and the next call connects anew.
#[derive(Debug)]
pub struct MySqlEngine {
    address: Address,
    /// Which of its hosts is connected to, or next.
    host: usize,
    /// Between calls; none when it was lost.
    idle: Option<MySqlConnection>,
    /// Between a look-up and its commit, when the look-up holds the heads.
    holding: Option<MySqlConnection>,
    /// Whether the last transaction was lost.
    lost: bool,
    /// The heads of an attempt that was lost or left unsettled, or for which we were told to. The
    /// next look-up fences them, so that what it finds is final; and holds them, so that nobody on
    /// the same server is faster.
    contended: BTreeSet<ConversationId>,
    /// Attempts to connect that failed since the last that did not.
    failures: u32,
    commits: u64,
}

impl MySqlEngine {
    /// Connects, makes the tables when there are none, and checks that they are ours.
    ///
    /// # Errors
    /// Also when the server is set to something with which it may lose what we store.
    pub async fn open(address: &Address) -> Result<Self, EngineError> {
        let mut engine = Self {
            address: address.clone(),
            host: 0,
            idle: None,
            holding: None,
            lost: false,
            contended: BTreeSet::new(),
            failures: 0,
            commits: 0,
        };
        let mut connection = engine.connect().await?;
        schema::migrate(&mut connection, SCHEMA_VERSION).await?;
        schema::is_whole(&mut connection).await?;
        engine.idle = Some(connection);
        Ok(engine)
    }

    /// The connection, or a new one, after a wait when the last attempts failed.
    async fn take(&mut self) -> Result<MySqlConnection, EngineError> {
        if let Some(connection) = self.holding.take() {
            self.roll_back(connection).await;
        }
        if let Some(connection) = self.idle.take() {
            return Ok(connection);
        }
        if self.failures > 0 {
            tokio::time::sleep(backoff(self.failures)).await;
        }
        self.failures = self.failures.saturating_add(1);
        let connection = self.connect().await?;
        self.failures = 0;
        Ok(connection)
    }

    /// To the first host that takes us, beginning with the one that we are at.
    async fn connect(&mut self) -> Result<MySqlConnection, EngineError> {
        let mut left = self.address.hosts().len();
        loop {
            match session::writer(&self.address.hosts()[self.host]).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    self.leave(&error);
                    left -= 1;
                    if left == 0 {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The next connection is to the next host.
    fn leave(&mut self, error: &EngineError) {
        let hosts = self.address.hosts();
        if hosts.len() > 1 {
            events::host_left(hosts[self.host].get_host(), error);
            self.host = (self.host + 1) % hosts.len();
        }
    }

    /// When this has succeeded, nothing that began before it can move these heads.
    async fn fence(&self, connection: &mut MySqlConnection) -> Result<(), EngineError> {
        let fencing = async {
            execute(connection, BEGIN).await?;
            batch::fence(connection, &self.contended).await?;
            Ok(execute(connection, COMMIT).await?)
        };
        within(ANSWER_TIMEOUT, fencing).await
    }

    /// Ends a transaction: COMMIT when all went well, ROLLBACK when another owner was in the way.
    /// After any other error the connection is dropped.
    async fn end<T>(
        &mut self,
        mut connection: MySqlConnection,
        written: Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let error = match written {
            Ok(written) => match within(ANSWER_TIMEOUT, execute(&mut connection, COMMIT)).await {
                Ok(()) => {
                    self.idle = Some(connection);
                    return Ok(written);
                }
                Err(error) => lost_or(error, EngineError::Unsettled),
            },
            Err(EngineError::Sql(error)) => lost_or(error, EngineError::Sql),
            Err(error) => error,
        };
        self.lost = matches!(error, EngineError::Lost);
        if self.lost {
            self.roll_back(connection).await;
        } else {
            self.leave(&error);
        }
        Err(error)
    }

    async fn roll_back(&mut self, mut connection: MySqlConnection) {
        match within(ANSWER_TIMEOUT, execute(&mut connection, ROLLBACK)).await {
            Ok(()) => self.idle = Some(connection),
            // It was rolled back for the sake of another.
            Err(error) if is_conflict(&error) => self.idle = Some(connection),
            Err(error) => self.leave(&EngineError::Sql(error)),
        }
    }
}

impl Engine for MySqlEngine {
    async fn look_up(
        &mut self,
        batch: &[Append],
        kept: &HashMap<ConversationId, ConversationState>,
    ) -> Result<Known, EngineError> {
        if self.lost && self.address.hosts().len() > 1 {
            tokio::time::sleep(contention_wait()).await;
        }
        let mut connection = self.take().await?;
        let fences = !self.contended.is_empty();
        if fences && let Err(error) = self.fence(&mut connection).await {
            return self.end(connection, Err(error)).await;
        }
        let looking_up = async {
            if fences {
                execute(&mut connection, BEGIN).await?;
                batch::hold_heads(&mut connection, &self.contended).await?;
            }
            batch::look_up(&mut connection, batch, kept).await
        };
        match within(ANSWER_TIMEOUT, looking_up).await {
            Ok(known) if fences => {
                self.holding = Some(connection);
                Ok(known)
            }
            Ok(known) => {
                self.idle = Some(connection);
                Ok(known)
            }
            Err(error) => self.end(connection, Err(error)).await,
        }
    }

    fn settle(&mut self, conversations: &BTreeSet<ConversationId>) {
        self.contended.extend(conversations);
    }

    async fn commit(
        &mut self,
        batch: &[Append],
        plan: &BatchPlan,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        let held = self.holding.take();
        if plan.entries.is_empty() {
            if let Some(connection) = held {
                self.roll_back(connection).await;
            }
            self.contended.clear();
            return Ok(());
        }
        // Bounded by the batch. What earlier batches left unsettled was answered as unknown.
        self.contended = plan.heads.keys().copied().collect();
        let holds = held.is_some();
        let mut connection = match held {
            Some(connection) => connection,
            None => self.take().await?,
        };
        let writing = async {
            if !holds {
                execute(&mut connection, BEGIN).await?;
            }
            batch::write(&mut connection, batch, plan, now_ms).await
        };
        let written = within(ANSWER_TIMEOUT, writing).await;
        self.end(connection, written).await?;
        self.contended.clear();
        self.lost = false;
        self.commits += 1;
        Ok(())
    }

    async fn chores(
        &mut self,
        chores: &[Chore],
        now_ms: u64,
    ) -> Result<Vec<Result<Done, Refusal>>, EngineError> {
        let mut connection = self.take().await?;
        let writing = async {
            execute(&mut connection, BEGIN).await?;
            chores::chores(&mut connection, chores, now_ms).await
        };
        let written = within(ANSWER_TIMEOUT, writing).await;
        self.end(connection, written).await
    }

    fn commits(&self) -> u64 {
        self.commits
    }
}

fn lost_or(error: sqlx::Error, other: fn(sqlx::Error) -> EngineError) -> EngineError {
    if is_conflict(&error) {
        EngineError::Lost
    } else {
        other(error)
    }
}

async fn execute(connection: &mut MySqlConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(())
}

/// An answer that takes longer is lost.
async fn within<T, E: From<sqlx::Error>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into()),
    }
}

/// Whether another transaction was in the way: this one has stored nothing, and may try again.
fn is_conflict(error: &sqlx::Error) -> bool {
    let refused = error.as_database_error();
    refused
        .and_then(|refused| refused.try_downcast_ref::<MySqlDatabaseError>())
        .is_some_and(|refused| is_conflict_number(refused.number()))
}

const fn is_conflict_number(number: u16) -> bool {
    matches!(
        number,
        // A lock wait that took too long; a deadlock, or a certification that failed; a key that is
        // taken, in both of its forms; a row that changed since it was read; a transaction that is
        // not the one that began.
        1205 | 1213 | 1062 | 1586 | 1020 | 1305
    )
}

/// After so many failures.
fn backoff(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(0);
    if doubled == 0 {
        return BACKOFF_MAX;
    }
    BACKOFF_MIN.saturating_mul(doubled).min(BACKOFF_MAX)
}

/// Another one each time: owners that always met would always lose.
fn contention_wait() -> Duration {
    let random = RandomState::new().build_hasher().finish().to_ne_bytes();
    CONTENTION_WAIT_MAX * u32::from(random[0]) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_transaction_caused_is_decided_anew() {
        for conflict in [1205, 1213, 1062, 1586, 1020, 1305] {
            assert!(is_conflict_number(conflict), "{conflict}");
        }
        // A full disk, a table that is not there, a killed query, an error within a COMMIT.
        for other in [1021, 1114, 1146, 1317, 1180] {
            assert!(!is_conflict_number(other), "{other}");
        }
        assert!(!is_conflict(&sqlx::Error::PoolTimedOut));
    }

    #[test]
    fn the_wait_before_connecting_doubles_up_to_a_bound() {
        let waits = [1, 2, 3, 5, 6, 40, u32::MAX].map(|failures| backoff(failures).as_millis());
        assert_eq!(waits, [50, 100, 200, 800, 1000, 1000, 1000]);
    }
}
