//! What the rules of the fleet say of an append. They hold for what is new, and make no message
//! another that was stored before.

use bytes::Bytes;
use protocol::Refusal;

use super::Append;

/// What the rules of the fleet say of a message. They hold for what is new, and change nothing that
/// is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruled {
    /// What its sender said, if the content is masked: a repeat is known by it.
    pub original: Option<Bytes>,
    /// Why it is not stored.
    pub refusal: Option<Refusal>,
}

impl Ruled {
    /// Whether it may be stored.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Refusal> {
        self.refusal.clone().map_or(Ok(()), Err)
    }
}

impl Append {
    /// What its sender said.
    #[must_use]
    pub fn said(&self) -> &Bytes {
        self.ruled.original.as_ref().unwrap_or(&self.content)
    }
}
