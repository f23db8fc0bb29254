//! Media: methods 175 to 179 of `internal.proto`.

use bytes::Bytes;
use protocol::kind::method;
use protocol::limits::MEDIA_PER_PAGE_MAX;
use protocol::media::MediaId;
use protocol::wire::{EntryKind, MediaPage, OpenMedia, internal};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal, SequenceNumber};
use service_kit::{clock, rpc};

use super::{bounded, failed, no_such_entry, unwritten};
use crate::engine::{Chore, Done, Readers};
use crate::events;
use crate::media::{MediaChore, MediaDone, NewMedia, Record, Step, no_such_media};
use crate::read::{self, Entitlement, Span};
use crate::writer::Writer;

/// Media that are doomed at once.
const SWEPT_TOGETHER_MAX: u32 = 256;

/// One of these methods.
pub(super) async fn answer(
    writer: &Writer,
    readers: &impl Readers,
    method: u16,
    body: Bytes,
) -> Result<Bytes, Refusal> {
    match method {
        method::STORE_MEDIA => create(writer, rpc::decode(body)?).await,
        method::STORE_MEDIA_STEP => step(writer, rpc::decode(body)?).await,
        method::STORE_MEDIA_SWEEP => sweep(writer, rpc::decode(body)?).await,
        method::READ_MEDIA => read(readers, rpc::decode(body)?).await,
        _ => list(readers, rpc::decode(body)?).await,
    }
}

async fn create(writer: &Writer, asked: internal::StoreMedia) -> Result<Bytes, Refusal> {
    let owner = AccountId(asked.account_id);
    let create = asked.create.unwrap_or_default();
    let request = ClientMessageId::from_slice(&create.client_message_id)?;
    let new = NewMedia {
        id: MediaId::of(owner, request),
        owner,
        create,
        quota: asked.quota.unwrap_or_default(),
    };
    of_record(write(writer, MediaChore::Create(new)).await?)
}

async fn step(writer: &Writer, asked: internal::StepMedia) -> Result<Bytes, Refusal> {
    let step = match asked.step() {
        internal::MediaStep::Touch => Step::Touch,
        internal::MediaStep::Finish => Step::Finish,
        internal::MediaStep::Discard => Step::Discard,
        internal::MediaStep::Unspecified => return Err(Refusal::bad_request("step: unknown")),
    };
    let id = MediaId::from_slice(&asked.media_id)?;
    of_record(write(writer, MediaChore::Step(id, step)).await?)
}

async fn sweep(writer: &Writer, asked: internal::SweepMedia) -> Result<Bytes, Refusal> {
    let gone = asked.gone.iter().map(|id| MediaId::from_slice(id));
    let gone = gone.collect::<Result<Vec<_>, _>>()?;
    let chore = MediaChore::Sweep {
        gone,
        before_ms: clock::unix_ms().saturating_sub(asked.grace_ms),
        limit: bounded(asked.limit, SWEPT_TOGETHER_MAX),
    };
    let MediaDone::Doomed(doomed) = write(writer, chore).await? else {
        return Err(Refusal::internal("media were swept, and one came"));
    };
    events::media_doomed(doomed.len());
    Ok(rpc::encode(&internal::SweptMedia {
        doomed: doomed.into_iter().map(MediaId::to_bytes).collect(),
    }))
}

async fn read(readers: &impl Readers, asked: internal::ReadMedia) -> Result<Bytes, Refusal> {
    let account = AccountId(asked.account_id);
    let open = asked.open.unwrap_or_default();
    let (id, is_named) = if open.conversation_id.is_empty() {
        (MediaId::from_slice(&open.media_id)?, false)
    } else {
        (named(readers, account, &open).await?, true)
    };
    let known = readers.media(id).await.map_err(failed)?;
    // Whether there is one of somebody else's is nobody's business.
    let known = known.filter(|record| is_named || record.owner == account);
    encoded(&known.ok_or_else(no_such_media)?)
}

/// What a message names that the account may read.
async fn named(
    readers: &impl Readers,
    account: AccountId,
    open: &OpenMedia,
) -> Result<MediaId, Refusal> {
    let conversation = ConversationId::from_slice(&open.conversation_id)?;
    let sequence = SequenceNumber(open.sequence);
    let span = Span::forward(SequenceNumber(open.sequence.saturating_sub(1)), 1);
    let history = readers.history(conversation, account, span).await;
    let Some(history) = history.map_err(failed)? else {
        unwritten(conversation, account)?;
        return Err(no_such_entry(sequence));
    };
    let entitlement = Entitlement::new(history.stays, history.history_open)?;
    let page = read::page(history.entries, &entitlement, clock::unix_ms());
    let entry = page.into_iter().find(|entry| entry.sequence == sequence.0);
    let entry = entry.ok_or_else(|| no_such_entry(sequence))?;
    if entry.kind() == EntryKind::Placeholder {
        return Err(no_such_entry(sequence));
    }
    let named = MediaId::named_by(entry.kind(), &entry.content);
    named.map(|(id, _)| id).ok_or_else(no_such_media)
}

async fn list(readers: &impl Readers, asked: internal::ListMediaRecords) -> Result<Bytes, Refusal> {
    let list = asked.list.unwrap_or_default();
    let limit = bounded(list.limit, MEDIA_PER_PAGE_MAX);
    let owner = AccountId(asked.account_id);
    let found = readers.media_of(owner, &list.after_media_id, limit + 1);
    let (mut media, used_bytes) = found.await.map_err(failed)?;
    let more = media.len() > limit as usize;
    media.truncate(limit as usize);
    Ok(rpc::encode(&MediaPage {
        media,
        more,
        used_bytes,
        ..MediaPage::default()
    }))
}

async fn write(writer: &Writer, chore: MediaChore) -> Result<MediaDone, Refusal> {
    let Done::Media(done) = writer.chore(Chore::Media(chore)).await? else {
        return Err(Refusal::internal("a chore of media, and none came"));
    };
    Ok(done)
}

fn of_record(done: MediaDone) -> Result<Bytes, Refusal> {
    match done {
        MediaDone::Record(record) => encoded(&record),
        MediaDone::Doomed(_) => Err(Refusal::internal("one media was asked for")),
    }
}

fn encoded(record: &Record) -> Result<Bytes, Refusal> {
    Ok(rpc::encode(&internal::MediaRecord {
        media: Some(record.item.clone()),
        owner: record.owner.0,
    }))
}
