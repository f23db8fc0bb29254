//! Under kills and pauses of every tier what was promised is kept. Longer runs: `im-bench chaos`.

use bench::chaos::nemesis;
use bench::chaos::{self, Chaos};
use bench::checker::Kind;
use bench::cluster::Cluster;
use bench::record::{self, Event};

/// A draw whose nemesis makes each fault at each tier within the time.
const SEED: u64 = 4;

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_while_every_tier_is_killed_and_paused() {
    let chaos = Chaos {
        minutes: 0.4,
        seed: SEED,
        clients: 40,
        rate: 40,
        calm: false,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let mut cluster = Cluster::start().await.unwrap();
    let outcome = chaos::run(&chaos, &mut cluster, &path).await.unwrap();
    assert!(outcome.passed, "{outcome}\n{}", cluster.log());

    let targets: Vec<_> = nemesis::targets().iter().map(ToString::to_string).collect();
    let kinds = ["kill", "pause"];
    assert!(outcome.faults.have_all(&kinds, &targets), "{outcome}");
    let total = &outcome.verdict.total;
    assert!(
        total.acked > 400 && total.delivered > 10 * total.acked,
        "{outcome}"
    );
    assert!(!outcome.faults.client_restarts.is_empty(), "{outcome}");
    assert!(outcome.faults.member_changes > 0, "{outcome}");

    // The checker can fail: the same record without the last delivery of an acknowledged message.
    let mut events: Vec<_> = record::read(&path).unwrap().collect();
    let is_delivered = |event: &Event| matches!(event, Event::Delivered { flagged: false, .. });
    let last = events
        .iter()
        .rposition(|e| e.as_ref().is_ok_and(is_delivered));
    events.remove(last.unwrap()).unwrap();
    let verdict = bench::checker::check(events).unwrap();
    let lacks = verdict.count(Kind::NotDelivered) + verdict.total.cut_by_leave;
    assert!(lacks > total.cut_by_leave, "{verdict}");
    cluster.stop().await.unwrap();
}
