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
    let number = if let Content::Data(data) = content
        && data.schema == SCHEMA
    {
        number(&data.payload)
    } else {
        None
    };
    match (number, id) {
        (Some(number), Some(id)) if id.as_bytes()[ID_NUMBER_AT..] == number.to_be_bytes()[1..] => {
            Says::Message(number)
        }
        _ => Says::Altered,
    }
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

fn number(payload: &[u8]) -> Option<u64> {
    let (number, rest) = payload.split_first_chunk::<NUMBER_BYTES>()?;
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
        assert_eq!(says(&content(4_711, 100), Some(&id)), Says::Message(4_711));
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
