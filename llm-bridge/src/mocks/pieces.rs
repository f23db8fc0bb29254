//! Cutting a stream of events into the pieces that a connection might bring.

use super::scenario::Cut;

/// The bytes of the events, in pieces.
#[must_use]
pub fn pieces(events: &[String], cut: Cut) -> Vec<Vec<u8>> {
    if cut == Cut::AfterEvents {
        return events
            .iter()
            .map(|event| event.clone().into_bytes())
            .collect();
    }
    let mut bytes = Vec::new();
    let mut cuts = Vec::new();
    for event in events {
        let start = bytes.len();
        bytes.extend_from_slice(event.as_bytes());
        cuts.extend(
            within(event.as_bytes(), cut)
                .into_iter()
                .map(|at| start + at),
        );
    }
    let mut pieces = Vec::new();
    let mut last = 0;
    for at in cuts {
        if at > last && at < bytes.len() {
            pieces.push(bytes[last..at].to_vec());
            last = at;
        }
    }
    pieces.push(bytes[last..].to_vec());
    pieces
}

fn within(event: &[u8], cut: Cut) -> Vec<usize> {
    let places = 1..event.len();
    match cut {
        Cut::AfterEvents => Vec::new(),
        Cut::EveryByte => places.collect(),
        Cut::InCharacter => places
            .filter(|at| is_within_character(event[*at]))
            .collect(),
        Cut::InEvent => vec![event.len() / 2, event.len() - 1],
        Cut::InField => vec![2],
        Cut::InString => places
            .filter(|at| is_within_escape(&event[..*at]))
            .collect(),
    }
}

const fn is_within_character(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Whether an escape has begun and not ended: a backslash, with `u` and up to three digits.
fn is_within_escape(before: &[u8]) -> bool {
    let tail = &before[before.len().saturating_sub(5)..];
    let Some(backslash) = tail.iter().rposition(|byte| *byte == b'\\') else {
        return false;
    };
    match &tail[backslash + 1..] {
        [] => true,
        [b'u', digits @ ..] => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_together_are_the_stream_and_their_ends_are_where_they_should() {
        let events = [
            "data: {\"a\":\"箱\\n\\u7bb1\"}\n\n".to_owned(),
            "data: [DONE]\n\n".to_owned(),
        ];
        for cut in Cut::ALL {
            let pieces = pieces(&events, cut);
            assert_eq!(pieces.concat(), events.concat().as_bytes(), "{cut:?}");
            assert!(pieces.len() > 1, "{cut:?}");
        }
        let cut = |cut| pieces(&events, cut);
        assert!(String::from_utf8(cut(Cut::InCharacter)[0].clone()).is_err());
        assert!(cut(Cut::InString)[0].ends_with(b"\\"));
        assert!(cut(Cut::InString).iter().any(|piece| piece.ends_with(b"b")));
        assert_eq!(cut(Cut::InField)[0], b"da");
        assert!(cut(Cut::InEvent)[1].ends_with(b"\n"));
    }
}
