//! A link that is kept for one key.

use protocol::Refusal;

use super::Peers;
use crate::live::InstanceId;
use crate::rpc::Link;

/// The link of somebody whose requests stay in order: the same for as long as it is up and its
/// process lives.
#[derive(Debug)]
pub struct StickyLink {
    peers: Peers,
    key: [u8; 8],
    chosen: Option<InstanceId>,
}

impl StickyLink {
    pub(super) const fn new(peers: Peers, key: u64) -> Self {
        Self {
            peers,
            key: key.to_be_bytes(),
            chosen: None,
        }
    }

    /// The link for the next request.
    ///
    /// # Errors
    /// *Unavailable* while nobody of the tier lives.
    pub fn link(&mut self) -> Result<Link, Refusal> {
        let kept = self.chosen.and_then(|chosen| self.peers.link(chosen));
        if let Some(link) = kept.filter(Link::is_up) {
            return Ok(link);
        }
        let (chosen, link) = self.peers.choose(&self.key)?;
        self.chosen = Some(chosen);
        Ok(link)
    }
}
