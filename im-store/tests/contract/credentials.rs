//! Credentials: a token is used once, a certificate is good until it is revoked, there is one first
//! owner.

use bytes::Bytes;
use protocol::kind::method;
use protocol::wire::internal::write_credentials::Write;
use protocol::wire::internal::{
    Admit, CredentialsRead, CredentialsWritten, EnrolmentToken, EnsureAccount, KeepEnrolmentToken,
    KeepPassword, ListRevocations, ReadCredentials, Revocations, Revoke, WriteCredentials,
};
use protocol::wire::{Account, AccountKind};
use protocol::{ErrorCode, Refusal};
use service_kit::clock;
use service_kit::testing::Authority;

use crate::backend::Backend;
use crate::service::Store;

const HOUR_MS: u64 = 60 * 60 * 1000;

async fn start(backend: &impl Backend) -> (Store, Authority, tempfile::TempDir) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let nowhere = ([127, 0, 0, 1], 9).into();
    let store = Store::start(backend, &authority, folder.path(), nowhere).await;
    (store, authority, folder)
}

async fn write(store: &Store, write: Write) -> Result<CredentialsWritten, Refusal> {
    let write = WriteCredentials { write: Some(write) };
    store.ask(method::WRITE_CREDENTIALS, &write).await
}

fn digest(n: u8) -> Bytes {
    vec![n; 32].into()
}

async fn keep_token(store: &Store, n: u8, expires_at_ms: u64) {
    let token = EnrolmentToken {
        digest: digest(n),
        kind: AccountKind::Robot.into(),
        name_pattern: "lift-*".into(),
        groups: vec![vec![7; 16].into(), vec![8; 16].into()],
        role: 3,
        made_by: 5,
        expires_at_ms,
        ..EnrolmentToken::default()
    };
    let keep = KeepEnrolmentToken { token: Some(token) };
    write(store, Write::KeepToken(keep)).await.unwrap();
}

/// `token`: 0: a renewal.
fn admit(token: u8, key: u8, serial: &[u8]) -> Write {
    Write::Admit(Admit {
        token_digest: if token == 0 {
            Bytes::new()
        } else {
            digest(token)
        },
        key_digest: digest(key),
        fleet: "dev".into(),
        kind: AccountKind::Robot.into(),
        name: "lift-1".into(),
        proposed_account_id: 77,
        serial: serial.to_vec().into(),
        expires_at_ms: clock::unix_ms() + HOUR_MS,
        ..Admit::default()
    })
}

async fn comes(store: &Store, serial: &[u8]) -> Result<Account, Refusal> {
    let ask = EnsureAccount {
        fleet: "dev".into(),
        kind: AccountKind::Robot.into(),
        name: "lift-1".into(),
        certificate_serial: serial.to_vec().into(),
        enrolled_only: true,
        ..EnsureAccount::default()
    };
    store.ask(method::ENSURE_ACCOUNT, &ask).await
}

fn code<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> ErrorCode {
    refused.unwrap_err().code
}

async fn revocations(store: &Store, known_revision: u64) -> Revocations {
    let list = ListRevocations {
        known_revision,
        after: Bytes::new(),
    };
    store.ask(method::STORE_REVOCATIONS, &list).await.unwrap()
}

pub(crate) async fn a_token_is_used_once_and_its_certificate_lets_in(backend: &impl Backend) {
    let (store, ..) = start(backend).await;
    let hence_ms = clock::unix_ms() + HOUR_MS;
    keep_token(&store, 1, hence_ms).await;
    let question = ReadCredentials {
        token_digest: digest(1),
        ..ReadCredentials::default()
    };
    let read: CredentialsRead = store
        .ask(method::READ_CREDENTIALS, &question)
        .await
        .unwrap();
    let token = read.token.unwrap();
    assert_eq!((token.groups.len(), &token.name_pattern[..]), (2, "lift-*"));
    assert_eq!((token.made_by, token.used_at_ms), (5, 0));

    assert_eq!(code(comes(&store, b"a").await), ErrorCode::Unauthenticated);
    let admitted = write(&store, admit(1, 1, b"a")).await.unwrap();
    assert_eq!(admitted.account.unwrap().account_id, 77);
    assert_eq!(comes(&store, b"a").await.unwrap().account_id, 77);
    // Of another key it is used; of the same one it is a repeat, and its last certificate counts.
    let used = write(&store, admit(1, 2, b"b")).await;
    assert_eq!(code(used), ErrorCode::EnrolmentRefused);
    write(&store, admit(1, 1, b"c")).await.unwrap();
    comes(&store, b"c").await.unwrap();
    assert_eq!(code(comes(&store, b"a").await), ErrorCode::Revoked);

    keep_token(&store, 2, clock::unix_ms()).await;
    let late = write(&store, admit(2, 3, b"d")).await;
    assert_eq!(code(late), ErrorCode::EnrolmentRefused);
    let unknown = write(&store, admit(9, 3, b"d")).await;
    assert_eq!(code(unknown), ErrorCode::EnrolmentRefused);
}

pub(crate) async fn what_is_revoked_stays_so_until_the_robot_enrols_again(backend: &impl Backend) {
    let (store, ..) = start(backend).await;
    let hence_ms = clock::unix_ms() + HOUR_MS;
    keep_token(&store, 1, hence_ms).await;
    write(&store, admit(1, 1, b"a")).await.unwrap();
    write(&store, admit(0, 2, b"b")).await.unwrap();
    comes(&store, b"a").await.unwrap();
    comes(&store, b"b").await.unwrap();
    let before = revocations(&store, 0).await.revision;

    let revoke = Write::Revoke(Revoke {
        fleet: "dev".into(),
        name: "lift-1".into(),
        reason: "丢了".into(),
    });
    let revoked = write(&store, revoke.clone()).await.unwrap();
    assert_eq!((revoked.certificates, revoked.revoked.len()), (2, 3));
    for serial in [&b"a"[..], b"b"] {
        assert_eq!(code(comes(&store, serial).await), ErrorCode::Revoked);
    }
    // What was on its way when it was revoked is no way back.
    let renewal = write(&store, admit(0, 3, b"e")).await;
    assert_eq!(code(renewal), ErrorCode::Revoked);
    let list = revocations(&store, before).await;
    assert_eq!(list.entries, [&b"nim://dev/robot/lift-1"[..], b"sa", b"sb"]);
    assert!(list.revision > before && !list.more);
    assert!(revocations(&store, list.revision).await.entries.is_empty());

    keep_token(&store, 2, hence_ms).await;
    write(&store, admit(2, 4, b"f")).await.unwrap();
    comes(&store, b"f").await.unwrap();
    assert_eq!(code(comes(&store, b"a").await), ErrorCode::Revoked);
    let after = revocations(&store, list.revision).await;
    assert_eq!(after.entries, [&b"sa"[..], b"sb"], "the name is free again");
    // The newest eight are good at once.
    for n in 0..8_u8 {
        write(&store, admit(0, 5, &[n])).await.unwrap();
    }
    assert_eq!(code(comes(&store, b"f").await), ErrorCode::Revoked);
    comes(&store, &[7]).await.unwrap();
}

pub(crate) async fn there_is_one_first_owner_and_each_password_is_another(backend: &impl Backend) {
    let (store, ..) = start(backend).await;
    let keep = |name: &str, hash: &str| KeepPassword {
        fleet: "dev".into(),
        name: name.into(),
        proposed_account_id: 5 + u64::try_from(name.len()).unwrap(),
        hash: hash.into(),
        ..KeepPassword::default()
    };
    let first = KeepPassword {
        owner: true,
        one_time: true,
        first_owner: true,
        ..keep("ana", "one")
    };
    let made = write(&store, Write::KeepPassword(first.clone()))
        .await
        .unwrap();
    assert_eq!(made.password_generation, 1);
    let again = KeepPassword {
        first_owner: true,
        ..keep("ben", "two")
    };
    let refused = write(&store, Write::KeepPassword(again)).await;
    assert_eq!(code(refused), ErrorCode::AlreadyInitialised);

    let read = async || {
        let question = ReadCredentials {
            fleet: "dev".into(),
            name: "ana".into(),
            ..ReadCredentials::default()
        };
        let read: CredentialsRead = store
            .ask(method::READ_CREDENTIALS, &question)
            .await
            .unwrap();
        read.password.unwrap()
    };
    let present = read().await;
    assert!(present.owner && present.one_time && present.hash == "one");
    let next = |instead_of| {
        Write::KeepPassword(KeepPassword {
            instead_of,
            owner: true,
            ..keep("ana", "another")
        })
    };
    assert_eq!(write(&store, next(1)).await.unwrap().password_generation, 2);
    let overtaken = write(&store, next(1)).await;
    assert_eq!(code(overtaken), ErrorCode::Unauthenticated);
    assert_eq!(read().await.hash, "another");

    // A token of the password before is good no longer.
    let comes = async |generation| {
        let ask = EnsureAccount {
            fleet: "dev".into(),
            kind: AccountKind::Operator.into(),
            name: "ana".into(),
            password_generation: generation,
            ..EnsureAccount::default()
        };
        store.ask::<Account>(method::ENSURE_ACCOUNT, &ask).await
    };
    assert_eq!(comes(2).await.unwrap().name, "ana");
    assert_eq!(code(comes(1).await), ErrorCode::Revoked);
    comes(0).await.unwrap();
}
