//! Under faults of every kind what was promised is kept. Longer runs: `im-bench chaos`.

use bench::chaos::arena::{Arena, Setup};
use bench::chaos::plan::{Kind, Target};
use bench::chaos::{self, Chaos, disk};
use bench::checker::Kind as Broken;
use bench::record::{self, Event};

#[test]
fn what_was_promised_is_kept_under_faults_of_every_kind() {
    // Before the runtime has threads. Without the right to it there is no small disk to fill.
    disk::keep_mounts_private().ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let chaos = Chaos {
        minutes: 1.2,
        seed: 4,
        clients: 40,
        rate: 40,
        calm: false,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let mut arena = Arena::start(&Setup::default()).await.unwrap();
    let targets = arena.targets().unwrap();
    let outcome = chaos::run(&chaos, &mut arena, &path).await.unwrap();
    assert!(outcome.passed, "{outcome}\n{}", arena.cluster.log());

    let possible = targets
        .iter()
        .flat_map(|target: &Target| target.part.kinds());
    let lacks: Vec<&Kind> = possible
        .filter(|kind| !outcome.faults.have(**kind))
        .collect();
    assert!(lacks.is_empty(), "{lacks:?}: {outcome}");
    let total = &outcome.verdict.total;
    assert!(
        total.acked > 400 && total.delivered > 10 * total.acked,
        "{outcome}"
    );
    assert!(total.expired > 0 && total.ephemeral.1 > 0, "{outcome}");
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
    let lacks = verdict.count(Broken::NotDelivered) + verdict.total.cut_by_leave;
    assert!(lacks > total.cut_by_leave, "{verdict}");
    arena.stop().await.unwrap();
}
