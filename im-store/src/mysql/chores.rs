//! The rare writes: groups, accounts, capability cards, marks. Those that wait together share a
//! transaction. A row that another owner has made meanwhile is a key that is taken: all is done
//! anew, and then it is found.

use std::collections::BTreeMap;

use prost::Message as _;
use protocol::wire::{Account, AccountKind, CapabilityCard, Role};
use protocol::{AccountId, Refusal};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{MySql, QueryBuilder, Row as _};

use super::{
    ROWS_PER_STATEMENT_MAX, amend, audit, cards, commands, create_group, credentials, estops,
    media, search,
};
use crate::engine::{
    Chore, Done, EngineError, RaisedMark, conversation_id, integer, number, of_kind,
};
use crate::rows;

/// Does these in the open transaction.
pub(super) async fn chores(
    connection: &mut MySqlConnection,
    chores: &[Chore],
    now_ms: u64,
) -> Result<Vec<Result<Done, Refusal>>, EngineError> {
    let mut done = Vec::with_capacity(chores.len());
    for chore in chores {
        done.push(carry_out(connection, chore, now_ms).await?);
    }
    Ok(done)
}

async fn carry_out(
    connection: &mut MySqlConnection,
    chore: &Chore,
    now_ms: u64,
) -> Result<Result<Done, Refusal>, EngineError> {
    match chore {
        Chore::CreateGroup(group) => {
            let made = create_group::create(connection, group, now_ms).await?;
            Ok(made.map(Done::Group))
        }
        Chore::EnsureAccount {
            fleet,
            kind,
            name,
            proposed,
        } => {
            let account = ensure_account(connection, fleet, *kind, name, *proposed, now_ms).await?;
            Ok(account.map(Done::Account))
        }
        Chore::Command(chore) => commands::carry_out(connection, chore, now_ms).await,
        Chore::Media(chore) => media::carry_out(connection, chore, now_ms).await,
        Chore::SetCapabilities { account, card } => cards::set(connection, *account, card).await,
        Chore::Credential(chore) => credentials::carry_out(connection, chore, now_ms).await,
        Chore::RaiseMarks(marks) => {
            for marks in highest(marks).chunks(ROWS_PER_STATEMENT_MAX) {
                raise_marks(connection, marks).await?;
            }
            Ok(Ok(Done::Written))
        }
        Chore::Trim {
            conversation,
            from,
            up_to,
        } => {
            amend::trim(connection, *conversation, (*from, *up_to), now_ms).await?;
            Ok(Ok(Done::Written))
        }
        Chore::Index {
            conversation,
            from,
            up_to,
            lines,
        } => {
            search::index(connection, *conversation, (*from, *up_to), lines).await?;
            Ok(Ok(Done::Written))
        }
        Chore::Latch(stop) => estops::latch(connection, stop, now_ms).await,
        Chore::Release {
            stops,
            conversation,
            release,
        } => estops::release(connection, stops, *conversation, release, now_ms).await,
        Chore::Audit(record) => {
            audit::write(connection, record).await?;
            Ok(Ok(Done::Written))
        }
        Chore::ForgetAudit { before_ms, limit } => Ok(Ok(Done::Forgotten(
            audit::forget(connection, *before_ms, *limit).await?,
        ))),
        Chore::ForgetIds {
            made_before_ms,
            limit,
        } => Ok(Ok(
            amend::forget_ids(connection, *made_before_ms, *limit).await?
        )),
    }
}

pub(super) async fn ensure_account(
    connection: &mut MySqlConnection,
    fleet: &str,
    kind: AccountKind,
    name: &str,
    proposed: AccountId,
    now_ms: u64,
) -> Result<Result<Account, Refusal>, EngineError> {
    let before = sqlx::query(
        "SELECT account, kind, name, capabilities FROM accounts WHERE fleet = ? AND name = ?",
    )
    .bind(fleet.as_bytes())
    .bind(name.as_bytes())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = before {
        return Ok(of_kind(account(&row)?, kind));
    }
    sqlx::query(
        "INSERT INTO accounts (account, fleet, name, kind, created_at_ms) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(integer(proposed.0))
    .bind(fleet.as_bytes())
    .bind(name.as_bytes())
    .bind(kind as i32)
    .bind(integer(now_ms))
    .execute(&mut *connection)
    .await?;
    Ok(Ok(Account {
        account_id: proposed.0,
        kind: kind.into(),
        name: name.to_owned(),
        capabilities: None,
    }))
}

/// One for each member and conversation, in the order of the rows.
fn highest(marks: &[RaisedMark]) -> Vec<RaisedMark> {
    let mut highest: BTreeMap<_, RaisedMark> = BTreeMap::new();
    for mark in marks {
        let of = highest.entry((mark.conversation, mark.account));
        let of = of.or_insert(*mark);
        of.delivered = of.delivered.max(mark.delivered);
        of.read = of.read.max(mark.read);
    }
    highest.into_values().collect()
}

/// The heads are read without locks: they only rise, so a mark under an older one never leads.
async fn raise_marks(
    connection: &mut MySqlConnection,
    marks: &[RaisedMark],
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT DISTINCT m.conversation, m.account, c.head, k.delivered IS NOT NULL \
         FROM members m JOIN conversations c ON c.id = m.conversation \
         LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
         WHERE (m.conversation, m.account) IN (",
    );
    let mut list = query.separated(", ");
    for mark in marks {
        list.push("(")
            .push_bind_unseparated(&mark.conversation.as_bytes()[..])
            .push_unseparated(", ")
            .push_bind_unseparated(integer(mark.account.0))
            .push_unseparated(")");
    }
    query.push(")");
    let mut members = BTreeMap::new();
    for row in query.build().fetch_all(&mut *connection).await? {
        let key = (
            conversation_id(row.try_get(0)?)?,
            AccountId(number(row.try_get(1)?)),
        );
        let head = number(row.try_get(2)?);
        members.insert(key, (head, row.try_get::<bool, _>(3)?));
    }
    let (mut new, mut known) = (Vec::new(), Vec::new());
    for mark in marks {
        if let Some((head, has_row)) = members.get(&(mark.conversation, mark.account)) {
            let mark = mark.at_most(*head);
            if *has_row { &mut known } else { &mut new }.push(mark);
        }
    }
    raise_known(connection, &known).await?;
    insert_new(connection, &new).await
}

async fn raise_known(
    connection: &mut MySqlConnection,
    marks: &[RaisedMark],
) -> Result<(), EngineError> {
    if marks.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new("UPDATE marks k JOIN (");
    let mut rows = query.separated(" UNION ALL ");
    for mark in marks {
        rows.push("SELECT CAST(")
            .push_bind_unseparated(&mark.conversation.as_bytes()[..])
            .push_unseparated(" AS BINARY(16)) AS conversation, CAST(")
            .push_bind_unseparated(integer(mark.account.0))
            .push_unseparated(" AS SIGNED) AS account, CAST(")
            .push_bind_unseparated(integer(mark.delivered))
            .push_unseparated(" AS SIGNED) AS delivered, CAST(")
            .push_bind_unseparated(integer(mark.read))
            .push_unseparated(" AS SIGNED) AS seen");
    }
    query.push(
        ") n ON k.conversation = n.conversation AND k.account = n.account \
         SET k.delivered = GREATEST(k.delivered, n.delivered), \
         k.`read` = GREATEST(k.`read`, n.seen)",
    );
    query.build().execute(connection).await?;
    Ok(())
}

async fn insert_new(
    connection: &mut MySqlConnection,
    marks: &[RaisedMark],
) -> Result<(), EngineError> {
    if marks.is_empty() {
        return Ok(());
    }
    let mut query =
        QueryBuilder::<MySql>::new("INSERT INTO marks (conversation, account, delivered, `read`) ");
    query.push_values(marks, |mut row, mark| {
        row.push_bind(&mark.conversation.as_bytes()[..])
            .push_bind(integer(mark.account.0))
            .push_bind(integer(mark.delivered))
            .push_bind(integer(mark.read));
    });
    query.build().execute(connection).await?;
    Ok(())
}

/// From the columns account, kind, name, capabilities.
pub(super) fn account(row: &MySqlRow) -> Result<Account, EngineError> {
    let card: Option<&[u8]> = row.try_get(3)?;
    let name: Vec<u8> = row.try_get(2)?;
    Ok(Account {
        account_id: number(row.try_get(0)?),
        kind: row.try_get(1)?,
        name: String::from_utf8(name).map_err(|_| EngineError::Damaged("an account's name"))?,
        capabilities: card
            .map(CapabilityCard::decode)
            .transpose()
            .map_err(|_| EngineError::Damaged("a capability card"))?,
    })
}

/// The same with a role behind it.
pub(super) fn member(row: &MySqlRow) -> Result<(Account, Role), EngineError> {
    Ok((account(row)?, rows::role(row.try_get(4)?)))
}
