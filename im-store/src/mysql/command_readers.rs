//! What is read of commands on one host, on the connections that only read.

use protocol::wire::{AccountKind, OutcomeCounts, OutcomeState};
use protocol::{AccountId, ClientMessageId};
use sqlx::{MySql, QueryBuilder};

use super::lease::Lease;
use super::readers::{HostReaders, READ_TIMEOUT};
use super::{ROWS_PER_STATEMENT_MAX, within};
use crate::command::sql::{self, CommandRow, OutcomeRow};
use crate::command::{Command, CommandReaders, NOT_OVER, Outcome};
use crate::engine::{EngineError, integer, number};

impl CommandReaders for HostReaders {
    async fn command(&self, id: ClientMessageId) -> Result<Option<Command>, EngineError> {
        let row = sqlx::query_as(sql::COMMAND).bind(&id.as_bytes()[..]);
        let rows: Vec<CommandRow> = self.all(row).await?;
        rows.into_iter().next().map(sql::command).transpose()
    }

    async fn outcome_counts(&self, id: ClientMessageId) -> Result<OutcomeCounts, EngineError> {
        let rows = sqlx::query_as(sql::OUTCOME_COUNTS).bind(&id.as_bytes()[..]);
        sql::counts(self.all(rows).await?)
    }

    async fn outcomes(
        &self,
        id: ClientMessageId,
        (from, up_to): (OutcomeState, OutcomeState),
        after: AccountId,
        limit: u32,
    ) -> Result<Vec<Outcome>, EngineError> {
        let rows = sqlx::query_as(sql::OUTCOMES)
            .bind(&id.as_bytes()[..])
            .bind(from as i32)
            .bind(up_to as i32)
            .bind(integer(after.0))
            .bind(limit);
        let rows: Vec<OutcomeRow> = self.all(rows).await?;
        rows.into_iter().map(sql::outcome).collect()
    }

    async fn orders(
        &self,
        account: AccountId,
        deadline_after_ms: u64,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<(Command, OutcomeState)>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let mut tx = lease.begin().await?;
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
            lease.give_back();
            Ok(orders)
        })
        .await
    }

    async fn open_commands(&self, after: &[u8], limit: u32) -> Result<Vec<Command>, EngineError> {
        let rows = sqlx::query_as(sql::OPEN_COMMANDS).bind(after).bind(limit);
        let rows: Vec<CommandRow> = self.all(rows).await?;
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
        let rows = sqlx::query_as(sql::COMMANDS_BEFORE)
            .bind(before)
            .bind(issuer)
            .bind(issuer)
            .bind(limit);
        let rows: Vec<CommandRow> = self.all(rows).await?;
        rows.into_iter().map(sql::command).collect()
    }

    async fn reach(
        &self,
        account: AccountId,
        targets: &[AccountId],
    ) -> Result<Vec<AccountId>, EngineError> {
        let mut reached = Vec::with_capacity(targets.len());
        for targets in targets.chunks(ROWS_PER_STATEMENT_MAX) {
            let mut query =
                QueryBuilder::<MySql>::new("SELECT a.account FROM accounts a WHERE a.kind = ");
            query
                .push_bind(AccountKind::Robot as i32)
                .push(" AND a.account IN (");
            let mut list = query.separated(", ");
            for target in targets {
                list.push_bind(integer(target.0));
            }
            query
                .push(
                    ") AND EXISTS (SELECT 1 FROM members m JOIN members mine \
                     ON mine.conversation = m.conversation AND mine.account = ",
                )
                .push_bind(integer(account.0))
                .push(
                    " AND mine.`left` IS NULL \
                     WHERE m.account = a.account AND m.`left` IS NULL)",
                );
            let rows: Vec<(i64,)> = self.all(query.build_query_as()).await?;
            reached.extend(rows.into_iter().map(|(row,)| AccountId(number(row))));
        }
        Ok(reached)
    }
}
