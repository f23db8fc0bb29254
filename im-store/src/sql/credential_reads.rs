//! What is read of credentials. Compiled once for each engine.

use bytes::Bytes;
use protocol::wire::internal::EnrolmentToken;
use sqlx::Row as _;

use super::Connection;
use super::credentials::{REVISION, enrolled, fact, named};
use crate::credential::{Password, REVOCATIONS_PER_PAGE, Standing};
use crate::engine::{EngineError, integer, number};

/// The token of this digest.
pub(super) async fn token(
    connection: &mut Connection,
    digest: &[u8],
) -> Result<Option<EnrolmentToken>, EngineError> {
    let row = sqlx::query(
        "SELECT kind, name_pattern, joins, role, made_by, expires_at_ms, used_at_ms, used_key \
         FROM enrolment_tokens WHERE digest = ?",
    )
    .bind(digest.to_vec())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let small = |at| -> Result<i32, EngineError> {
        let value: i64 = row.try_get(at)?;
        i32::try_from(value).map_err(|_| EngineError::Damaged("an enrolment token"))
    };
    let joins: Vec<u8> = row.try_get(2)?;
    let used_key: Vec<u8> = row.try_get(7)?;
    Ok(Some(EnrolmentToken {
        digest: digest.to_vec().into(),
        kind: small(0)?,
        name_pattern: row.try_get(1)?,
        groups: joins.chunks(16).map(Bytes::copy_from_slice).collect(),
        role: small(3)?,
        made_by: number(row.try_get(4)?),
        expires_at_ms: number(row.try_get(5)?),
        used_at_ms: number(row.try_get(6)?),
        used_key: used_key.into(),
    }))
}

/// How a certificate stands with an account.
pub(super) async fn standing(
    connection: &mut Connection,
    account: u64,
    serial: &[u8],
) -> Result<Standing, EngineError> {
    match enrolled(connection, account).await? {
        None => return Ok(Standing::NotEnrolled),
        Some(0) => {}
        Some(_) => return Ok(Standing::Revoked),
    }
    let found: Option<i64> =
        sqlx::query_scalar("SELECT account FROM certificates WHERE serial = ?")
            .bind(serial.to_vec())
            .fetch_optional(connection)
            .await?;
    let is_good = found.map(number) == Some(account);
    Ok(Standing::Enrolled { is_good })
}

/// The password of an operator.
pub(super) async fn password(
    connection: &mut Connection,
    fleet: &str,
    name: &str,
) -> Result<Option<Password>, EngineError> {
    let Some(account) = named(connection, fleet, name).await? else {
        return Ok(None);
    };
    let row = sqlx::query(
        "SELECT hash, is_one_time, is_owner, generation FROM passwords WHERE account = ?",
    )
    .bind(integer(account.account_id))
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let (is_one_time, is_owner): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Some(Password {
        account,
        hash: row.try_get(0)?,
        is_one_time: is_one_time != 0,
        is_owner: is_owner != 0,
        generation: number(row.try_get(3)?),
    }))
}

/// How often revocations have changed, and a page of them.
pub(super) async fn revocations(
    connection: &mut Connection,
    after: &[u8],
    now_ms: u64,
) -> Result<(u64, Vec<Bytes>), EngineError> {
    // In this order: what changes in between is read again, because the revision is the older one.
    let revision = fact(connection, REVISION).await?.unwrap_or(0);
    let entries: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT entry FROM revocations WHERE entry > ? AND expires_at_ms >= ? \
         ORDER BY entry LIMIT ?",
    )
    .bind(after.to_vec())
    .bind(integer(now_ms))
    .bind(i64::from(REVOCATIONS_PER_PAGE))
    .fetch_all(connection)
    .await?;
    Ok((revision, entries.into_iter().map(Bytes::from).collect()))
}
