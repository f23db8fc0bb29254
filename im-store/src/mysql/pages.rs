//! Pages of history: entries in statements that grow, until the page is full.

use protocol::ConversationId;
use protocol::limits::PULL_PAGE_BYTES_MAX;
use protocol::wire::Entry;
use sqlx::MySqlConnection;

use crate::engine::EngineError;
use crate::read::Span;
use crate::rows::{self, EntryRow};

/// Entries in the first statement of a page; each further one asks for twice as many. The server
/// sends all that a statement selects, and a page may be full after one long entry.
const HISTORY_ROWS_FIRST: u32 = 32;

/// Entries in one statement of a page, at most.
const HISTORY_ROWS_MAX: u32 = 128;

/// A span, forward.
const FORWARD: &str = "SELECT sequence, sender, message_id, kind, content, priority, \
     deliver_before_ms, committed_at_ms FROM messages \
     WHERE conversation = ? AND sequence > ? AND sequence < ? ORDER BY sequence LIMIT ?";

/// A span, back.
const BACK: &str = "SELECT sequence, sender, message_id, kind, content, priority, \
     deliver_before_ms, committed_at_ms FROM messages \
     WHERE conversation = ? AND sequence > ? AND sequence < ? ORDER BY sequence DESC LIMIT ?";

/// A page's entries: in statements that grow, and no more of them once the page is full.
pub(super) async fn entries(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    span: &Span,
) -> Result<Vec<Entry>, EngineError> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let (mut after, mut before) = rows::bounds(span);
    let (mut left, mut next) = (span.limit, HISTORY_ROWS_FIRST);
    while left > 0 && bytes <= PULL_PAGE_BYTES_MAX {
        let asked = left.min(next);
        let found: Vec<EntryRow> = sqlx::query_as(if span.back { BACK } else { FORWARD })
            .bind(&conversation.as_bytes()[..])
            .bind(after)
            .bind(before)
            .bind(asked)
            .fetch_all(&mut *connection)
            .await?;
        let is_last = found.len() < asked as usize;
        for row in found {
            let reached = if span.back { &mut before } else { &mut after };
            *reached = row.0;
            let entry = rows::entry(conversation, row);
            bytes += entry.content.len();
            entries.push(entry);
        }
        if is_last {
            break;
        }
        left -= asked;
        next = (next * 2).min(HISTORY_ROWS_MAX);
    }
    Ok(entries)
}
