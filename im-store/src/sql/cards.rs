//! Capability cards, and the order in which they were written. Compiled once for each engine.
//!
//! Every card has a revision, which is the fleet's: whoever has read up to one lacks those above it.
//! They are given by a row that a writer holds until it commits, so that none becomes visible after
//! a higher one.

use prost::Message as _;
use protocol::wire::{Account, CapabilityCard};
use protocol::{AccountId, Refusal};
use sqlx::{AssertSqlSafe, Row as _};

use super::Connection;
use super::chores::account;
use crate::command::NOT_OVER;
use crate::engine::{CardsAfter, Done, EngineError, integer, no_such_account, number};

/// Accounts in one statement.
const TARGETS_PER_STATEMENT_MAX: usize = 512;

/// Replaces a card. One that says the same as before is not written.
pub(super) async fn set(
    connection: &mut Connection,
    account: AccountId,
    card: &CapabilityCard,
) -> Result<Result<Done, Refusal>, EngineError> {
    let bytes = card.encode_to_vec();
    let before = sqlx::query("SELECT capabilities FROM accounts WHERE account = ?")
        .bind(integer(account.0))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(before) = before else {
        return Ok(Err(no_such_account(account)));
    };
    let before: Option<Vec<u8>> = before.try_get(0)?;
    if before.as_ref() == Some(&bytes) {
        return Ok(Ok(Done::Written));
    }
    sqlx::query("UPDATE card_head SET revision = revision + 1 WHERE only_row = 1")
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE accounts SET capabilities = ? WHERE account = ?")
        .bind(bytes)
        .bind(integer(account.0))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM cards WHERE account = ?")
        .bind(integer(account.0))
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO cards (account, revision) SELECT ?, revision FROM card_head")
        .bind(integer(account.0))
        .execute(&mut *connection)
        .await?;
    Ok(Ok(Done::Written))
}

/// Those that were written after one, in the order in which they were, with their revisions.
pub(super) async fn since(
    connection: &mut Connection,
    fleet: &str,
    after: CardsAfter,
    limit: u32,
) -> Result<Vec<(Account, u64)>, EngineError> {
    let rows = sqlx::query(
        "SELECT a.account, a.kind, a.name, a.capabilities, c.revision \
         FROM cards c JOIN accounts a ON a.account = c.account \
         WHERE (c.revision > ? OR (c.revision = ? AND c.account > ?)) AND a.fleet = ? \
         ORDER BY c.revision, c.account LIMIT ?",
    )
    .bind(integer(after.revision))
    .bind(integer(after.revision))
    .bind(integer(after.account.0))
    .bind(fleet.to_owned())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let mut cards = Vec::with_capacity(rows.len());
    for row in &rows {
        cards.push((account(row)?, number(row.try_get(4)?)));
    }
    Ok(cards)
}

/// Which of these have commands that are not over.
pub(super) async fn busy(
    connection: &mut Connection,
    targets: &[AccountId],
    now_ms: u64,
) -> Result<Vec<AccountId>, EngineError> {
    let mut busy = Vec::new();
    for targets in targets.chunks(TARGETS_PER_STATEMENT_MAX) {
        let places = vec!["?"; targets.len()].join(", ");
        let statement = format!(
            "SELECT DISTINCT account FROM outcomes \
             WHERE state <= ? AND deadline_ms > ? AND account IN ({places})"
        );
        let mut query = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(NOT_OVER as i32)
            .bind(integer(now_ms));
        for target in targets {
            query = query.bind(integer(target.0));
        }
        let found: Vec<i64> = query.fetch_all(&mut *connection).await?;
        busy.extend(found.into_iter().map(|account| AccountId(number(account))));
    }
    Ok(busy)
}
