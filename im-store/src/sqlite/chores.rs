//! The rare writes: groups, accounts, capability cards, marks. Those that wait together share a
//! transaction.

use prost::Message as _;
use protocol::wire::{Account, AccountKind, CapabilityCard, Role};
use protocol::{AccountId, Refusal};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::many::{Many, ROWS_MAX};
use super::{
    amend, audit, cards, commands, create_group, credentials, estops, execute, media, search,
};
use crate::engine::{Chore, Done, EngineError, RaisedMark, integer, number, of_kind};
use crate::rows;

/// The heads of what is marked, for those marks that are a member's; by the place of the mark.
pub(super) static MARKED_HEADS: Many = Many::new(&[(
    "SELECT n.column3, c.head FROM ",
    3,
    " CROSS JOIN conversations AS c ON c.id = n.column1 WHERE EXISTS (SELECT 1 FROM members AS m \
     WHERE m.conversation = n.column1 AND m.account = n.column2)",
)]);

pub(super) static RAISE_MARKS: Many = Many::new(&[(
    "INSERT OR ROLLBACK INTO marks (conversation, account, delivered, read) SELECT * FROM ",
    4,
    " WHERE n.column1 IS NOT NULL ON CONFLICT (conversation, account) DO UPDATE SET \
     delivered = max(delivered, excluded.delivered), read = max(read, excluded.read) \
     WHERE excluded.delivered > delivered OR excluded.read > read",
)]);

/// Begins a transaction and does these in it.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    chores: &[Chore],
    now_ms: u64,
) -> Result<Vec<Result<Done, Refusal>>, EngineError> {
    execute(connection, "BEGIN IMMEDIATE").await?;
    let mut done = Vec::with_capacity(chores.len());
    for chore in chores {
        done.push(carry_out(connection, chore, now_ms).await?);
    }
    Ok(done)
}

async fn carry_out(
    tx: &mut SqliteConnection,
    chore: &Chore,
    now_ms: u64,
) -> Result<Result<Done, Refusal>, EngineError> {
    match chore {
        Chore::CreateGroup(group) => {
            let made = create_group::create(tx, group, now_ms).await?;
            Ok(made.map(Done::Group))
        }
        Chore::EnsureAccount {
            fleet,
            kind,
            name,
            proposed,
        } => {
            let account = ensure_account(tx, fleet, *kind, name, *proposed, now_ms).await?;
            Ok(account.map(Done::Account))
        }
        Chore::Command(chore) => commands::carry_out(tx, chore, now_ms).await,
        Chore::Media(chore) => media::carry_out(tx, chore, now_ms).await,
        Chore::SetCapabilities { account, card } => cards::set(tx, *account, card).await,
        Chore::Credential(chore) => credentials::carry_out(tx, chore, now_ms).await,
        Chore::RaiseMarks(marks) => {
            for marks in marks.chunks(ROWS_MAX) {
                raise_marks(tx, marks).await?;
            }
            Ok(Ok(Done::Written))
        }
        Chore::Trim {
            conversation,
            from,
            up_to,
        } => {
            amend::trim(tx, *conversation, (*from, *up_to), now_ms).await?;
            Ok(Ok(Done::Written))
        }
        Chore::Index {
            conversation,
            from,
            up_to,
            lines,
        } => {
            search::index(tx, *conversation, (*from, *up_to), lines).await?;
            Ok(Ok(Done::Written))
        }
        Chore::Latch(stop) => estops::latch(tx, stop, now_ms).await,
        Chore::Release {
            stops,
            conversation,
            release,
        } => estops::release(tx, stops, *conversation, release, now_ms).await,
        Chore::Audit(record) => {
            audit::write(tx, record).await?;
            Ok(Ok(Done::Written))
        }
        Chore::ForgetAudit { before_ms, limit } => Ok(Ok(Done::Forgotten(
            audit::forget(tx, *before_ms, *limit).await?,
        ))),
        Chore::ForgetIds {
            made_before_ms,
            limit,
        } => Ok(Ok(amend::forget_ids(tx, *made_before_ms, *limit).await?)),
    }
}

pub(super) async fn ensure_account(
    tx: &mut SqliteConnection,
    fleet: &str,
    kind: AccountKind,
    name: &str,
    proposed: AccountId,
    now_ms: u64,
) -> Result<Result<Account, Refusal>, EngineError> {
    let before = sqlx::query(
        "SELECT account, kind, name, capabilities FROM accounts WHERE fleet = ? AND name = ?",
    )
    .bind(fleet)
    .bind(name)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = before {
        return Ok(of_kind(account(&row)?, kind));
    }
    sqlx::query("INSERT INTO accounts VALUES (?, ?, ?, ?, NULL, ?)")
        .bind(integer(proposed.0))
        .bind(fleet)
        .bind(name)
        .bind(kind as i32)
        .bind(integer(now_ms))
        .execute(&mut *tx)
        .await?;
    Ok(Ok(Account {
        account_id: proposed.0,
        kind: kind.into(),
        name: name.to_owned(),
        capabilities: None,
    }))
}

/// Marks only rise, belong to members only, and never pass the head.
async fn raise_marks(tx: &mut SqliteConnection, marks: &[RaisedMark]) -> Result<(), EngineError> {
    let mut query = sqlx::query_as(MARKED_HEADS.of(marks.len()));
    for (mark, place) in marks.iter().zip(0_i64..) {
        query = query
            .bind(mark.conversation.as_bytes().to_vec())
            .bind(integer(mark.account.0))
            .bind(place);
    }
    let heads: Vec<(i64, i64)> = query.fetch_all(&mut *tx).await?;
    if heads.is_empty() {
        return Ok(());
    }
    let mut query = sqlx::query(RAISE_MARKS.of(heads.len()));
    for (place, head) in heads {
        let mark = usize::try_from(place).ok().and_then(|at| marks.get(at));
        let mark = mark.ok_or(EngineError::Damaged("the place of a mark"))?;
        let mark = mark.at_most(number(head));
        query = query
            .bind(mark.conversation.as_bytes().to_vec())
            .bind(integer(mark.account.0))
            .bind(integer(mark.delivered))
            .bind(integer(mark.read));
    }
    query.execute(&mut *tx).await?;
    Ok(())
}

/// From the columns account, kind, name, capabilities.
pub(super) fn account(row: &SqliteRow) -> Result<Account, EngineError> {
    let card: Option<&[u8]> = row.try_get(3)?;
    Ok(Account {
        account_id: number(row.try_get(0)?),
        kind: row.try_get(1)?,
        name: row.try_get(2)?,
        capabilities: card
            .map(CapabilityCard::decode)
            .transpose()
            .map_err(|_| EngineError::Damaged("a capability card"))?,
    })
}

/// The same with a role behind it.
pub(super) fn member(row: &SqliteRow) -> Result<(Account, Role), EngineError> {
    Ok((account(row)?, rows::role(row.try_get(4)?)))
}
