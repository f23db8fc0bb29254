//! How often a client may ask.

use super::*;

#[test]
fn too_many_a_second_are_told_to_wait_but_never_an_emergency() {
    let now = now();
    let mut session = established(now);
    let mut ask = |correlation, priority, now| match session.frame(send(correlation, priority), now)
    {
        Next::Pass(passed) => {
            session.answer(&passed, Ok(Bytes::new()));
            Ok(())
        }
        Next::Answer(frame) => Err(Refusal::decode(&frame.body)),
        Next::Nothing
        | Next::Pong(..)
        | Next::Authenticate(_)
        | Next::Apply(_)
        | Next::Marks(_)
        | Next::Confirmed(_)
        | Next::Close(_) => panic!("neither passed nor refused"),
    };
    for correlation in 1..=4 {
        ask(correlation, Priority::Chat, now).unwrap();
    }
    let refusal = ask(5, Priority::Chat, now).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::RateLimited);
    assert_eq!(refusal.retry_after_ms, 250);
    ask(6, Priority::Emergency, now).unwrap();
    let later = after(now, 251);
    ask(7, Priority::Chat, later).unwrap();
    ask(8, Priority::Chat, later).unwrap_err();
}
