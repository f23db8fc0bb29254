//! Media: messages refer to what is complete, what they refer to stays, and what none does goes.

use bytes::Bytes;
use im_store::engine::{Chore, Done};
use im_store::media::{MediaChore, MediaDone, MediaReaders as _, NewMedia, Step};
use im_store::shard::Append;
use im_store::writer::Writer;
use protocol::content::{self, Content};
use protocol::media::MediaId;
use protocol::wire::{self, EntryKind, MediaItem, MediaState, internal};
use protocol::{AccountId, ClientMessageId, ErrorCode, Refusal, SequenceNumber};

use crate::backend::Backend;
use crate::history::about;
use crate::writer::{NOW_MS, own, pair, start, text};

const BYTES: u64 = 1000;

/// After everything that a test does.
const LATER_MS: u64 = NOW_MS + 1;

fn new(owner: u64, n: u8, quota: (u64, u64, u64)) -> NewMedia {
    let request = ClientMessageId::new(NOW_MS, [n; 10]);
    let (account_bytes_max, fleet_bytes_max, unfinished_max) = quota;
    NewMedia {
        id: MediaId::of(AccountId(owner), request),
        owner: AccountId(owner),
        create: wire::CreateMedia {
            client_message_id: request.to_bytes(),
            bytes: BYTES,
            sha256: Bytes::from_static(&[7; 32]),
            media_type: "image/png".into(),
            name: "现场.png".into(),
        },
        quota: internal::MediaQuota {
            account_bytes_max,
            fleet_bytes_max,
            unfinished_max,
        },
    }
}

async fn write(writer: &Writer, chore: MediaChore) -> Result<MediaDone, Refusal> {
    let Done::Media(done) = writer.chore(Chore::Media(chore)).await? else {
        panic!("another chore");
    };
    Ok(done)
}

async fn create(writer: &Writer, new: NewMedia) -> Result<MediaItem, ErrorCode> {
    let done = write(writer, MediaChore::Create(new)).await;
    item(done)
}

async fn step(writer: &Writer, id: MediaId, step: Step) -> Result<MediaItem, ErrorCode> {
    item(write(writer, MediaChore::Step(id, step)).await)
}

fn item(done: Result<MediaDone, Refusal>) -> Result<MediaItem, ErrorCode> {
    match done {
        Ok(MediaDone::Record(record)) => Ok(record.item),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.code),
    }
}

async fn sweep(writer: &Writer, gone: &[MediaId], before_ms: u64) -> Vec<MediaId> {
    let chore = MediaChore::Sweep {
        gone: gone.to_vec(),
        before_ms,
        limit: 100,
    };
    match write(writer, chore).await {
        Ok(MediaDone::Doomed(doomed)) => doomed,
        other => panic!("{other:?}"),
    }
}

/// A message of this sender that refers to it.
fn naming(sender: u64, id: u16, media: MediaId) -> Append {
    let said = Content::Media(wire::Media {
        reference: media.reference(),
        media_type: "image/png".into(),
        bytes: BYTES,
        sha256: Bytes::from_static(&[7; 32]),
        ..wire::Media::default()
    });
    Append {
        kind: EntryKind::Media,
        content: content::encode(said),
        ..text(pair(), sender, id, "")
    }
}

async fn complete(writer: &Writer, owner: u64, n: u8) -> MediaId {
    let new = new(owner, n, (1 << 20, 1 << 20, 100));
    let id = new.id;
    create(writer, new).await.unwrap();
    step(writer, id, Step::Finish).await.unwrap();
    id
}

pub(crate) async fn a_message_keeps_what_it_refers_to_until_it_is_gone(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let readers = backend.readers().await;
    let media = new(1, 1, (5000, 5000, 5));
    let id = media.id;
    assert_eq!(readers.media(id).await.unwrap(), None);
    let made = create(&writer, media.clone()).await.unwrap();
    assert_eq!(made.state(), MediaState::Uploading);
    assert_eq!(made.name, "现场.png");
    let refused = writer.append(naming(1, 1, id)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchMedia);
    let whole = step(&writer, id, Step::Finish).await.unwrap();
    assert_eq!(whole.state(), MediaState::Complete);
    // Each may be asked again.
    assert_eq!(
        create(&writer, media).await.unwrap().state(),
        MediaState::Complete
    );
    assert_eq!(
        step(&writer, id, Step::Finish).await.unwrap().state(),
        MediaState::Complete
    );
    let refused = writer.append(naming(2, 1, id)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);

    let first = writer.append(naming(1, 1, id)).await.unwrap();
    assert!(writer.append(naming(1, 1, id)).await.unwrap().duplicate);
    let second = writer.append(naming(1, 2, id)).await.unwrap();
    let known = readers.media(id).await.unwrap().unwrap();
    assert_eq!((known.owner, known.item.messages), (AccountId(1), 2));
    assert_eq!(sweep(&writer, &[], LATER_MS).await, []);

    // One goes by a recall, the other by retention.
    let recall = about(EntryKind::Recall, first.sequence.0, text(pair(), 1, 3, "r"));
    writer.append(recall).await.unwrap();
    assert_eq!(readers.media(id).await.unwrap().unwrap().item.messages, 1);
    assert_eq!(sweep(&writer, &[], LATER_MS).await, []);
    let trim = Chore::Trim {
        conversation: pair(),
        from: SequenceNumber::ZERO,
        up_to: second.sequence,
    };
    for _ in 0..2 {
        writer.chore(trim.clone()).await.unwrap();
    }
    assert_eq!(readers.media(id).await.unwrap().unwrap().item.messages, 0);
    assert_eq!(sweep(&writer, &[], NOW_MS).await, [], "not for long enough");
    assert_eq!(sweep(&writer, &[], LATER_MS).await, [id]);
    let refused = writer.append(naming(1, 4, id)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchMedia);
    let (own, used) = readers.media_of(AccountId(1), &[], 9).await.unwrap();
    assert_eq!(
        (own.len(), own[0].state(), used),
        (1, MediaState::Doomed, BYTES)
    );
    assert_eq!(
        sweep(&writer, &[], LATER_MS).await,
        [id],
        "as long as it is there"
    );
    assert_eq!(sweep(&writer, &[id], LATER_MS).await, []);
    let (own, used) = readers.media_of(AccountId(1), &[], 9).await.unwrap();
    assert_eq!((own.len(), used), (0, 0));
}

pub(crate) async fn media_have_the_room_of_their_account_and_of_the_fleet(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let quota = (2 * BYTES, 3 * BYTES, 9);
    let made = async |owner, n| create(&writer, new(owner, n, quota)).await.map(|_| ());
    assert_eq!(made(1, 1).await, Ok(()));
    assert_eq!(made(1, 2).await, Ok(()));
    assert_eq!(made(1, 3).await, Err(ErrorCode::MediaQuota));
    assert_eq!(made(1, 2).await, Ok(()), "a repeat takes no room");
    assert_eq!(made(2, 1).await, Ok(()));
    assert_eq!(made(2, 2).await, Err(ErrorCode::MediaQuota), "of the fleet");
    let other = NewMedia {
        create: wire::CreateMedia {
            bytes: 1,
            ..new(1, 1, quota).create
        },
        ..new(1, 1, quota)
    };
    assert_eq!(create(&writer, other).await, Err(ErrorCode::Conflict));

    // What is not what was said goes, and its room with it.
    let wrong = new(1, 1, quota).id;
    step(&writer, wrong, Step::Discard).await.unwrap();
    assert_eq!(
        step(&writer, wrong, Step::Finish).await,
        Err(ErrorCode::NoSuchMedia)
    );
    assert_eq!(sweep(&writer, &[], 1).await, [wrong]);
    assert_eq!(made(1, 1).await, Err(ErrorCode::Unavailable));
    assert_eq!(sweep(&writer, &[wrong], 1).await, []);
    assert_eq!(made(1, 1).await, Ok(()));

    let roomy = (1 << 20, 1 << 20, 3);
    let begun = async |n| create(&writer, new(3, n, roomy)).await.map(|_| ());
    for n in 1..=3 {
        assert_eq!(begun(n).await, Ok(()));
    }
    assert_eq!(begun(4).await, Err(ErrorCode::RateLimited));
    let first = new(3, 1, roomy).id;
    step(&writer, first, Step::Touch).await.unwrap();
    step(&writer, first, Step::Finish).await.unwrap();
    assert_eq!(begun(4).await, Ok(()));
    let (page, _) = backend
        .readers()
        .await
        .media_of(AccountId(3), first.as_bytes(), 2)
        .await
        .unwrap();
    assert!(page.len() <= 2 && page.iter().all(|it| it.media_id > first.to_bytes()));
}

pub(crate) async fn a_message_and_a_sweep_that_meet_never_lose_a_media(backend: &impl Backend) {
    const MEDIA: u8 = 40;
    let (sends, _task) = start(backend).await;
    let (sweeps, _other) = own(backend.engine().await);
    let mut all = Vec::new();
    for n in 1..=MEDIA {
        all.push(complete(&sends, 1, n).await);
    }
    let sending = all.iter().zip(1..).map(|(id, n)| {
        let (writer, append) = (sends.clone(), naming(1, n, *id));
        tokio::spawn(async move { writer.append(append).await })
    });
    let sending: Vec<_> = sending.collect();
    let mut doomed = Vec::new();
    for _ in 0..3 {
        doomed.extend(sweep(&sweeps, &[], LATER_MS).await);
        tokio::task::yield_now().await;
    }
    let readers = backend.readers().await;
    for (id, sent) in all.into_iter().zip(sending) {
        let item = readers.media(id).await.unwrap().unwrap().item;
        match sent.await.unwrap() {
            Ok(_) => {
                let item = readers.media(id).await.unwrap().unwrap().item;
                assert_eq!((item.state(), item.messages), (MediaState::Complete, 1));
                assert!(!doomed.contains(&id), "{id}");
            }
            Err(refusal) => {
                assert_eq!(refusal.code, ErrorCode::NoSuchMedia, "{refusal}");
                assert_eq!((item.state(), item.messages), (MediaState::Doomed, 0));
                assert!(doomed.contains(&id), "{id}");
            }
        }
    }
}
