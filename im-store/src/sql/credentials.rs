//! Credentials: tokens that are used once, certificates that are good or revoked, passwords.
//! Compiled once for each engine.

use bytes::Bytes;
use protocol::wire::internal::{Admit, EnrolmentToken, KeepPassword, Revoke};
use protocol::wire::{Account, AccountKind};
use protocol::{AccountId, Refusal};
use sqlx::Row as _;

use super::chores::{account as account_of, ensure_account};
use super::credential_reads::token;
use super::{Connection, cards, name_value};
use crate::credential::{
    self, CERTIFICATES_PER_ACCOUNT_MAX, CredentialChore, CredentialDone, ENROLMENT_TOKENS_MAX,
    Standing, TOKEN_KEPT_MS,
};
use crate::engine::{Done, EngineError, integer, no_such_name, number, of_kind};

/// When a name is revoked, for ever.
const NEVER_MS: i64 = i64::MAX;

const FIRST_OWNER: &str = "first_owner";
pub(super) const REVISION: &str = "revocations";

/// Does one in the open transaction.
pub(super) async fn carry_out(
    tx: &mut Connection,
    chore: &CredentialChore,
    now_ms: u64,
) -> Result<Result<Done, Refusal>, EngineError> {
    let done = match chore {
        CredentialChore::KeepToken(token) => keep_token(tx, token, now_ms).await?,
        CredentialChore::Admit(admit) => self::admit(tx, admit, now_ms).await?,
        CredentialChore::Revoke(revoke) => self::revoke(tx, revoke, now_ms).await?,
        CredentialChore::KeepPassword(keep) => keep_password(tx, keep, now_ms).await?,
    };
    Ok(done.map(|done| Done::Credential(Box::new(done))))
}

type Outcome = Result<Result<CredentialDone, Refusal>, EngineError>;

async fn keep_token(tx: &mut Connection, token: &EnrolmentToken, now_ms: u64) -> Outcome {
    sqlx::query("DELETE FROM enrolment_tokens WHERE expires_at_ms < ?")
        .bind(integer(now_ms.saturating_sub(TOKEN_KEPT_MS)))
        .execute(&mut *tx)
        .await?;
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM enrolment_tokens")
        .fetch_one(&mut *tx)
        .await?;
    if number(kept) >= ENROLMENT_TOKENS_MAX {
        let why = format!("{ENROLMENT_TOKENS_MAX} enrolment tokens are kept; let some expire");
        return Ok(Err(Refusal::new(protocol::ErrorCode::LimitReached, why)));
    }
    sqlx::query("INSERT INTO enrolment_tokens VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)")
        .bind(token.digest.to_vec())
        .bind(i64::from(token.kind))
        .bind(&token.name_pattern)
        .bind(token.groups.concat())
        .bind(i64::from(token.role))
        .bind(integer(token.made_by))
        .bind(integer(token.expires_at_ms))
        .bind(Vec::<u8>::new())
        .execute(tx)
        .await?;
    Ok(Ok(CredentialDone::default()))
}

async fn admit(tx: &mut Connection, admit: &Admit, now_ms: u64) -> Outcome {
    let enrols = !admit.token_digest.is_empty();
    if enrols {
        let token = token(tx, &admit.token_digest).await?;
        if let Err(refusal) = credential::check_token(token.as_ref(), admit, now_ms) {
            return Ok(Err(refusal));
        }
    }
    let proposed = AccountId(admit.proposed_account_id);
    let (fleet, kind) = (&admit.fleet, admit.kind());
    let account = match ensure_account(tx, fleet, kind, &admit.name, proposed, now_ms).await? {
        Ok(account) => account,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let id = account.account_id;
    let before = enrolled(tx, id).await?;
    let mut revoked = Vec::new();
    if enrols {
        let used = sqlx::query(
            "UPDATE enrolment_tokens SET used_at_ms = ?, used_key = ? \
             WHERE digest = ? AND (used_at_ms = 0 OR used_key = ?)",
        )
        .bind(integer(now_ms))
        .bind(admit.key_digest.to_vec())
        .bind(admit.token_digest.to_vec())
        .bind(admit.key_digest.to_vec())
        .execute(&mut *tx)
        .await?;
        if used.rows_affected() != 1 {
            // Another store has used it up since it was read.
            return Err(EngineError::Lost);
        }
        if let Some(card) = &admit.capabilities {
            drop(cards::set(tx, AccountId(id), card).await?);
        }
        revoked = revoke_serials(tx, id, 0).await?;
    } else if before.is_some_and(|revoked_at_ms| revoked_at_ms != 0) {
        // It was revoked while its request was on the way.
        return Ok(
            credential::check_standing(Standing::Revoked, true).map(|()| CredentialDone::default())
        );
    } else {
        let others = CERTIFICATES_PER_ACCOUNT_MAX - 1;
        revoked.extend(revoke_serials(tx, id, others).await?);
    }
    let is_there = before.is_some();
    if !set_enrolled(tx, id, (is_there, enrols), (0, "")).await? {
        // It was revoked by another store since it was read.
        return Err(EngineError::Lost);
    }
    sqlx::query("INSERT INTO certificates VALUES (?, ?, ?, ?)")
        .bind(admit.serial.to_vec())
        .bind(integer(id))
        .bind(integer(now_ms))
        .bind(integer(admit.expires_at_ms))
        .execute(&mut *tx)
        .await?;
    let name = credential::subject_entry(&admit.fleet, &account);
    if forget_revocation(tx, &name).await? || !revoked.is_empty() {
        raise_revision(tx, now_ms).await?;
    }
    let certificates = u32::try_from(revoked.len()).unwrap_or(u32::MAX);
    Ok(Ok(CredentialDone {
        account,
        revoked,
        certificates,
        generation: 0,
    }))
}

async fn revoke(tx: &mut Connection, revoke: &Revoke, now_ms: u64) -> Outcome {
    let found = named(tx, &revoke.fleet, &revoke.name).await?;
    let Some(account) = found.filter(|account| account.kind() != AccountKind::Operator) else {
        return Ok(Err(no_such_name(&revoke.name)));
    };
    let id = account.account_id;
    let before = enrolled(tx, id).await?;
    let mut revoked = revoke_serials(tx, id, 0).await?;
    let certificates = u32::try_from(revoked.len()).unwrap_or(u32::MAX);
    let since = (now_ms, &revoke.reason[..]);
    set_enrolled(tx, id, (before.is_some(), true), since).await?;
    let name = credential::subject_entry(&revoke.fleet, &account);
    add_revocation(tx, &name, NEVER_MS).await?;
    revoked.push(name);
    raise_revision(tx, now_ms).await?;
    Ok(Ok(CredentialDone {
        account,
        revoked,
        certificates,
        generation: 0,
    }))
}

/// All of an account's certificates but the newest so many; says which.
async fn revoke_serials(
    tx: &mut Connection,
    account: u64,
    but: usize,
) -> Result<Vec<Bytes>, EngineError> {
    let rows = sqlx::query(
        "SELECT serial, expires_at_ms FROM certificates WHERE account = ? \
         ORDER BY issued_at_ms DESC, serial",
    )
    .bind(integer(account))
    .fetch_all(&mut *tx)
    .await?;
    let mut revoked = Vec::new();
    for row in rows.iter().skip(but) {
        let (serial, expires_at_ms): (Vec<u8>, i64) = (row.try_get(0)?, row.try_get(1)?);
        let entry = credential::serial_entry(&serial);
        add_revocation(tx, &entry, expires_at_ms).await?;
        sqlx::query("DELETE FROM certificates WHERE serial = ?")
            .bind(serial)
            .execute(&mut *tx)
            .await?;
        revoked.push(entry);
    }
    Ok(revoked)
}

async fn add_revocation(
    tx: &mut Connection,
    entry: &Bytes,
    expires_at_ms: i64,
) -> Result<(), EngineError> {
    forget_revocation(tx, entry).await?;
    sqlx::query("INSERT INTO revocations VALUES (?, ?)")
        .bind(entry.to_vec())
        .bind(expires_at_ms)
        .execute(tx)
        .await?;
    Ok(())
}

/// Returns whether there was one.
async fn forget_revocation(tx: &mut Connection, entry: &Bytes) -> Result<bool, EngineError> {
    let gone = sqlx::query("DELETE FROM revocations WHERE entry = ?")
        .bind(entry.to_vec())
        .execute(tx)
        .await?;
    Ok(gone.rows_affected() > 0)
}

/// Whoever has the list reads it again. What has expired by itself is forgotten.
async fn raise_revision(tx: &mut Connection, now_ms: u64) -> Result<(), EngineError> {
    sqlx::query("DELETE FROM revocations WHERE expires_at_ms < ?")
        .bind(integer(now_ms))
        .execute(&mut *tx)
        .await?;
    let raised = sqlx::query("UPDATE credential_facts SET value = value + 1 WHERE fact = ?")
        .bind(REVISION)
        .execute(&mut *tx)
        .await?;
    if raised.rows_affected() == 0 {
        set_fact(tx, REVISION, 1).await?;
    }
    Ok(())
}

async fn keep_password(tx: &mut Connection, keep: &KeepPassword, now_ms: u64) -> Outcome {
    let first_owner = fact(tx, FIRST_OWNER).await?;
    let found = named(tx, &keep.fleet, &keep.name).await?;
    let present = match &found {
        Some(account) => generation(tx, account.account_id).await?,
        None => None,
    };
    if let Err(refusal) = credential::check_password(keep, first_owner, present) {
        return Ok(Err(refusal));
    }
    let kind = AccountKind::Operator;
    let account = match found {
        Some(account) => of_kind(account, kind),
        None if keep.proposed_account_id == 0 => Err(no_such_name(&keep.name)),
        None => {
            let proposed = AccountId(keep.proposed_account_id);
            ensure_account(tx, &keep.fleet, kind, &keep.name, proposed, now_ms).await?
        }
    };
    let account = match account {
        Ok(account) => account,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let id = account.account_id;
    if keep.first_owner {
        set_fact(tx, FIRST_OWNER, id).await?;
    }
    let gone = sqlx::query("DELETE FROM passwords WHERE account = ? AND generation = ?")
        .bind(integer(id))
        .bind(integer(present.unwrap_or(0)))
        .execute(&mut *tx)
        .await?;
    if gone.rows_affected() == 0 && present.is_some() {
        // Another store has set one since it was read.
        return Err(EngineError::Lost);
    }
    let generation = present.unwrap_or(0) + 1;
    sqlx::query("INSERT INTO passwords VALUES (?, ?, ?, ?, ?, ?)")
        .bind(integer(id))
        .bind(&keep.hash)
        .bind(i64::from(keep.one_time))
        .bind(i64::from(keep.owner))
        .bind(integer(generation))
        .bind(integer(now_ms))
        .execute(tx)
        .await?;
    Ok(Ok(CredentialDone {
        account,
        generation,
        ..CredentialDone::default()
    }))
}

async fn set_fact(tx: &mut Connection, fact: &str, value: u64) -> Result<(), EngineError> {
    sqlx::query("INSERT INTO credential_facts VALUES (?, ?)")
        .bind(fact)
        .bind(integer(value))
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn fact(tx: &mut Connection, fact: &str) -> Result<Option<u64>, EngineError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT value FROM credential_facts WHERE fact = ?")
            .bind(fact)
            .fetch_optional(tx)
            .await?;
    Ok(found.map(number))
}

async fn generation(tx: &mut Connection, account: u64) -> Result<Option<u64>, EngineError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT generation FROM passwords WHERE account = ?")
            .bind(integer(account))
            .fetch_optional(tx)
            .await?;
    Ok(found.map(number))
}

/// `anyway`: also what was revoked. Says whether it is done.
async fn set_enrolled(
    tx: &mut Connection,
    account: u64,
    (is_there, anyway): (bool, bool),
    (revoked_at_ms, reason): (u64, &str),
) -> Result<bool, EngineError> {
    let statement = match (is_there, anyway) {
        (true, true) => "UPDATE enrolled SET revoked_at_ms = ?, reason = ? WHERE account = ?",
        (true, false) => {
            "UPDATE enrolled SET revoked_at_ms = ?, reason = ? \
             WHERE account = ? AND revoked_at_ms = 0"
        }
        (false, _) => "INSERT INTO enrolled (revoked_at_ms, reason, account) VALUES (?, ?, ?)",
    };
    let set = sqlx::query(statement)
        .bind(integer(revoked_at_ms))
        .bind(reason)
        .bind(integer(account))
        .execute(tx)
        .await?;
    Ok(set.rows_affected() == 1)
}

pub(super) async fn enrolled(
    tx: &mut Connection,
    account: u64,
) -> Result<Option<u64>, EngineError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT revoked_at_ms FROM enrolled WHERE account = ?")
            .bind(integer(account))
            .fetch_optional(tx)
            .await?;
    Ok(found.map(number))
}

pub(super) async fn named(
    tx: &mut Connection,
    fleet: &str,
    name: &str,
) -> Result<Option<Account>, EngineError> {
    let row = sqlx::query(
        "SELECT account, kind, name, capabilities FROM accounts WHERE fleet = ? AND name = ?",
    )
    .bind(name_value(fleet))
    .bind(name_value(name))
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(account_of).transpose()
}
