//! A newtype for every identifier. Parsing is the check: a value that exists is well formed.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

/// An id that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The bytes are not as many as the id has.
    #[error("{what} has {actual} bytes, not {expected}")]
    Length {
        /// Which id.
        what: &'static str,
        /// How many bytes came.
        actual: usize,
        /// How many it has.
        expected: usize,
    },
    /// The value can not occur.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// Which id.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// An account: a robot, an operator or a planner. A Snowflake id.
    AccountId
);
number_id!(
    /// One authenticated connection.
    SessionId
);
number_id!(
    /// One gateway process; a restarted gateway is a new one.
    GatewayId
);
number_id!(
    /// The place of an entry in its conversation: dense from 1. Zero is "before the first".
    SequenceNumber
);

impl SequenceNumber {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A group or a pair. Its 16 bytes say which, so that a pair needs no set-up and no look-up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId([u8; 16]);

/// What kind of conversation an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationKind {
    /// A group, by its Snowflake id.
    Group(u64),
    /// Two accounts; the smaller id first.
    Pair(AccountId, AccountId),
}

impl ConversationId {
    /// The group with this Snowflake id, which is not 0.
    #[must_use]
    pub fn group(id: u64) -> Self {
        Self(u128::from(id).to_be_bytes())
    }

    /// The conversation of two accounts, in either order. An account may talk to itself.
    #[must_use]
    pub fn pair(a: AccountId, b: AccountId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        Self((u128::from(low.0) << 64 | u128::from(high.0)).to_be_bytes())
    }

    /// Parses the 16 bytes of the wire.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        let what = "conversation_id";
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| IdError::Length {
            what,
            actual: bytes.len(),
            expected: 16,
        })?;
        let id = Self(bytes);
        let (high, low) = id.halves();
        if low == 0 {
            return Err(IdError::Malformed {
                what,
                why: "the last eight bytes are zero",
            });
        }
        if high > low {
            return Err(IdError::Malformed {
                what,
                why: "the smaller account id comes first",
            });
        }
        Ok(id)
    }

    /// The 16 bytes of the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The same as a wire field.
    #[must_use]
    pub fn to_bytes(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&self.0)
    }

    /// Group or pair.
    #[must_use]
    pub fn kind(&self) -> ConversationKind {
        match self.halves() {
            (0, id) => ConversationKind::Group(id),
            (low, high) => ConversationKind::Pair(AccountId(low), AccountId(high)),
        }
    }

    /// Whether the conversation is a pair that this account is one of.
    #[must_use]
    pub fn is_pair_of(&self, account: AccountId) -> bool {
        matches!(self.kind(), ConversationKind::Pair(a, b) if a == account || b == account)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves are taken apart on purpose"
    )]
    const fn halves(&self) -> (u64, u64) {
        let whole = u128::from_be_bytes(self.0);
        ((whole >> 64) as u64, whole as u64)
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ConversationKind::Group(id) => write!(f, "g{id}"),
            ConversationKind::Pair(low, high) => write!(f, "p{low}-{high}"),
        }
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses what `Display` writes: `g17` or `p3-9`.
impl FromStr for ConversationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let malformed = || IdError::Malformed {
            what: "conversation_id",
            why: "write it as g17 or p3-9",
        };
        let number = |text: &str| {
            text.parse::<u64>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(malformed)
        };
        if let Some(id) = text.strip_prefix('g') {
            return Ok(Self::group(number(id)?));
        }
        let (a, b) = text
            .strip_prefix('p')
            .and_then(|pair| pair.split_once('-'))
            .ok_or_else(malformed)?;
        Ok(Self::pair(AccountId(number(a)?), AccountId(number(b)?)))
    }
}

/// The id that a client gives a message, once and for all its retries: a UUIDv7, or one derived
/// from another message's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientMessageId(Uuid);

/// The namespace of derived ids: any fixed UUID will do; this one is random.
const DERIVED_NAMESPACE: Uuid = Uuid::from_u128(0x6c1b_93b0_37a1_4e0f_9d4c_52c8_77e2_8ad1);

impl ClientMessageId {
    /// A fresh one, of this moment (milliseconds since the Unix epoch) and ten random bytes.
    #[must_use]
    pub fn new(now_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid())
    }

    /// One that anybody derives alike from the same message and the same parts, so that a repeat
    /// after a crash is the same message. Keeps the time of `self`; its version is 8 (RFC 9562).
    #[must_use]
    pub fn derive(self, parts: &[&[u8]]) -> Self {
        let mut name = self.0.as_bytes().to_vec();
        for part in parts {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            name.extend_from_slice(&(part.len() as u64).to_be_bytes());
            name.extend_from_slice(part);
        }
        let mut bytes = *Uuid::new_v5(&DERIVED_NAMESPACE, &name).as_bytes();
        bytes[..6].copy_from_slice(&self.0.as_bytes()[..6]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Parses the 16 bytes of the wire.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        let what = "client_message_id";
        let uuid = Uuid::from_slice(bytes).map_err(|_| IdError::Length {
            what,
            actual: bytes.len(),
            expected: 16,
        })?;
        if uuid.is_nil() {
            return Err(IdError::Malformed {
                what,
                why: "it is all zero",
            });
        }
        Ok(Self(uuid))
    }

    /// The 16 bytes of the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The same as a wire field.
    #[must_use]
    pub fn to_bytes(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.0.as_bytes())
    }

    /// When it was made, in milliseconds since the Unix epoch: its first 48 bits.
    #[must_use]
    pub fn made_at_ms(&self) -> u64 {
        let b = self.0.as_bytes();
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    /// What no id of this moment (milliseconds since the Unix epoch) or a later one is below: as
    /// bytes, ids are in the order of their time.
    #[must_use]
    pub fn least_of(made_at_ms: u64) -> [u8; 16] {
        let mut least = [0; 16];
        least[..6].copy_from_slice(&made_at_ms.to_be_bytes()[2..]);
        least
    }
}

impl fmt::Display for ClientMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Parses what `Display` writes.
impl FromStr for ClientMessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let malformed = IdError::Malformed {
            what: "client_message_id",
            why: "write it as a UUID",
        };
        let uuid = Uuid::try_parse(text).map_err(|_| malformed)?;
        Self::from_slice(uuid.as_bytes())
    }
}

impl fmt::Debug for ClientMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_the_same_from_both_sides() {
        let pair = ConversationId::pair(AccountId(9), AccountId(3));
        assert_eq!(pair, ConversationId::pair(AccountId(3), AccountId(9)));
        assert_eq!(
            pair.kind(),
            ConversationKind::Pair(AccountId(3), AccountId(9))
        );
        assert!(pair.is_pair_of(AccountId(9)) && !pair.is_pair_of(AccountId(4)));
    }

    #[test]
    fn conversation_ids_come_back_from_bytes_and_text() {
        for id in [
            ConversationId::group(17),
            ConversationId::pair(AccountId(3), AccountId(9)),
        ] {
            assert_eq!(ConversationId::from_slice(id.as_bytes()), Ok(id));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn malformed_conversation_ids_are_refused() {
        assert!(ConversationId::from_slice(&[0; 16]).is_err());
        assert!(ConversationId::from_slice(&[1; 15]).is_err());
        let mut reversed = [0; 16];
        reversed[7] = 9;
        reversed[15] = 3;
        assert!(ConversationId::from_slice(&reversed).is_err());
        for text in ["", "g", "g0", "p1", "p1-", "x7"] {
            assert!(text.parse::<ConversationId>().is_err(), "{text}");
        }
    }

    #[test]
    fn derived_ids_repeat_keep_the_time_and_differ_by_part() {
        let base = ClientMessageId::new(1_700_000_000_123, [7; 10]);
        let derived = base.derive(&[b"command", b"s1"]);
        assert_eq!(derived, base.derive(&[b"command", b"s1"]));
        assert_ne!(derived, base.derive(&[b"commands", b"1"]));
        assert_eq!(derived.made_at_ms(), 1_700_000_000_123);
        assert_eq!(base.made_at_ms(), 1_700_000_000_123);
    }

    #[test]
    fn message_ids_come_back_from_text() {
        let id = ClientMessageId::new(1_700_000_000_123, [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "x", "00000000-0000-0000-0000-000000000000"] {
            assert!(text.parse::<ClientMessageId>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_in_the_order_of_their_time() {
        let [earlier, later] =
            [1, 2].map(|ms| ClientMessageId::new(1_700_000_000_000 + ms, [9; 10]));
        let between = ClientMessageId::least_of(later.made_at_ms());
        assert!(*earlier.as_bytes() < between && between <= *later.as_bytes());
    }
}
