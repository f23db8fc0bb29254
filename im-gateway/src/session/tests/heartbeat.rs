//! How often a client says that it is there: as it asks, within what the server allows.

use super::*;

fn welcomed(asked_ms: u32, now: Now) -> (Session, u32) {
    let mut session = new(now);
    let hello = Hello {
        heartbeat_interval_ms: asked_ms,
        ..hello()
    };
    let Next::Authenticate(introduction) = session.frame(frame(client::HELLO, 5, &hello), now)
    else {
        panic!("the hello is good");
    };
    let (account, page) = (Account::default(), MembershipsPage::default());
    let welcome = session.welcome(
        SessionId(9),
        &introduction,
        account,
        page,
        Default::default(),
        now,
    );
    let welcome: Welcome = decode_body(welcome.body).unwrap();
    (session, welcome.heartbeat_interval_ms)
}

#[test]
fn who_asks_for_a_shorter_interval_is_missed_sooner() {
    let now = now();
    for (asked, given) in [(0, 15_000), (2_000, 2_000), (1, 1_000), (3_600_000, 15_000)] {
        let (session, told) = welcomed(asked, now);
        assert_eq!(told, given);
        let silent_for = session.gives_up_at() - now.at;
        assert_eq!(silent_for, Duration::from_millis(u64::from(given) * 5 / 2));
    }
}
