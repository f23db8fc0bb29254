//! The connections that read pages of history. Their rows do not pass from thread to thread one by
//! one, as sqlx's do, which takes three times as long as reading them: a page is read on one thread,
//! into one piece of memory that its entries share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use protocol::limits::PULL_PAGE_BYTES_MAX;
use protocol::wire::Entry;
use protocol::{AccountId, ConversationId};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use tokio::sync::Semaphore;

use super::BUSY_TIMEOUT;
use crate::engine::{EngineError, History, integer, number};
use crate::read::Span;
use crate::rows::{self, HeadRow};

/// Connections that read at once. Beyond: the request waits for one.
const READERS_MAX: u32 = 4;

/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Of each connection, in negative KiB as SQLite has it: what is read in passing is not read again,
/// and the system keeps it too.
const CACHE_SIZE: i64 = -256;

const HEAD: &str = "SELECT head, trimmed, history_open FROM conversations WHERE id = ?";

const STAYS: &str = "SELECT joined, \"left\" FROM members WHERE conversation = ? AND account = ?";

/// A span, forward.
pub(super) const FORWARD: &str = "SELECT sequence, sender, message_id, kind, content, priority, \
     deliver_before_ms, committed_at_ms FROM messages \
     WHERE conversation = ? AND sequence > ? AND sequence < ? ORDER BY sequence LIMIT ?";

/// A span, back.
pub(super) const BACK: &str = "SELECT sequence, sender, message_id, kind, content, priority, \
     deliver_before_ms, committed_at_ms FROM messages \
     WHERE conversation = ? AND sequence > ? AND sequence < ? ORDER BY sequence DESC LIMIT ?";

/// Reads pages. Clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Pages {
    path: Arc<PathBuf>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// Which page.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    conversation: ConversationId,
    account: AccountId,
    span: Span,
}

impl Pages {
    /// On a file that an engine has opened before. It connects when it is first asked.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: Arc::new(path.to_owned()),
            places: Arc::new(Semaphore::new(READERS_MAX as usize)),
            idle: Arc::default(),
        }
    }

    /// Waits until nobody reads, and closes.
    pub(super) async fn close(&self) {
        let all = self.places.acquire_many(READERS_MAX).await;
        self.places.close();
        self.idle.lock().clear();
        drop(all);
    }

    /// What [`crate::engine::Readers::history`] asks for.
    pub(super) async fn read(
        &self,
        conversation: ConversationId,
        account: AccountId,
        span: Span,
    ) -> Result<Option<History>, EngineError> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(ACQUIRE_TIMEOUT, place)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        let wanted = Wanted {
            conversation,
            account,
            span,
        };
        let pages = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let read = pages.read_now(wanted);
            drop(place);
            read
        });
        // It is never aborted.
        reading.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }

    /// A connection on which something failed is not used again.
    fn read_now(&self, wanted: Wanted) -> Result<Option<History>, EngineError> {
        let idle = self.idle.lock().pop();
        let mut connection = idle.map_or_else(|| connect(&self.path), Ok)?;
        let history = history(&mut connection, wanted)?;
        self.idle.lock().push(connection);
        Ok(history)
    }
}

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Beside a writer also a reader writes where the log is read.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", CACHE_SIZE)?;
    Ok(connection)
}

fn history(connection: &mut Connection, wanted: Wanted) -> Result<Option<History>, EngineError> {
    let Wanted {
        conversation,
        account,
        span,
    } = wanted;
    let id = &conversation.as_bytes()[..];
    // All of one moment. It is rolled back in the end, as it has written nothing.
    let tx = connection.transaction()?;
    let head: Option<HeadRow> = tx
        .prepare_cached(HEAD)?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((head, trimmed, history_open)) = head else {
        return Ok(None);
    };
    let mut statement = tx.prepare_cached(STAYS)?;
    let stays = statement.query_map(params![id, integer(account.0)], |row| {
        Ok(rows::stay((row.get(0)?, row.get(1)?)))
    })?;
    let stays = stays.collect::<Result<_, _>>()?;
    let (after, before) = rows::bounds(&span);
    let mut statement = tx.prepare_cached(if span.back { BACK } else { FORWARD })?;
    let mut found = statement.query(params![id, after, before, span.limit])?;
    let mut page = Page::of(conversation, span.limit);
    while page.content_bytes <= PULL_PAGE_BYTES_MAX
        && let Some(row) = found.next()?
    {
        page.push(row)?;
    }
    Ok(Some(History {
        entries: page.entries(),
        head: rows::sequence(head),
        trimmed: rows::sequence(trimmed),
        stays,
        history_open,
    }))
}

/// Entries on their way from rows, whose bytes lie one after the other.
struct Page {
    conversation_id: Bytes,
    /// Without their bytes; with the lengths of their ids and contents.
    entries: Vec<(Entry, usize, usize)>,
    bytes: BytesMut,
    content_bytes: usize,
}

impl Page {
    fn of(conversation: ConversationId, limit: u32) -> Self {
        Self {
            conversation_id: conversation.to_bytes(),
            entries: Vec::with_capacity(limit as usize),
            bytes: BytesMut::new(),
            content_bytes: 0,
        }
    }

    fn push(&mut self, row: &Row<'_>) -> Result<(), EngineError> {
        let blob = |at: usize| -> Result<&[u8], EngineError> {
            let value = row.get_ref(at)?;
            value
                .as_blob()
                .map_err(|_| EngineError::Damaged("an entry"))
        };
        let (id, content) = (blob(2)?, blob(4)?);
        if self.entries.is_empty() {
            // As if the others were as long.
            let all = (id.len() + content.len()).saturating_mul(self.entries.capacity());
            self.bytes.reserve(all.min(PULL_PAGE_BYTES_MAX));
        }
        self.bytes.extend_from_slice(id);
        self.bytes.extend_from_slice(content);
        self.content_bytes += content.len();
        let entry = Entry {
            conversation_id: self.conversation_id.clone(),
            sequence: number(row.get(0)?),
            sender: number(row.get(1)?),
            client_message_id: Bytes::new(),
            kind: row.get(3)?,
            content: Bytes::new(),
            priority: row.get(5)?,
            deliver_before_ms: number(row.get(6)?),
            committed_at_ms: number(row.get(7)?),
        };
        self.entries.push((entry, id.len(), content.len()));
        Ok(())
    }

    fn entries(self) -> Vec<Entry> {
        let mut bytes = self.bytes.freeze();
        let mut entries = Vec::with_capacity(self.entries.len());
        for (mut entry, id, content) in self.entries {
            entry.client_message_id = bytes.split_to(id);
            entry.content = bytes.split_to(content);
            entries.push(entry);
        }
        entries
    }
}
