//! The messages of a run: each has a number, which is in its id and throughout its content, so that
//! whoever is handed one can tell whether it is as it was sent. Pure.

use bytes::Bytes;
use client_sdk::{ClientMessageId, Content};
use protocol::wire::Data;

use crate::record::{Change, Says};

/// What the messages of a run are called.
const SCHEMA: &str = "im.chaos.v1";

/// The number stands at the start of the payload.
const NUMBER_BYTES: usize = 8;

/// The part of an id that neither its time nor its version and variant take.
const ID_NUMBER_AT: usize = 9;

/// The id of a message: of this moment, and with its number.
pub(super) fn id(now_ms: u64, salt: u16, number: u64) -> ClientMessageId {
    let mut random = [0; 10];
    random[..2].copy_from_slice(&salt.to_be_bytes());
    random[2..].copy_from_slice(&number.to_be_bytes());
    ClientMessageId::new(now_ms, random)
}

/// What it says, in so many bytes.
pub(super) fn content(number: u64, bytes: usize) -> Content {
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend((NUMBER_BYTES..bytes).map(|at| filler(number, at)));
    Content::Data(Data {
        schema: SCHEMA.to_owned(),
        payload: Bytes::from(payload),
    })
}

/// What an entry says, with the id that it came with.
pub(super) fn says(content: &Content, id: Option<&ClientMessageId>) -> Says {
    if matches!(content, Content::Membership(_)) {
        return Says::Membership;
    }
    match (number(content), id) {
        (Some(number), Some(id)) if number == number_of(id) => Says::Message(number),
        _ => Says::Altered,
    }
}

/// What an ephemeral message says: it comes without its id.
pub(super) fn says_ephemerally(content: &Content) -> Says {
    number(content).map_or(Says::Altered, Says::Message)
}

/// The number in an id.
pub(super) fn number_of(id: &ClientMessageId) -> u64 {
    let bytes = id.as_bytes()[ID_NUMBER_AT..].iter();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Who came and went by an entry.
pub(super) fn changes(content: &Content) -> Vec<Change> {
    let Content::Membership(membership) = content else {
        return Vec::new();
    };
    let changes = membership.changes.iter().map(|change| Change {
        account: change.account_id,
        joined: change.joined,
    });
    changes.collect()
}

/// The number throughout a content.
fn number(content: &Content) -> Option<u64> {
    let Content::Data(data) = content else {
        return None;
    };
    let (number, rest) = data.payload.split_first_chunk::<NUMBER_BYTES>()?;
    if data.schema != SCHEMA {
        return None;
    }
    let number = u64::from_be_bytes(*number);
    let mut rest = (NUMBER_BYTES..).zip(rest);
    rest.all(|(at, byte)| *byte == filler(number, at))
        .then_some(number)
}

/// Depends on the number and the place.
fn filler(number: u64, at: usize) -> u8 {
    number
        .wrapping_mul(31)
        .wrapping_add(at as u64)
        .to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_number_and_an_altered_one_does_not() {
        let id = id(1_700_000_000_000, 7, 4_711);
        assert_eq!(number_of(&id), 4_711);
        assert_eq!(says(&content(4_711, 100), Some(&id)), Says::Message(4_711));
        assert_eq!(says_ephemerally(&content(4_711, 100)), Says::Message(4_711));
        assert_eq!(says(&content(4_712, 100), Some(&id)), Says::Altered);
        assert_eq!(says(&content(4_711, 100), None), Says::Altered);
        let Content::Data(data) = content(4_711, 100) else {
            unreachable!()
        };
        let mut payload = data.payload.to_vec();
        payload[50] ^= 1;
        let altered = Content::Data(Data {
            payload: payload.into(),
            ..data
        });
        assert_eq!(says(&altered, Some(&id)), Says::Altered);
    }
}
