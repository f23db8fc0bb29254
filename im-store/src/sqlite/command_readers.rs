//! What is read of commands, on the connections that only read.

use protocol::wire::{AccountKind, OutcomeCounts, OutcomeState};
use protocol::{AccountId, ClientMessageId};

use super::many::{Many, ROWS_MAX};
use super::readers::SqliteReaders;
use crate::command::sql::{self, CommandRow, OutcomeRow};
use crate::command::{Command, CommandReaders, NOT_OVER, Outcome};
use crate::engine::{EngineError, integer, number};

/// Those of the bound accounts that are robots and share a group with another account.
pub(super) static REACH: Many = Many::new(&[(
    "SELECT n.column1 FROM ",
    2,
    " JOIN accounts AS a ON a.account = n.column1 AND a.kind = 1 WHERE EXISTS \
     (SELECT 1 FROM members AS m JOIN members AS mine ON mine.conversation = m.conversation \
     AND mine.account = n.column2 AND mine.\"left\" IS NULL \
     WHERE m.account = n.column1 AND m.\"left\" IS NULL)",
)]);

const _: () = assert!(AccountKind::Robot as i32 == 1);

impl CommandReaders for SqliteReaders {
    async fn command(&self, id: ClientMessageId) -> Result<Option<Command>, EngineError> {
        let row: Option<CommandRow> = sqlx::query_as(sql::COMMAND)
            .bind(&id.as_bytes()[..])
            .fetch_optional(&self.pool)
            .await?;
        row.map(sql::command).transpose()
    }

    async fn outcome_counts(&self, id: ClientMessageId) -> Result<OutcomeCounts, EngineError> {
        let rows = sqlx::query_as(sql::OUTCOME_COUNTS)
            .bind(&id.as_bytes()[..])
            .fetch_all(&self.pool)
            .await?;
        sql::counts(rows)
    }

    async fn outcomes(
        &self,
        id: ClientMessageId,
        (from, up_to): (OutcomeState, OutcomeState),
        after: AccountId,
        limit: u32,
    ) -> Result<Vec<Outcome>, EngineError> {
        let rows: Vec<OutcomeRow> = sqlx::query_as(sql::OUTCOMES)
            .bind(&id.as_bytes()[..])
            .bind(from as i32)
            .bind(up_to as i32)
            .bind(integer(after.0))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(sql::outcome).collect()
    }

    async fn orders(
        &self,
        account: AccountId,
        deadline_after_ms: u64,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<(Command, OutcomeState)>, EngineError> {
        let mut tx = self.pool.begin().await?;
        let found: Vec<(Vec<u8>, i64)> = sqlx::query_as(sql::ORDERS)
            .bind(integer(account.0))
            .bind(integer(deadline_after_ms))
            .bind(NOT_OVER as i32)
            .bind(after)
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
        let mut orders = Vec::with_capacity(found.len());
        for (id, state) in found {
            let row: CommandRow = sqlx::query_as(sql::COMMAND)
                .bind(&id)
                .fetch_one(&mut *tx)
                .await?;
            orders.push((sql::command(row)?, sql::state(state)?));
        }
        tx.commit().await?;
        Ok(orders)
    }

    async fn open_commands(&self, after: &[u8], limit: u32) -> Result<Vec<Command>, EngineError> {
        let rows: Vec<CommandRow> = sqlx::query_as(sql::OPEN_COMMANDS)
            .bind(after)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(sql::command).collect()
    }

    async fn commands_before(
        &self,
        issuer: AccountId,
        before: &[u8],
        limit: u32,
    ) -> Result<Vec<Command>, EngineError> {
        let before = if before.is_empty() {
            &sql::LAST_ID
        } else {
            before
        };
        let issuer = integer(issuer.0);
        let rows: Vec<CommandRow> = sqlx::query_as(sql::COMMANDS_BEFORE)
            .bind(before)
            .bind(issuer)
            .bind(issuer)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(sql::command).collect()
    }

    async fn reach(
        &self,
        account: AccountId,
        targets: &[AccountId],
    ) -> Result<Vec<AccountId>, EngineError> {
        let mut reached = Vec::with_capacity(targets.len());
        for targets in targets.chunks(ROWS_MAX) {
            let mut query = sqlx::query_scalar(REACH.of(targets.len()));
            for target in targets {
                query = query.bind(integer(target.0)).bind(integer(account.0));
            }
            let rows: Vec<i64> = query.fetch_all(&self.pool).await?;
            reached.extend(rows.into_iter().map(|row| AccountId(number(row))));
        }
        Ok(reached)
    }
}
