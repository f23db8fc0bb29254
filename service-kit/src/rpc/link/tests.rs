//! What a link keeps of its calls.

use super::*;

#[test]
fn correlations_skip_zero_and_those_in_use() {
    let mut state = State {
        last_correlation: u32::MAX - 1,
        ..State::default()
    };
    let (caller, _answer) = oneshot::channel();
    let deadline = Instant::now();
    let ticket = Arc::new(Ticket::new(deadline));
    state.waiting.insert(1, Waiting { caller, ticket });
    let next = [(); 2].map(|()| state.next_correlation());
    assert_eq!(next, [u32::MAX, 2]);
}
