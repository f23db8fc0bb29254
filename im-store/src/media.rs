//! What is known of media, what may be done to them, and whether a message may refer to one.
//!
//! Pure. A media is made, completed once its bytes were verified, and doomed when no message refers
//! to it for long enough; a message refers only to one that is complete, in the transaction that
//! stores the message, so that a media is never removed under a message that is stored. Not here:
//! its bytes, which are the gateways' affair, and SQL (`sql/media.rs`).

use std::collections::HashMap;
use std::future::Future;

use protocol::media::MediaId;
use protocol::wire::{self, MediaItem, MediaState, internal};
use protocol::{AccountId, ErrorCode, Refusal};

use crate::engine::EngineError;
use crate::shard::Append;

/// How long before one comes again whose quota is used up, in milliseconds: what no message refers
/// to may have gone by then.
const QUOTA_RETRY_AFTER_MS: u32 = 60_000;

/// The same for one whose media is being removed.
const REMOVAL_RETRY_AFTER_MS: u32 = 1000;

/// A media.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Whose.
    pub owner: AccountId,
    /// What it is.
    pub item: MediaItem,
}

/// One that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMedia {
    /// Its id.
    pub id: MediaId,
    /// Whose.
    pub owner: AccountId,
    /// What it will be.
    pub create: wire::CreateMedia,
    /// What there may be.
    pub quota: internal::MediaQuota,
}

impl Append {
    /// The media of ours that it refers to, with what it says of it.
    #[must_use]
    pub fn media(&self) -> Option<(MediaId, wire::Media)> {
        MediaId::named_by(self.kind, &self.content)
    }
}

/// What becomes of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    Touch,
    /// It is whole.
    Finish,
    /// It is not what was said.
    Discard,
}

/// A rare write about media.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaChore {
    /// Makes the row, unless it is there.
    Create(NewMedia),
    /// Moves an upload on.
    Step(MediaId, Step),
    /// Forgets those whose bytes are gone, and dooms what no message refers to since before this
    /// moment.
    Sweep {
        /// Doomed ones whose bytes are gone.
        gone: Vec<MediaId>,
        /// In Unix milliseconds.
        before_ms: u64,
        /// At most so many.
        limit: u32,
    },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaDone {
    /// Of [`MediaChore::Create`] and [`MediaChore::Step`].
    Record(Box<Record>),
    /// Of [`MediaChore::Sweep`]: whose bytes have to go.
    Doomed(Vec<MediaId>),
}

/// What the readers know of media.
pub trait MediaReaders {
    /// One.
    fn media(
        &self,
        id: MediaId,
    ) -> impl Future<Output = Result<Option<Record>, EngineError>> + Send;

    /// Those of an account with a greater id than `after` (16 bytes or none), at most `limit`; and
    /// the bytes of all that it has.
    fn media_of(
        &self,
        owner: AccountId,
        after: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<(Vec<MediaItem>, u64), EngineError>> + Send;
}

/// What a repeat of a request is answered with.
pub(crate) fn repeated(known: Record, new: &NewMedia) -> Result<Record, Refusal> {
    let (item, create) = (&known.item, &new.create);
    if item.bytes != create.bytes || item.sha256 != create.sha256 {
        let why = "the same client_message_id made a media of other bytes";
        return Err(Refusal::new(ErrorCode::Conflict, why));
    }
    if item.state() == MediaState::Doomed {
        let why = "this media is being removed; make it again when it is gone";
        return Err(Refusal::unavailable(why).retry_after_ms(REMOVAL_RETRY_AFTER_MS));
    }
    Ok(known)
}

/// Whether the upload is still one that can go on, or has ended well.
pub(crate) fn stepped(known: Option<Record>) -> Result<Record, Refusal> {
    known
        .filter(|record| record.item.state() != MediaState::Doomed)
        .ok_or_else(no_such_media)
}

/// Whether a message may refer to what it names. Only its owner may: whoever merely knows the id
/// could else give it to others, and to itself.
pub(crate) fn check_reference(
    append: &Append,
    known: &HashMap<MediaId, Record>,
) -> Result<(), Refusal> {
    let Some((id, said)) = append.media() else {
        return Ok(());
    };
    let known = known.get(&id);
    let is_complete = |record: &&Record| record.item.state() == MediaState::Complete;
    let record = known.filter(is_complete).ok_or_else(no_such_media)?;
    if record.owner != append.sender {
        let why = "media.reference: who uploads a media refers to it";
        return Err(Refusal::new(ErrorCode::Forbidden, why));
    }
    if said.bytes != record.item.bytes || said.sha256 != record.item.sha256 {
        let why = "media: bytes and sha256 are not those of what it refers to";
        return Err(Refusal::bad_request(why));
    }
    Ok(())
}

pub(crate) fn no_such_media() -> Refusal {
    Refusal::new(ErrorCode::NoSuchMedia, "there is no such media")
}

/// The refusal of one who has too much, or of all together.
pub(crate) fn over_quota(whose: &str, allowed: u64) -> Refusal {
    let why = format!("the media of {whose} may have {allowed} bytes, and would have more");
    Refusal::new(ErrorCode::MediaQuota, why).retry_after_ms(QUOTA_RETRY_AFTER_MS)
}

/// The refusal of one who has begun too many uploads.
pub(crate) fn too_many(allowed: u64) -> Refusal {
    let why = format!("more than {allowed} uploads of the account are not finished");
    Refusal::new(ErrorCode::RateLimited, why).retry_after_ms(QUOTA_RETRY_AFTER_MS)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::content::{self, Content};
    use protocol::wire::{EntryKind, Priority};
    use protocol::{ClientMessageId, ConversationId, Rights};

    use super::*;
    use crate::shard::Ruled;

    const ANA: AccountId = AccountId(3);

    fn id() -> MediaId {
        MediaId::of(ANA, ClientMessageId::new(5, [1; 10]))
    }

    fn record(state: MediaState) -> Record {
        Record {
            owner: ANA,
            item: MediaItem {
                media_id: id().to_bytes(),
                bytes: 9,
                sha256: Bytes::from_static(&[7; 32]),
                state: state.into(),
                ..MediaItem::default()
            },
        }
    }

    fn append(reference: String, bytes: u64) -> Append {
        let media = wire::Media {
            reference,
            media_type: "image/png".into(),
            bytes,
            sha256: Bytes::from_static(&[7; 32]),
            ..wire::Media::default()
        };
        Append {
            conversation: ConversationId::group(7),
            sender: ANA,
            message_id: ClientMessageId::new(5, [2; 10]),
            kind: EntryKind::Media,
            content: content::encode(Content::Media(media)),
            priority: Priority::Chat,
            deliver_before_ms: 0,
            rights: Rights::default(),
            changes: Vec::new(),
            group: None,
            target: None,
            ruled: Ruled::default(),
            reply_to: None,
        }
    }

    fn refused(append: &Append, known: Option<&Record>) -> Option<ErrorCode> {
        let known = known.map(|record| (id(), record.clone()));
        let known = known.into_iter().collect();
        check_reference(append, &known).err().map(|why| why.code)
    }

    #[test]
    fn a_message_refers_to_what_is_complete_and_its_senders_own() {
        let ours = append(id().reference(), 9);
        let complete = record(MediaState::Complete);
        assert_eq!(refused(&ours, Some(&complete)), None);
        let none = Some(ErrorCode::NoSuchMedia);
        assert_eq!(refused(&ours, None), none);
        for state in [MediaState::Uploading, MediaState::Doomed] {
            assert_eq!(refused(&ours, Some(&record(state))), none);
        }
        let other = Record {
            owner: AccountId(4),
            ..complete.clone()
        };
        assert_eq!(refused(&ours, Some(&other)), Some(ErrorCode::Forbidden));
        let lying = append(id().reference(), 8);
        let lie = refused(&lying, Some(&complete));
        assert_eq!(lie, Some(ErrorCode::BadRequest));
        // Somebody else's form of reference is nothing to us.
        assert_eq!(refused(&append("m/1".into(), 8), None), None);
    }

    #[test]
    fn a_repeat_finds_its_media_and_another_body_does_not() {
        let new = |bytes| NewMedia {
            id: id(),
            owner: ANA,
            create: wire::CreateMedia {
                bytes,
                sha256: Bytes::from_static(&[7; 32]),
                ..wire::CreateMedia::default()
            },
            quota: internal::MediaQuota::default(),
        };
        let known = record(MediaState::Uploading);
        assert_eq!(repeated(known.clone(), &new(9)), Ok(known.clone()));
        let other = repeated(known, &new(8)).unwrap_err();
        assert_eq!(other.code, ErrorCode::Conflict);
        let doomed = repeated(record(MediaState::Doomed), &new(9)).unwrap_err();
        assert!(doomed.is_retryable() && doomed.retry_after_ms > 0);
    }
}
