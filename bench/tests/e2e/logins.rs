//! People who come by a password, and how many sessions an account has.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bench::cluster::{Cluster, swarm};
use client_sdk::{
    Client, CloseReason, Credential, Error, ErrorCode, Event, Events, Login, SequenceNumber,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::http_client::Web;
use crate::people::{Group, Person, WAIT, text};

const PASSWORD: &str = "一二三四五六七八九十十一十二";

/// What the command prints, told these lines; and whether it succeeded.
async fn swarms(state: &Path, line: &[&str], told: &str) -> (bool, String) {
    let mut child = swarm()
        .unwrap()
        .args(line)
        .env("SWARM_STATE", state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(told.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    (output.status.success(), said)
}

async fn log_in(cluster: &Cluster, name: &str, password: &str) -> Result<Login, Error> {
    let addresses = cluster.run_file().unwrap().addresses.all_clients();
    let ca = cluster.authority().fleet_ca();
    let login = Login::with_password(addresses, ca, name, password, None).await;
    login.map(|(_, login)| login)
}

async fn comes(cluster: &Cluster, login: &Login) -> Result<(Client, Events), Error> {
    let mut config = cluster.operator("owner").unwrap();
    config.credential = Credential::Login(login.clone());
    Client::connect(config).await
}

fn code(error: &Error) -> Option<ErrorCode> {
    error.refusal().map(|refusal| refusal.code)
}

async fn closed(events: &mut Events) -> CloseReason {
    let closing = async {
        loop {
            match events.next().await {
                Some(Event::Closed { reason }) => return reason,
                Some(_) => {}
                None => panic!("it ended without a word"),
            }
        }
    };
    tokio::time::timeout(WAIT, closing).await.unwrap()
}

#[tokio::test]
async fn the_first_owner_is_made_once_and_people_come_by_passwords() {
    let short = [("IM_LOGIC__TOKENS__LIFETIME_MS", "6000")];
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_told(folder, &[], &short).await.unwrap();
    let state = cluster.state();
    let (made, secret) = swarms(state, &["init"], "").await;
    assert!(made && secret.len() == 24, "{secret}");
    let (again, why) = swarms(state, &["init", "mallory"], "").await;
    assert!(!again && why.contains("ALREADY_INITIALISED"), "{why}");
    // Neither in a file nor in a log.
    let found = std::process::Command::new("grep")
        .args(["-rqF", &secret])
        .arg(state.parent().unwrap())
        .status()
        .unwrap();
    assert!(!found.success(), "the secret was written down");

    // The secret is good once, and only for a password of one's own.
    let wanted = log_in(&cluster, "owner", &secret).await.unwrap_err();
    assert_eq!(
        code(&wanted),
        Some(ErrorCode::NewPasswordNeeded),
        "{wanted}"
    );
    let told = format!("{secret}\n{PASSWORD}\n");
    let (logged_in, said) = swarms(state, &["login", "owner"], &told).await;
    assert!(logged_in && said.contains("owner"), "{said}");
    let used = log_in(&cluster, "owner", &secret).await.unwrap_err();
    assert_eq!(code(&used), Some(ErrorCode::Unauthenticated), "{used}");

    // A login goes on for as long as somebody is there, and no longer.
    let login = log_in(&cluster, "owner", PASSWORD).await.unwrap();
    let (client, mut events) = comes(&cluster, &login).await.unwrap();
    let outlived = bench::wait::until(async || {
        (client.server_time_ms() > login.expires_at_ms + 1000).then_some(())
    });
    outlived.await.unwrap();
    client.conversations().await.unwrap();
    let late = comes(&cluster, &login).await.unwrap_err();
    assert_eq!(code(&late), Some(ErrorCode::TokenExpired), "{late}");

    // Another password ends what came of the one before.
    let another = "another password than before";
    let mine = log_in(&cluster, "owner", PASSWORD).await.unwrap();
    let (mine, _events) = comes(&cluster, &mine).await.unwrap();
    mine.set_password(PASSWORD, another).await.unwrap();
    let reason = closed(&mut events).await;
    assert!(
        matches!(&reason, CloseReason::Refused(r) if r.code == ErrorCode::Revoked),
        "{reason:?}"
    );

    // An owner has others' passwords made.
    let (ben, secret) = mine.make_operator("ben", false).await.unwrap();
    assert_eq!((&ben.name[..], secret.len()), ("ben", 24));
    let robot = Person::connect(cluster.robot("lift-1").unwrap()).await;
    let refused = robot.client.make_operator("eve", true).await.unwrap_err();
    assert_eq!(code(&refused), Some(ErrorCode::Forbidden));
}

#[tokio::test]
async fn a_wrong_password_waits_longer_each_time_and_nobody_else_does() {
    let cluster = Cluster::start().await.unwrap();
    let (_, secret) = swarms(cluster.state(), &["init", "ana"], "").await;
    let addresses = cluster.run_file().unwrap().addresses.all_clients();
    let ca = cluster.authority().fleet_ca();
    let chosen = Login::with_password(addresses, ca, "ana", &secret, Some(PASSWORD)).await;
    chosen.unwrap();
    for name in ["ana", "nobody"] {
        let mut told = Vec::new();
        for _ in 0..3 {
            let refused = log_in(&cluster, name, "wrong").await.unwrap_err();
            told.push(refused.to_string());
            assert_eq!(
                code(&refused),
                Some(ErrorCode::Unauthenticated),
                "{refused}"
            );
        }
        assert!(told[0].contains("wrong name or password"), "{told:?}");
    }
    let began = Instant::now();
    // The fourth is heard at once, the fifth and the sixth after half a second and one more.
    for _ in 0..3 {
        let refused = log_in(&cluster, "ana", "wrong").await.unwrap_err();
        assert_eq!(
            code(&refused),
            Some(ErrorCode::Unauthenticated),
            "{refused}"
        );
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    // Another account of the same address is not held up.
    Person::connect(cluster.operator("ben").unwrap()).await;
}

#[tokio::test]
async fn a_robot_has_one_session_wherever_it_comes_and_listeners_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let two = ["--gateways".into(), "2".into()];
    let cluster = Cluster::start_with(folder, &two).await.unwrap();
    let gateways = cluster.run_file().unwrap().addresses.all_clients();
    let at = |n: usize| {
        let mut config = cluster.robot("lift-1").unwrap();
        config.addresses = vec![gateways[n].clone()];
        config
    };
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    for (before, after) in [(0, 0), (0, 1)] {
        let (_old, mut old_events) = Client::connect(at(before)).await.unwrap();
        let (new, _events) = Client::connect(at(after)).await.unwrap();
        let CloseReason::SentAway(why) = closed(&mut old_events).await else {
            panic!("the old one was not told");
        };
        assert!(why.contains("a newer session"), "{why}");
        let me = new.account().id;
        let stays = ana.client.pair_with(me);
        let receipt = ana.client.send(stays, text("还在吗")).await.unwrap();
        assert!(receipt.sequence > SequenceNumber::ZERO);
        new.conversations().await.unwrap();
        new.close().await;
    }
}

#[tokio::test]
async fn several_devices_of_a_person_have_one_history_and_one_set_of_marks() {
    let folder = tempfile::tempdir().unwrap();
    let two = ["--gateways".into(), "2".into()];
    let cluster = Cluster::start_with(folder, &two).await.unwrap();
    let gateways = cluster.run_file().unwrap().addresses.all_clients();
    let Group {
        conversation,
        ana,
        mut bo,
    } = Group::make(&cluster).await;
    let mut devices = Vec::new();
    for gateway in [0, 0, 1] {
        let mut config = cluster.operator("bo").unwrap();
        config.addresses = vec![gateways[gateway].clone()];
        devices.push(Client::connect(config).await.unwrap());
    }
    let web = Web::new(&cluster, "bo");
    assert!(web.get("/v1/conversations").await.0.is_success());
    let sent = ana.client.send(conversation, text("大家好")).await.unwrap();
    for (client, events) in &mut devices {
        let heard = async {
            loop {
                if let Event::Message(message) = events.next().await.unwrap()
                    && message.sequence == sent.sequence
                {
                    return;
                }
            }
        };
        tokio::time::timeout(WAIT, heard).await.unwrap();
        assert_eq!(client.account().name, "bo");
    }
    assert_eq!(bo.hear_text(conversation).await.sequence, sent.sequence);
    // Read on one of them, wherever: the others are told.
    bo.client.mark_read(conversation, sent.sequence);
    for (_, events) in &mut devices {
        let marked = async {
            loop {
                if let Event::Marked {
                    conversation: of,
                    read,
                    ..
                } = events.next().await.unwrap()
                    && of == conversation
                    && read >= sent.sequence
                {
                    return;
                }
            }
        };
        tokio::time::timeout(WAIT, marked).await.unwrap();
    }
}
