//! A fleet comes back behind one address while somebody there fails to log in, again and again: all
//! robots get in, and nobody is told to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bench::cluster::Cluster;
use deploy::authority::CertificateFiles;
use futures_util::StreamExt as _;
use futures_util::stream;
use protocol::kind::client as kind;
use protocol::{ErrorCode, Refusal};
use service_kit::clock;

use crate::raw::{Raw, hello, token};

/// Robots behind the address.
const ROBOTS: usize = 2_000;

/// Of these, connecting at once.
const AT_ONCE: usize = 128;

/// Attackers behind the same address: each has a connection at every moment.
const ATTACKERS: usize = 16;

/// How long all of it may take, on a small machine that is busy besides.
const WITHIN: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_robots_get_in_beside_an_attacker_at_their_address() {
    let network = (
        "IM_GATEWAY__LIMITS__HALF_OPEN_PER_NETWORK",
        "127.0.0.1/32=512",
    );
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_told(folder, &[], &[network]).await.unwrap();
    let cluster = Arc::new(cluster);
    let files = tempfile::tempdir().unwrap();
    let robots = certificates(&cluster, files.path());
    let (over, failed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|n| {
            let (cluster, over) = (Arc::clone(&cluster), Arc::clone(&over));
            tokio::spawn(attack(cluster, n, over, Arc::clone(&failed)))
        })
        .collect();
    let coming = stream::iter(&robots).map(|files| get_in(&cluster, files));
    let all = coming.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let inside = tokio::time::timeout(WITHIN, all).await.expect("in time");
    over.store(true, Ordering::Relaxed);
    assert_eq!(inside.len(), ROBOTS);
    let mut told_to_wait = 0;
    for attacker in attackers {
        told_to_wait += attacker.await.unwrap();
    }
    let failed = failed.load(Ordering::Relaxed);
    println!(
        "{failed} logins failed beside {ROBOTS} that did not; {told_to_wait} were told to wait"
    );
    assert!(failed > 100 && told_to_wait > 0, "the attack was none");
    // Everybody is still there.
    let alive = stream::iter(inside).map(|mut robot| async move {
        robot
            .say(kind::PING, 9, &protocol::wire::Ping::default())
            .await;
        robot.hear().await.expect("it is open").kind == kind::PONG
    });
    let alive: Vec<bool> = alive.buffer_unordered(AT_ONCE).collect().await;
    assert!(alive.into_iter().all(|alive| alive));
}

fn certificates(cluster: &Cluster, folder: &std::path::Path) -> Vec<CertificateFiles> {
    let names: Vec<_> = (0..ROBOTS).map(|n| format!("storm-{n}")).collect();
    let made = cluster.authority().passing_robots(&names, clock::unix_ms());
    let files = names.iter().zip(made.unwrap());
    files
        .map(|(name, (certificate, key))| {
            let files = CertificateFiles {
                certificate: folder.join(format!("{name}.pem")),
                key: folder.join(format!("{name}.key")),
            };
            std::fs::write(&files.certificate, certificate).unwrap();
            std::fs::write(&files.key, key).unwrap();
            files
        })
        .collect()
}

/// Once, without another try: nobody is refused.
async fn get_in(cluster: &Cluster, files: &CertificateFiles) -> Raw {
    let mut raw = Raw::connect(cluster, Some(files)).await.unwrap();
    raw.say(kind::HELLO, 1, &hello("")).await;
    let welcome = raw.hear().await.expect("an answer");
    let said = Refusal::decode(&welcome.body);
    assert_eq!(welcome.kind, kind::WELCOME, "{said}");
    raw
}

/// Fails under the names of robots, of operators, and of nobody. Returns how often it was told to
/// wait.
async fn attack(
    cluster: Arc<Cluster>,
    number: usize,
    over: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
) -> usize {
    let signed = token(&cluster, "storm-1", 60_000);
    let forged = format!("{}AAAA", &signed[..signed.len() - 4]);
    let tokens = [forged, "nonsense".to_owned(), token(&cluster, "late", 0)];
    let mut told_to_wait = 0;
    while !over.load(Ordering::Relaxed) {
        let Ok(mut raw) = Raw::connect(&cluster, None).await else {
            continue;
        };
        raw.say(kind::HELLO, 1, &hello(&tokens[number % tokens.len()]))
            .await;
        let Some(answer) = raw.hear().await else {
            continue;
        };
        assert_eq!(answer.kind, kind::ERROR, "an attacker got in");
        failed.fetch_add(1, Ordering::Relaxed);
        let refusal = Refusal::decode(&answer.body);
        told_to_wait += usize::from(refusal.code == ErrorCode::RateLimited);
    }
    told_to_wait
}
