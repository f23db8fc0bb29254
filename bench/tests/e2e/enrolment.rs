//! A robot's way in and out: it enrols with a one-time token, comes by its certificate, renews it,
//! is revoked within a second, and enrols again.

use std::path::Path;
use std::time::Duration;

use bench::cluster::{Cluster, swarm};
use bench::wait::until;
use client_sdk::{
    AccountKind, CapabilityCard, Client, CloseReason, Enrolment, Error, ErrorCode, Event, Events,
    Identity, NewEnrolment,
};
use deploy::tiers::{Instance, Tier};
use nix::sys::signal::Signal;
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::wire::{Enrol, Enrolled};
use rcgen::{CertificateParams, KeyPair};
use tokio::time::Instant;

use crate::people::{Person, WAIT};
use crate::raw::Raw;

/// What a revocation may take until the robot is cut off.
const CUT_WITHIN: Duration = Duration::from_secs(1);

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.run_file().unwrap().addresses.all_clients()
}

fn enrolment(cluster: &Cluster, token: &str, name: &str) -> Enrolment {
    let mut enrolment = Enrolment::new(
        addresses(cluster),
        cluster.authority().fleet_ca(),
        token,
        name,
    );
    enrolment.capabilities = Some(CapabilityCard {
        model: "forklift-2t".into(),
        ..CapabilityCard::default()
    });
    enrolment
}

async fn comes(cluster: &Cluster, identity: &Identity) -> Result<(Client, Events), Error> {
    Client::connect(identity.client(addresses(cluster))).await
}

fn code(error: &Error) -> Option<ErrorCode> {
    error.refusal().map(|refusal| refusal.code)
}

/// How the client ended.
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

async fn token(ana: &Person, pattern: &str) -> String {
    let made = ana.client.make_enrolment_token(NewEnrolment::of(pattern));
    made.await.unwrap().token
}

#[tokio::test]
async fn a_robot_enrols_renews_is_revoked_within_a_second_and_enrols_again() {
    let short = [("IM_LOGIC__ENROLMENT__CERTIFICATE_LIFETIME_MS", "6000")];
    let folder = tempfile::tempdir().unwrap();
    let two = ["--gateways".into(), "2".into()];
    let cluster = Cluster::start_told(folder, &two, &short).await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let group = ana.client.create_group("仓库", &[]).await.unwrap();
    let mut new = NewEnrolment::of("lift-*");
    new.groups.push(group);
    let made = ana.client.make_enrolment_token(new).await.unwrap();

    let robot = tempfile::tempdir().unwrap();
    let enrolling = enrolment(&cluster, &made.token, "lift-7");
    let identity = enrolling.run(robot.path()).await.unwrap();
    let (client, mut events) = comes(&cluster, &identity).await.unwrap();
    let account = client.account().clone();
    assert_eq!(
        (account.kind, &account.name[..]),
        (AccountKind::Robot, "lift-7")
    );
    let members = ana.client.members(group).await.unwrap();
    let member = members.iter().find(|its| its.id == account.id).unwrap();
    let card = member.capabilities.as_ref().unwrap();
    assert_eq!(card.model, "forklift-2t");

    // By itself, and the session goes on by the certificate after the first.
    let first = identity.expires_at_ms();
    let renewed = until(async || {
        let now = Identity::from_dir(robot.path()).ok()?;
        (now.expires_at_ms() > first + 3000).then_some(now)
    });
    let renewed = renewed.await.unwrap();
    let outlived = until(async || (client.server_time_ms() > first + 1500).then_some(()));
    outlived.await.unwrap();
    let notes = client.pair_with(account.id);
    let said = client.send(notes, client_sdk::content::text("还在")).await;
    said.unwrap();
    let old = comes(&cluster, &identity).await.unwrap_err();
    let by_tls = matches!(old, Error::Certificate(_));
    assert!(
        by_tls || code(&old) == Some(ErrorCode::Unauthenticated),
        "{old}"
    );

    let began = Instant::now();
    let certificates = ana.client.revoke_robot("lift-7", "丢了").await.unwrap();
    let CloseReason::Refused(refusal) = closed(&mut events).await else {
        panic!("it was not told why");
    };
    let took = began.elapsed();
    assert!(
        certificates >= 1 && refusal.code == ErrorCode::Revoked,
        "{refusal}"
    );
    assert!(took < CUT_WITHIN, "{took:?}");
    eprintln!("revoked and cut off within {took:?}");
    let now = Identity::from_dir(robot.path()).unwrap();
    assert!(now.expires_at_ms() >= renewed.expires_at_ms());
    let refused = comes(&cluster, &now).await.unwrap_err();
    assert!(
        code(&refused) == Some(ErrorCode::Revoked) || matches!(refused, Error::Certificate(_)),
        "{refused}"
    );

    let again = token(&ana, "lift-7").await;
    let enrolling = enrolment(&cluster, &again, "lift-7").run(robot.path());
    let (client, _events) = comes(&cluster, &enrolling.await.unwrap()).await.unwrap();
    assert_eq!(client.account().id, account.id, "the same account");
}

#[tokio::test]
async fn a_revocation_reaches_the_gateways_without_the_routers() {
    let mut cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let robot = tempfile::tempdir().unwrap();
    let made = token(&ana, "*").await;
    let identity = enrolment(&cluster, &made, "tug-1").run(robot.path());
    let identity = identity.await.unwrap();
    let (_client, mut events) = comes(&cluster, &identity).await.unwrap();
    let router = Instance {
        tier: Tier::Router,
        number: 0,
    };
    cluster.signal_one(router, Signal::SIGSTOP).unwrap();
    let began = Instant::now();
    ana.client.revoke_robot("tug-1", "").await.unwrap();
    let reason = closed(&mut events).await;
    let took = began.elapsed();
    cluster.signal_one(router, Signal::SIGCONT).unwrap();
    assert!(matches!(reason, CloseReason::Refused(_)), "{reason:?}");
    assert!(took < CUT_WITHIN, "{took:?}");
    // With the logic away too, a gateway that holds the list lets nobody in who is on it.
    let logic = Instance {
        tier: Tier::Logic,
        number: 0,
    };
    cluster.signal_one(logic, Signal::SIGSTOP).unwrap();
    let refused = comes(&cluster, &identity).await.unwrap_err();
    cluster.signal_one(logic, Signal::SIGCONT).unwrap();
    assert_eq!(code(&refused), Some(ErrorCode::Revoked), "{refused}");
    cluster.ready().await.unwrap();
}

#[tokio::test]
async fn a_token_is_good_once_in_time_and_for_what_it_says() {
    let cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let tries = async |token: &str, name: &str, place: &str| {
        let enrolling = enrolment(&cluster, token, name);
        enrolling.run(folder.path().join(place)).await
    };
    let why = |refused: Result<Identity, Error>| {
        let error = refused.unwrap_err();
        assert_eq!(code(&error), Some(ErrorCode::EnrolmentRefused), "{error}");
        error.to_string()
    };
    let once = token(&ana, "lift-*").await;
    assert!(why(tries(&once, "tug-1", "a").await).contains("lift-*"));
    tries(&once, "lift-1", "a").await.unwrap();
    assert!(why(tries(&once, "lift-2", "b").await).contains("used"));
    assert!(why(tries("enrol-nonsense", "lift-3", "c").await).contains("no such"));

    let mut short = NewEnrolment::of("*");
    short.lifetime = Some(Duration::from_millis(1));
    let late = ana.client.make_enrolment_token(short).await.unwrap();
    let passed = until(async || (ana.client.server_time_ms() > late.expires_at_ms).then_some(()));
    passed.await.unwrap();
    assert!(why(tries(&late.token, "lift-4", "d").await).contains("expired"));

    // Whoever has no key of its own gets nothing, and uses nothing up.
    let fresh = token(&ana, "lift-*").await;
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let enrol = |certificate_request: Vec<u8>| Enrol {
        token: fresh.clone(),
        name: "lift-5".into(),
        certificate_request: certificate_request.into(),
        capabilities: None,
    };
    let mut forged = request.der().to_vec();
    let last = forged.len() - 3;
    forged[last] ^= 1;
    let mut raw = Raw::connect(&cluster, None).await.unwrap();
    raw.say(kind::ENROL, 1, &enrol(forged)).await;
    assert_eq!(raw.refusal().await.code, ErrorCode::BadRequest);
    assert!(raw.is_closed().await);
    let mut raw = Raw::connect(&cluster, None).await.unwrap();
    raw.say(kind::ENROL, 1, &enrol(request.der().to_vec()))
        .await;
    let answer = raw.hear().await.unwrap();
    assert_eq!(answer.kind, kind::answer(kind::ENROL));
    let enrolled = Enrolled::decode(answer.body).unwrap();
    assert!(enrolled.certificate_pem.contains("BEGIN CERTIFICATE"));

    // Robots let nobody in, and sub-accounts neither.
    let lift = Identity::from_dir(folder.path().join("a")).unwrap();
    let (lift, _events) = comes(&cluster, &lift).await.unwrap();
    let refused = lift.make_enrolment_token(NewEnrolment::of("*")).await;
    assert_eq!(code(&refused.unwrap_err()), Some(ErrorCode::Forbidden));
}

async fn says(state: &Path, line: &[&str]) -> String {
    let output = swarm()
        .unwrap()
        .args(line)
        .env("SWARM_STATE", state)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line:?}: {said} {complained}");
    said
}

#[tokio::test]
async fn the_commands_enrol_a_robot_and_revoke_it() {
    let cluster = Cluster::start().await.unwrap();
    let state = cluster.state();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("lift-1");
    let place = place.to_str().unwrap();
    let made = says(state, &["enrol", "token", "lift-*", "--for", "5m"]).await;
    let robot = ["enrol", "robot", "lift-1", "--dir", place, "--token", &made];
    says(state, &robot).await;
    let identity = Identity::from_dir(place).unwrap();
    let (client, mut events) = comes(&cluster, &identity).await.unwrap();
    assert_eq!(client.account().name, "lift-1");
    let revoked = says(state, &["robot", "revoke", "lift-1", "--reason", "丢了"]).await;
    assert!(revoked.contains("1 certificates"), "{revoked}");
    assert!(matches!(closed(&mut events).await, CloseReason::Refused(_)));
}
