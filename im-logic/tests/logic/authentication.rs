//! Who somebody is, and who is nobody.

use protocol::wire::AccountKind;
use protocol::{ErrorCode, sub_account};
use service_kit::clock;
use service_kit::token::{TokenSigner, generate_key_pair};

use crate::world::{SUB_ACCOUNTS_MAX, World};

#[tokio::test]
async fn robots_come_in_by_certificate_and_others_by_token() {
    let (world, logic) = World::start().await;
    let mut ids = Vec::new();
    for (subject, kind) in [
        ("im://dev/robot/lift-1", AccountKind::Robot),
        ("im://dev/operator/ana", AccountKind::Operator),
        ("im://dev/planner/planner", AccountKind::Planner),
    ] {
        let authenticated = if kind == AccountKind::Robot {
            logic.authenticate(subject, "").await.unwrap()
        } else {
            let token = world.token(subject);
            logic.authenticate("", &token).await.unwrap()
        };
        let account = authenticated.account.unwrap();
        assert_eq!(account.kind(), kind);
        assert!(subject.ends_with(&account.name));
        ids.push(account.account_id);
    }
    let token = world.token("im://dev/operator/ana");
    // What the connection was made with goes before what is said on it.
    for (subject, token, id) in [
        ("im://dev/robot/lift-1", "", ids[0]),
        ("im://dev/robot/lift-1", &token[..], ids[0]),
        ("", &token, ids[1]),
    ] {
        let again = logic.authenticate(subject, token).await.unwrap();
        assert_eq!(again.account.unwrap().account_id, id);
    }
}

#[tokio::test]
async fn every_other_credential_is_refused() {
    let (world, logic) = World::start().await;
    let (private, _) = generate_key_pair();
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), private).unwrap();
    let other_key = TokenSigner::from_pem(path.path()).unwrap();
    let (now, minute) = (clock::unix_ms(), 60_000);
    let ana = "im://dev/operator/ana";
    let expired = world.signer.sign(ana, now - 2 * minute, minute);
    let forged = other_key.sign(ana, now, minute);
    for (subject, token, code) in [
        ("", String::new(), ErrorCode::Unauthenticated),
        ("", "a.b.c".into(), ErrorCode::Unauthenticated),
        ("", forged, ErrorCode::Unauthenticated),
        ("", expired, ErrorCode::TokenExpired),
        (
            "",
            world.token("im://prod/operator/ana"),
            ErrorCode::Unauthenticated,
        ),
        (
            "",
            world.token("im://dev/robot/lift-1"),
            ErrorCode::Unauthenticated,
        ),
        ("lift-1", world.token(ana), ErrorCode::Unauthenticated),
        (ana, String::new(), ErrorCode::Unauthenticated),
        (
            "im://prod/robot/lift-1",
            String::new(),
            ErrorCode::Unauthenticated,
        ),
    ] {
        let refused = logic.authenticate(subject, &token).await.unwrap_err();
        assert_eq!(refused.code, code, "{subject} {token}: {refused}");
    }
}

#[tokio::test]
async fn a_name_keeps_its_kind() {
    let (world, logic) = World::start().await;
    let robot = logic.authenticate("im://dev/robot/sam", "").await;
    assert!(robot.is_ok());
    let operator = world.token("im://dev/operator/sam");
    let refused = logic.authenticate("", &operator).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
}

#[tokio::test]
async fn an_operators_token_opens_its_sub_accounts() {
    let (world, logic) = World::start().await;
    let token = world.token("im://dev/operator/ana");
    let own = logic.authenticate("", &token).await.unwrap();
    let mut ids = vec![own.account.unwrap().account_id];
    for number in [0, SUB_ACCOUNTS_MAX - 1] {
        let presented = sub_account::of(&token, number);
        let account = logic.authenticate("", &presented).await.unwrap().account;
        let account = account.unwrap();
        assert_eq!(account.kind(), AccountKind::Operator);
        assert_eq!(account.name, format!("ana~{number}"));
        let again = logic.authenticate("", &presented).await.unwrap();
        assert_eq!(again.account.unwrap().account_id, account.account_id);
        ids.push(account.account_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let planner = world.token("im://dev/planner/planner");
    for presented in [
        sub_account::of(&token, SUB_ACCOUNTS_MAX),
        sub_account::of(&planner, 0),
        format!("{token}~x"),
        format!("{token}~01"),
    ] {
        let refused = logic.authenticate("", &presented).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthenticated, "{refused}");
    }
}
