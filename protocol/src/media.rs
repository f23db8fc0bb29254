//! The ids of media that gateways keep, and how messages name them.
//!
//! A reference that is not of this form is somebody else's, and nobody here looks into it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::content;
use crate::error::Refusal;
use crate::id::{AccountId, ClientMessageId};
use crate::limits::{MEDIA_NAME_BYTES_MAX, MEDIA_TYPE_BYTES_MAX};
use crate::wire::{self, EntryKind};

/// What the references begin with.
const SCHEME: &str = "media:";

/// The bytes of an id.
const ID_BYTES: usize = 16;

/// The bytes of a SHA-256.
pub const SHA256_BYTES: usize = 32;

/// Names a media that gateways keep.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaId([u8; ID_BYTES]);

impl MediaId {
    /// Of the account's request to make one: a repeat names the same.
    #[must_use]
    pub fn of(account: AccountId, request: ClientMessageId) -> Self {
        let derived = request.derive(&[b"media", &account.0.to_be_bytes()]);
        Self(*derived.as_bytes())
    }

    /// Parses the 16 bytes of the wire.
    ///
    /// # Errors
    /// When they are not 16.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Refusal> {
        let bytes = bytes.try_into();
        bytes
            .map(Self)
            .map_err(|_| Refusal::bad_request("media_id: 16 bytes"))
    }

    /// The 16 bytes of the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// The same as a wire field.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// What a message names it by.
    #[must_use]
    pub fn reference(self) -> String {
        format!("{SCHEME}{self}")
    }

    /// What a message names; `None`: nothing that gateways keep.
    #[must_use]
    pub fn of_reference(reference: &str) -> Option<Self> {
        reference.strip_prefix(SCHEME)?.parse().ok()
    }

    /// What an encoded content of this kind names, with what it says of it.
    #[must_use]
    pub fn named_by(kind: EntryKind, encoded: &[u8]) -> Option<(Self, wire::Media)> {
        if kind != EntryKind::Media {
            return None;
        }
        let content::Content::Media(media) = content::decode(encoded).ok()? else {
            return None;
        };
        Some((Self::of_reference(&media.reference)?, media))
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses what `Display` writes.
impl FromStr for MediaId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| Refusal::bad_request("media_id: 32 digits of hexadecimal"))
    }
}

/// In small letters.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(digits).collect()
}

/// `None`: it is none.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).ok();
    digits.chunks(2).map(byte).collect()
}

/// Whether what is said of a media to be makes sense.
///
/// # Errors
/// Which field does not.
pub fn check_new(create: &wire::CreateMedia) -> Result<(), Refusal> {
    ClientMessageId::from_slice(&create.client_message_id)?;
    if create.bytes == 0 {
        return Err(Refusal::bad_request("bytes: at least 1"));
    }
    if create.sha256.len() != SHA256_BYTES {
        return Err(Refusal::bad_request("sha256: 32 bytes"));
    }
    check_words(&create.media_type, &create.name)
}

/// Whether a type and a name make sense.
///
/// # Errors
/// Which does not.
pub fn check_words(media_type: &str, name: &str) -> Result<(), Refusal> {
    let bounded = [
        ("media_type", media_type, 1, MEDIA_TYPE_BYTES_MAX),
        ("name", name, 0, MEDIA_NAME_BYTES_MAX),
    ];
    for (field, value, least, most) in bounded {
        let fits = (least..=most).contains(&value.len());
        if !fits || value.chars().any(char::is_control) {
            return Err(Refusal::bad_request(format!(
                "{field}: {least} to {most} bytes, and no control characters"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> MediaId {
        let request = ClientMessageId::new(1_700_000_000_000, [7; 10]);
        MediaId::of(AccountId(3), request)
    }

    #[test]
    fn an_id_comes_back_from_text_bytes_and_a_reference() {
        assert_eq!(id().to_string().parse(), Ok(id()));
        assert_eq!(MediaId::from_slice(id().as_bytes()), Ok(id()));
        assert_eq!(MediaId::of_reference(&id().reference()), Some(id()));
        for other in ["", "media:", "media:0g", "m/1", "https://x/media:00"] {
            assert_eq!(MediaId::of_reference(other), None, "{other}");
        }
        assert!("é".repeat(16).parse::<MediaId>().is_err());
    }

    #[test]
    fn the_same_request_of_another_account_is_another_media() {
        let request = ClientMessageId::new(1_700_000_000_000, [7; 10]);
        assert_ne!(MediaId::of(AccountId(4), request), id());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        let create = |change: fn(&mut wire::CreateMedia)| {
            let mut create = wire::CreateMedia {
                client_message_id: ClientMessageId::new(5, [1; 10]).to_bytes(),
                bytes: 1,
                sha256: vec![1; SHA256_BYTES].into(),
                media_type: "video/mp4".into(),
                name: "三号.mp4".into(),
            };
            change(&mut create);
            let refused = check_new(&create).err();
            refused.map_or_else(String::new, |why| why.message)
        };
        assert_eq!(create(|_| {}), "");
        assert!(create(|it| it.bytes = 0).starts_with("bytes"));
        assert!(create(|it| it.sha256 = vec![1].into()).starts_with("sha256"));
        assert!(create(|it| it.media_type.clear()).starts_with("media_type"));
        assert!(create(|it| it.name = "a\n".into()).starts_with("name"));
    }
}
