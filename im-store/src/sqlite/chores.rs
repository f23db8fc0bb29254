//! The rare writes: groups, accounts, capability cards, marks. Those that wait together share a
//! transaction.

use prost::Message as _;
use protocol::wire::{Account, AccountKind, CapabilityCard};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::{amend, execute};
use crate::engine::{
    Chore, Done, EngineError, RaisedMark, conversation_id, integer, no_such_account, number,
    of_kind,
};

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
        Chore::CreateGroup {
            creator,
            message_id,
            proposed,
            name,
            history_open,
        } => {
            let request = (*creator, *message_id);
            let group = create_group(tx, request, *proposed, name, *history_open, now_ms).await?;
            Ok(Ok(Done::Group(group)))
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
        Chore::SetCapabilities { account, card } => set_capabilities(tx, *account, card).await,
        Chore::RaiseMarks(marks) => {
            for mark in marks {
                raise_mark(tx, mark).await?;
            }
            Ok(Ok(Done::Written))
        }
        Chore::Trim {
            conversation,
            from,
            up_to,
        } => {
            amend::trim(tx, *conversation, *from, *up_to).await?;
            Ok(Ok(Done::Written))
        }
        Chore::ForgetIds {
            committed_before_ms,
            limit,
        } => Ok(Ok(
            amend::forget_ids(tx, *committed_before_ms, *limit).await?
        )),
    }
}

async fn create_group(
    tx: &mut SqliteConnection,
    (creator, message_id): (AccountId, ClientMessageId),
    proposed: ConversationId,
    name: &str,
    history_open: bool,
    now_ms: u64,
) -> Result<ConversationId, EngineError> {
    let before =
        sqlx::query("SELECT conversation FROM created_groups WHERE creator = ? AND message_id = ?")
            .bind(integer(creator.0))
            .bind(&message_id.as_bytes()[..])
            .fetch_optional(&mut *tx)
            .await?;
    if let Some(row) = before {
        return conversation_id(row.try_get(0)?);
    }
    sqlx::query(
        "INSERT INTO conversations \
         (id, head, membership, owner_epoch, name, history_open, created_at_ms) \
         VALUES (?, 0, 0, 0, ?, ?, ?)",
    )
    .bind(&proposed.as_bytes()[..])
    .bind(name)
    .bind(history_open)
    .bind(integer(now_ms))
    .execute(&mut *tx)
    .await?;
    sqlx::query("INSERT INTO created_groups VALUES (?, ?, ?)")
        .bind(integer(creator.0))
        .bind(&message_id.as_bytes()[..])
        .bind(&proposed.as_bytes()[..])
        .execute(&mut *tx)
        .await?;
    Ok(proposed)
}

async fn ensure_account(
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

async fn set_capabilities(
    tx: &mut SqliteConnection,
    account: AccountId,
    card: &CapabilityCard,
) -> Result<Result<Done, Refusal>, EngineError> {
    let changed = sqlx::query("UPDATE accounts SET capabilities = ? WHERE account = ?")
        .bind(card.encode_to_vec())
        .bind(integer(account.0))
        .execute(&mut *tx)
        .await?;
    if changed.rows_affected() == 1 {
        return Ok(Ok(Done::Written));
    }
    Ok(Err(no_such_account(account)))
}

/// Marks only rise, belong to members only, and never pass the head.
async fn raise_mark(tx: &mut SqliteConnection, mark: &RaisedMark) -> Result<(), EngineError> {
    let head: Option<i64> = sqlx::query_scalar(
        "SELECT c.head FROM conversations c JOIN members m ON m.conversation = c.id \
         WHERE c.id = ? AND m.account = ? LIMIT 1",
    )
    .bind(&mark.conversation.as_bytes()[..])
    .bind(integer(mark.account.0))
    .fetch_optional(&mut *tx)
    .await?;
    let Some(head) = head else {
        return Ok(());
    };
    let mark = mark.at_most(number(head));
    sqlx::query(
        "INSERT INTO marks (conversation, account, delivered, read) VALUES (?, ?, ?, ?) \
         ON CONFLICT (conversation, account) DO UPDATE SET \
         delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)",
    )
    .bind(&mark.conversation.as_bytes()[..])
    .bind(integer(mark.account.0))
    .bind(integer(mark.delivered))
    .bind(integer(mark.read))
    .execute(&mut *tx)
    .await?;
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
