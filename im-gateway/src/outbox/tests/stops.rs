//! Words of emergency stops overtake everything that waits.

use super::*;

fn word(n: u8, released: bool) -> (UrgentKey, SharedFrame) {
    let id = protocol::ClientMessageId::new(NOW_MS, [n; 10]);
    (
        (id, released),
        SharedFrame::from(&notice(client::ESTOP_NOTICE)),
    )
}

#[test]
fn a_stop_goes_before_all_but_the_welcome_and_waits_once() {
    let mut outbox = Outbox::default();
    let (key, frame) = word(1, false);
    assert!(outbox.urgent(key, frame.clone()));
    assert!(outbox.pop(NOW_MS, false).is_none(), "not welcomed yet");
    outbox.welcome(&notice(client::WELCOME));
    for sequence in 1..=100 {
        outbox.push(push(7, sequence, Priority::Emergency));
    }
    outbox.answer(&notice(client::SEND_ACK));
    assert!(!outbox.urgent(key, frame), "it waits already");
    let (over, frame) = word(1, true);
    assert!(outbox.urgent(over, frame));
    let kinds: Vec<_> = std::iter::from_fn(|| popped(&mut outbox))
        .take(5)
        .map(|frame| frame.kind)
        .collect();
    let expected = [
        client::WELCOME,
        client::ESTOP_NOTICE,
        client::ESTOP_NOTICE,
        client::SEND_ACK,
        client::PUSH,
    ];
    assert_eq!(kinds, expected);
}
