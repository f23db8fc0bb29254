//! For measurements alone: long histories without the time to send them. Nothing that a store runs
//! with.

use protocol::wire::Priority;
use sqlx::AssertSqlSafe;

use super::{Address, MySqlEngine};
use crate::engine::{EngineError, integer, number};
use crate::testing::Filling;

/// Rows of one transaction of [`fill`].
const FILLED_TOGETHER_MAX: i64 = 250_000;

/// As [`crate::sqlite::testing::fill`]. MariaDB alone has the tables of numbers.
pub async fn fill(address: &Address, filling: &Filling) -> Result<u64, EngineError> {
    let mut engine = MySqlEngine::open(address).await?;
    let mut connection = engine.take().await?;
    let id = &filling.conversation.as_bytes()[..];
    let head: i64 = sqlx::query_scalar("SELECT head FROM conversations WHERE id = ?")
        .bind(id)
        .fetch_one(&mut connection)
        .await?;
    let last = head + integer(filling.entries);
    let added_ms = integer(filling.now_ms) - last;
    let mut from = head;
    while from < last {
        let up_to = last.min(from + FILLED_TOGETHER_MAX);
        let numbers = format!("seq_{}_to_{up_to}", from + 1);
        let message_id =
            "UNHEX(CONCAT(LPAD(HEX(? + seq), 12, '0'), '70008', LPAD(HEX(seq), 15, '0')))";
        let messages = format!(
            "INSERT INTO messages (conversation, sequence, sender, message_id, kind, content, \
             priority, deliver_before_ms, committed_at_ms) \
             SELECT ?, seq, ?, {message_id}, ?, ?, ?, 0, ? + seq FROM {numbers}"
        );
        sqlx::query(AssertSqlSafe(messages))
            .bind(id)
            .bind(integer(filling.sender.0))
            .bind(added_ms)
            .bind(filling.kind as i32)
            .bind(&filling.content[..])
            .bind(Priority::Chat as i32)
            .bind(added_ms)
            .execute(&mut connection)
            .await?;
        sqlx::query(
            "INSERT INTO message_ids (conversation, sender, message_id, sequence, digest, \
             committed_at_ms) SELECT conversation, sender, message_id, sequence, message_id, \
             committed_at_ms FROM messages \
             WHERE conversation = ? AND sequence > ? AND sequence <= ?",
        )
        .bind(id)
        .bind(from)
        .bind(up_to)
        .execute(&mut connection)
        .await?;
        sqlx::query("UPDATE conversations SET head = ?, bytes = bytes + ? WHERE id = ?")
            .bind(up_to)
            .bind((up_to - from) * i64::try_from(filling.content.len()).unwrap_or(i64::MAX))
            .bind(id)
            .execute(&mut connection)
            .await?;
        from = up_to;
    }
    Ok(number(last))
}
