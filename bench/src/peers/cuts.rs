//! For the tests of codecs: the same input, cut at every byte, tells the same.

use super::codec::{Codec, Event};

/// An [`Event`] that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Ready,
    Acked { ticket: u64 },
    Delivered { payload: Vec<u8> },
}

impl Told {
    pub(super) fn delivered(payload: &[u8]) -> Self {
        let payload = payload.to_vec();
        Self::Delivered { payload }
    }
}

/// What a client tells and says when it reads this: in one piece, in two that meet at any byte, and
/// byte by byte.
pub(super) fn read_cut_everywhere<C: Codec>(
    client: impl Fn() -> C,
    input: &[u8],
) -> (Vec<Told>, Vec<u8>) {
    let whole = read_in_pieces(client(), input, &[input.len()]);
    for cut in 1..input.len() {
        let halves = read_in_pieces(client(), input, &[cut, input.len()]);
        assert_eq!(halves, whole, "cut at {cut}");
    }
    let bytes: Vec<_> = (1..=input.len()).collect();
    assert_eq!(read_in_pieces(client(), input, &bytes), whole, "in bytes");
    whole
}

/// The input has come up to each of these ends in turn.
fn read_in_pieces(mut client: impl Codec, input: &[u8], ends: &[usize]) -> (Vec<Told>, Vec<u8>) {
    let (mut told, mut said) = (Vec::new(), Vec::new());
    let mut taken = 0;
    for end in ends {
        let mut tell = |event: Event<'_>| {
            told.push(match event {
                Event::Ready => Told::Ready,
                Event::Acked { ticket } => Told::Acked { ticket },
                Event::Delivered { payload } => Told::delivered(payload),
            });
        };
        let read = client.read(&input[taken..*end], 0, &mut said, &mut tell);
        taken += read.unwrap();
    }
    assert_eq!(taken, input.len(), "all is read");
    (told, said)
}
