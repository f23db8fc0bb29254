//! Who lacks an entry.

use protocol::{AccountId, ConversationId};
use sqlx::MySqlConnection;

use crate::engine::{EngineError, Lacking, LackingRows, integer};
use crate::rows::{self, MarksRow};

/// How many members are entitled to an entry, and how many of them have marked it.
const ENTITLED_COUNTS: &str = "SELECT COUNT(*), \
     COUNT(CASE WHEN COALESCE(k.delivered, 0) >= ? THEN 1 END), \
     COUNT(CASE WHEN COALESCE(k.`read`, 0) >= ? THEN 1 END) \
     FROM members m JOIN conversations c ON c.id = m.conversation \
     LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
     WHERE m.conversation = ? AND m.`left` IS NULL AND (c.history_open OR EXISTS \
     (SELECT 1 FROM members s WHERE s.conversation = m.conversation AND s.account = m.account \
     AND s.joined <= ? AND (s.`left` IS NULL OR s.`left` >= ?)))";

/// Those of them that have not.
const LACKING: &str = "SELECT m.account, COALESCE(k.delivered, 0), COALESCE(k.`read`, 0) \
     FROM members m JOIN conversations c ON c.id = m.conversation \
     LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
     WHERE m.conversation = ? AND m.`left` IS NULL AND (c.history_open OR EXISTS \
     (SELECT 1 FROM members s WHERE s.conversation = m.conversation AND s.account = m.account \
     AND s.joined <= ? AND (s.`left` IS NULL OR s.`left` >= ?))) \
     AND COALESCE(CASE WHEN ? THEN k.`read` ELSE k.delivered END, 0) < ? \
     AND m.account > ? ORDER BY m.account LIMIT ?";

pub(super) async fn lacking(
    tx: &mut MySqlConnection,
    conversation: ConversationId,
    asker: AccountId,
    question: Lacking,
) -> Result<Option<LackingRows>, EngineError> {
    let id = &conversation.as_bytes()[..];
    let number = integer(question.sequence.0);
    let head: Option<(i64, bool)> = sqlx::query_as(
        "SELECT c.head, EXISTS (SELECT 1 FROM members m WHERE m.conversation = c.id \
         AND m.account = ? AND m.`left` IS NULL) FROM conversations c WHERE c.id = ?",
    )
    .bind(integer(asker.0))
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((head, asker_is_member)) = head else {
        return Ok(None);
    };
    let counts = sqlx::query_as(ENTITLED_COUNTS)
        .bind(number)
        .bind(number)
        .bind(id)
        .bind(number)
        .bind(number)
        .fetch_one(&mut *tx)
        .await?;
    let members: Vec<MarksRow> = sqlx::query_as(LACKING)
        .bind(id)
        .bind(number)
        .bind(number)
        .bind(question.read)
        .bind(number)
        .bind(integer(question.after.0))
        .bind(question.limit)
        .fetch_all(&mut *tx)
        .await?;
    Ok(Some(LackingRows {
        head: rows::sequence(head),
        asker_is_member,
        members: members.into_iter().map(rows::marks).collect(),
        counts: rows::counts(counts),
    }))
}
