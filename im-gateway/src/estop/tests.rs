//! What a gateway knows of emergency stops.

use super::*;
use protocol::estop::Release;

fn stop(n: u8) -> Stop {
    Stop {
        id: ClientMessageId::new(1_700_000_000_000, [n; 10]),
        conversation: ConversationId::group(7),
        fleet: false,
        sender: AccountId(3),
        reason: "停".into(),
        sent_at_ms: 5,
        stored: false,
        release: None,
    }
}

fn stored(stop: Stop) -> Stop {
    Stop {
        stored: true,
        ..stop
    }
}

#[test]
fn it_is_told_again_more_and_more_rarely_until_it_is_released() {
    let (mut estops, begun) = (Estops::default(), Instant::now());
    assert_eq!(estops.take(stop(1), begun), Change::Latched);
    assert!(estops.due(begun).is_empty());
    let mut rounds = Vec::new();
    for ms in 0..10_000 {
        let now = begun + Duration::from_millis(ms);
        if !estops.due(now).is_empty() {
            rounds.push(ms);
        }
    }
    assert_eq!(rounds, [250, 750, 1750, 3750, 5750, 7750, 9750]);
    let end = Stop {
        release: Some(Release {
            at_ms: 9,
            by: AccountId(3),
            reason: String::new(),
        }),
        ..stop(1)
    };
    assert_eq!(estops.take(end, begun), Change::Released);
    assert!(estops.due(begun + Duration::from_secs(60)).is_empty());
    assert!(!estops.awaits(stop(1).id, AccountId(5)));
}

#[test]
fn who_was_told_and_who_has_confirmed_is_news_once() {
    let (mut estops, now) = (Estops::default(), Instant::now());
    estops.take(stop(1), now);
    estops.reached(stop(1).id, [AccountId(5), AccountId(6)]);
    assert!(estops.confirmed(stop(1).id, AccountId(5)));
    assert!(!estops.confirmed(stop(1).id, AccountId(5)));
    let mut elsewhere = Estops::default();
    elsewhere.take(stop(1), now);
    for progress in estops.take_news() {
        elsewhere.hear(&progress);
    }
    assert!(estops.take_news().is_empty());
    let status = elsewhere.status(stop(1).id).unwrap();
    assert_eq!((status.reached.len(), status.confirmed.len()), (2, 1));
    assert!(elsewhere.awaits(stop(1).id, AccountId(6)));
    assert!(elsewhere.take_news().is_empty(), "it is not passed on");
}

#[test]
fn what_is_not_stored_is_tried_again_and_again_when_a_restore_has_lost_it() {
    let (mut estops, begun) = (Estops::default(), Instant::now());
    let at = |s| begun + Duration::from_secs(s);
    estops.take(stop(1), begun);
    assert!(
        estops.to_store(begun).is_empty(),
        "whoever took it is at it"
    );
    assert_eq!(estops.to_store(at(1)).len(), 1);
    assert!(estops.to_store(at(1)).is_empty());
    assert_eq!(estops.take(stored(stop(1)), at(2)), Change::Stored);
    assert!(estops.to_store(at(9)).is_empty());
    // An answer that was asked for before it was stored says nothing.
    estops.read(&BTreeSet::new(), true, at(1));
    assert!(estops.to_store(at(9)).is_empty());
    estops.read(&BTreeSet::new(), true, at(10));
    assert_eq!(estops.to_store(at(12)).len(), 1);
}

#[test]
fn what_the_store_has_is_in_force_here() {
    let (mut estops, now) = (Estops::default(), Instant::now());
    assert!(!estops.is_read());
    estops.take(stored(stop(1)), now);
    estops.read(&BTreeSet::from([stop(1).id]), true, now);
    assert!(estops.is_read() && estops.is_latched());
    let concerns = |group| {
        let is_in = move |other| other == ConversationId::group(group);
        estops.concerning(is_in).count()
    };
    assert_eq!((concerns(7), concerns(8)), (1, 0));
    assert_eq!(estops.take_to_keep().unwrap().len(), 1);
    assert!(estops.take_to_keep().is_none());
}
