//! Credentials: methods 145 to 147 of `internal.proto`.

use bytes::Bytes;
use protocol::Refusal;
use protocol::wire::Account;
use protocol::wire::internal::{
    self, CredentialsRead, CredentialsWritten, EnsureAccount, Revocations, write_credentials,
};
use service_kit::{clock, rpc};

use super::failed;
use crate::credential::{self, CredentialChore, REVOCATIONS_PER_PAGE};
use crate::engine::{Chore, Done, Readers};
use crate::writer::Writer;

/// Method 145.
pub(super) async fn write(
    writer: &Writer,
    write: internal::WriteCredentials,
) -> Result<Bytes, Refusal> {
    use write_credentials::Write;
    let missing = || Refusal::bad_request("write: missing");
    let chore = match write.write.ok_or_else(missing)? {
        Write::KeepToken(keep) => CredentialChore::KeepToken(keep.token.ok_or_else(missing)?),
        Write::Admit(admit) => CredentialChore::Admit(Box::new(admit)),
        Write::Revoke(revoke) => CredentialChore::Revoke(revoke),
        Write::KeepPassword(keep) => CredentialChore::KeepPassword(keep),
    };
    let Done::Credential(done) = writer.chore(Chore::Credential(chore)).await? else {
        return Err(Refusal::internal("credentials changed, and nothing came"));
    };
    Ok(rpc::encode(&CredentialsWritten {
        account: Some(done.account),
        revoked: done.revoked,
        certificates: done.certificates,
        password_generation: done.generation,
    }))
}

/// Method 146.
pub(super) async fn read(
    readers: &impl Readers,
    read: internal::ReadCredentials,
) -> Result<Bytes, Refusal> {
    let mut answer = CredentialsRead::default();
    if read.token_digest.is_empty() {
        let found = readers.password(&read.fleet, &read.name).await;
        answer.password = found.map_err(failed)?.map(|found| internal::Password {
            account: Some(found.account),
            hash: found.hash,
            one_time: found.is_one_time,
            owner: found.is_owner,
            generation: found.generation,
        });
    } else {
        let found = readers.enrolment_token(&read.token_digest).await;
        answer.token = found.map_err(failed)?;
    }
    Ok(rpc::encode(&answer))
}

/// Method 147.
pub(super) async fn revocations(
    readers: &impl Readers,
    list: internal::ListRevocations,
) -> Result<Bytes, Refusal> {
    let found = readers.revocations(&list.after, clock::unix_ms()).await;
    let (revision, entries) = found.map_err(failed)?;
    let mut answer = Revocations {
        revision,
        ..Revocations::default()
    };
    if revision != list.known_revision {
        answer.more = entries.len() >= REVOCATIONS_PER_PAGE as usize;
        answer.entries = entries;
    }
    Ok(rpc::encode(&answer))
}

/// Whether who asks for an account presents what is good for it.
pub(super) async fn check(
    readers: &impl Readers,
    asked: &EnsureAccount,
    account: &Account,
) -> Result<(), Refusal> {
    if !asked.certificate_serial.is_empty() {
        let serial = &asked.certificate_serial;
        let standing = readers.standing(account.account_id, serial).await;
        credential::check_standing(standing.map_err(failed)?, asked.enrolled_only)?;
    }
    if asked.password_generation != 0 {
        let password = readers.password(&asked.fleet, &asked.name).await;
        let generation = password
            .map_err(failed)?
            .map(|password| password.generation);
        if generation != Some(asked.password_generation) {
            let why = "the password was changed; log in again";
            return Err(Refusal::new(protocol::ErrorCode::Revoked, why));
        }
    }
    Ok(())
}
