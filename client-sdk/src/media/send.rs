//! Sends a message with media: the bytes first, from wherever they are already, then the message.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, HeaderName};
use protocol::content::Content;
use protocol::kind::client as kind;
use protocol::wire::{CreateMedia, Media, MediaCreated, MediaState, MediaUrl};
use protocol::{ClientMessageId, ConversationId};
use ring::digest;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::Instant;

use super::http::{Connection, Failed, nothing};
use super::{MediaError, MediaSource, OutgoingMedia};
use crate::client::Client;
use crate::message::{Outgoing, Receipt};

/// Bytes in one request: after each, the server has said what it has.
const SEND_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is read from a file at once, in bytes.
const READ_BYTES: usize = 128 * 1024;

/// How long the server may verify a whole media.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(600);

const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// By the ends of names; what is not here is bytes.
const TYPES: [(&str, &str); 16] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("mp4", "video/mp4"),
    ("mkv", "video/x-matroska"),
    ("webm", "video/webm"),
    ("wav", "audio/wav"),
    ("ogg", "audio/ogg"),
    ("pgm", "image/x-portable-graymap"),
    ("pcd", "application/x-pcd"),
    ("yaml", "application/yaml"),
    ("json", "application/json"),
    ("txt", "text/plain"),
    ("log", "text/plain"),
];

/// An upload.
struct Upload<'a> {
    client: &'a Client,
    media: &'a OutgoingMedia,
    create: CreateMedia,
    /// How many bytes the server has said that it has, and when that was more than before.
    far: (u64, Instant),
}

impl Client {
    /// Sends a message with media: uploads it, going on where it was after whatever happens to a
    /// gateway or the link, and then sends the message that refers to it.
    pub async fn send_media(
        &self,
        conversation: ConversationId,
        source: MediaSource,
        caption: impl Into<String>,
    ) -> Result<Receipt, MediaError> {
        let media = OutgoingMedia::new(source, caption);
        self.send_media_with(conversation, media).await
    }

    /// The same with all that can be said of it.
    pub async fn send_media_with(
        &self,
        conversation: ConversationId,
        media: OutgoingMedia,
    ) -> Result<Receipt, MediaError> {
        let fresh = || self.new_message_id();
        let id = media.client_message_id.unwrap_or_else(fresh);
        let (said, caption) = (self.upload(id, &media).await?, media.caption);
        let said = Content::Media(Media { caption, ..said });
        let mut outgoing = Outgoing::new(conversation, said);
        outgoing.client_message_id = Some(id);
        Ok(self.send_with(outgoing).await?)
    }

    /// Uploads alone. What a message then says of it.
    async fn upload(
        &self,
        id: ClientMessageId,
        media: &OutgoingMedia,
    ) -> Result<Media, MediaError> {
        let (bytes, sha256) = measured(media.source.clone()).await?;
        let name = media.source.name();
        let of_name = || type_of(&name).to_owned();
        let create = CreateMedia {
            client_message_id: id.to_bytes(),
            bytes,
            sha256,
            media_type: media.media_type.clone().unwrap_or_else(of_name),
            name,
        };
        let mut upload = Upload {
            client: self,
            media,
            create,
            far: (0, Instant::now()),
        };
        let reference = upload.run().await?;
        Ok(Media {
            reference,
            media_type: upload.create.media_type,
            bytes,
            sha256: upload.create.sha256,
            name: upload.create.name,
            caption: String::new(),
        })
    }
}

impl Upload<'_> {
    /// The reference to it.
    async fn run(&mut self) -> Result<String, MediaError> {
        loop {
            let asked = self
                .client
                .request::<MediaCreated>(kind::CREATE_MEDIA, &self.create);
            let failed = match asked.await {
                Ok(created) if created.state() == MediaState::Complete => {
                    return Ok(created.reference);
                }
                Ok(created) => {
                    let url = created.upload.unwrap_or_default();
                    match self.attempt(&url).await {
                        Ok(()) => return Ok(created.reference),
                        Err(failed) => failed,
                    }
                }
                // It was tried again for as long as requests are.
                Err(error) => return Err(error.into()),
            };
            match failed {
                Failed::Finally(refusal) => return Err(MediaError::Refused(refusal)),
                Failed::Again(last, _) if self.far.1.elapsed() > self.media.patience => {
                    return Err(MediaError::Stalled { last });
                }
                Failed::Again(why, rest) => {
                    tracing::debug!(why, far = self.far.0, "an upload goes on");
                    tokio::time::sleep(rest).await;
                }
            }
        }
    }

    async fn attempt(&mut self, url: &MediaUrl) -> Result<(), Failed> {
        let mut connection = self.client.media_connection(url).await?;
        let asked = connection.ask(Method::HEAD, url, &[], (nothing(), None));
        let mut offset = offset(&asked.await?)?;
        self.is_at(offset);
        while offset < self.create.bytes {
            offset = self.send(&mut connection, url, offset).await?;
            self.is_at(offset);
        }
        let finish = (nothing(), Some(VERIFY_TIMEOUT));
        connection.ask(Method::POST, url, &[], finish).await?;
        Ok(())
    }

    fn is_at(&mut self, offset: u64) {
        if offset > self.far.0 {
            self.far = (offset, Instant::now());
        }
    }

    /// Sends some bytes; up to where the server has them then.
    async fn send(
        &self,
        connection: &mut Connection,
        url: &MediaUrl,
        from: u64,
    ) -> Result<u64, Failed> {
        let length = SEND_BYTES_MAX.min(self.create.bytes - from);
        let taken = Arc::new(AtomicU64::new(from));
        let body = self.body(from, length, Arc::clone(&taken)).await;
        let body = body.map_err(Failed::again)?;
        let headers = [
            (OFFSET, from.to_string()),
            (CONTENT_LENGTH, length.to_string()),
        ];
        let whole = (body, Some(Duration::MAX));
        let asking = connection.ask(Method::PATCH, url, &headers, whole);
        tokio::pin!(asking);
        let mut last = from;
        loop {
            match tokio::time::timeout(self.media.patience, asking.as_mut()).await {
                Ok(answer) => return offset(&answer?),
                Err(_) if taken.load(Ordering::Relaxed) == last => {
                    return Err(Failed::again("the gateway takes nothing"));
                }
                Err(_) => last = taken.load(Ordering::Relaxed),
            }
        }
    }

    async fn body(
        &self,
        from: u64,
        length: u64,
        taken: Arc<AtomicU64>,
    ) -> std::io::Result<super::http::Body> {
        let (progress, all) = (self.media.progress.clone(), self.create.bytes);
        let told = move |bytes: &Bytes| {
            let now = taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if let Some(progress) = &progress {
                progress(now + bytes.len() as u64, all);
            }
        };
        match &self.media.source {
            MediaSource::Bytes { bytes, .. } => {
                let at = usize::try_from(from).map_err(std::io::Error::other)?;
                let up_to = usize::try_from(from + length).map_err(std::io::Error::other)?;
                let left = bytes.slice(at..up_to);
                let chunks = stream::unfold(left, move |mut left| {
                    let next =
                        (!left.is_empty()).then(|| left.split_to(READ_BYTES.min(left.len())));
                    let next = next.inspect(&told);
                    async move { Some((Ok(Frame::data(next?)), left)) }
                });
                Ok(StreamBody::new(chunks).boxed_unsync())
            }
            MediaSource::Path(path) => {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(std::io::SeekFrom::Start(from)).await?;
                let file = file.take(length);
                let chunks = stream::try_unfold((file, told), |(mut file, told)| async move {
                    let mut bytes = bytes::BytesMut::with_capacity(READ_BYTES);
                    let read = file.read_buf(&mut bytes).await?;
                    let next = bytes.freeze();
                    told(&next);
                    Ok((read > 0).then_some((Frame::data(next), (file, told))))
                });
                Ok(StreamBody::new(chunks).boxed_unsync())
            }
        }
    }
}

/// How long it is, and its SHA-256.
async fn measured(source: MediaSource) -> Result<(u64, Bytes), MediaError> {
    let path = match source {
        MediaSource::Path(path) => path,
        MediaSource::Bytes { bytes, .. } => {
            let sha256 = digest::digest(&digest::SHA256, &bytes);
            let sha256 = Bytes::copy_from_slice(sha256.as_ref());
            return Ok((bytes.len() as u64, sha256));
        }
    };
    let measuring = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || measure(&path))
    };
    let measured = measuring.await.unwrap_or_else(|_| {
        let why = "the file was not read to its end";
        Err(std::io::Error::other(why))
    });
    measured.map_err(|source| MediaError::File { path, source })
}

/// Reads all of a file.
pub(super) fn measure(path: &Path) -> std::io::Result<(u64, Bytes)> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut bytes) = (digest::Context::new(&digest::SHA256), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, Bytes::copy_from_slice(hash.finish().as_ref())));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// Where the server says that it is.
fn offset(answer: &hyper::Response<hyper::body::Incoming>) -> Result<u64, Failed> {
    let said = answer.headers().get(OFFSET);
    let said = said.and_then(|value| value.to_str().ok()?.parse().ok());
    said.ok_or_else(|| Failed::again("an answer without Upload-Offset"))
}

fn type_of(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let known = TYPES.iter().find(|(its, _)| its.eq_ignore_ascii_case(end));
    known.map_or("application/octet-stream", |(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_follows_from_its_name_unless_it_is_said() {
        assert_eq!(type_of("现场.PNG"), "image/png");
        assert_eq!(type_of("png"), "application/octet-stream");
        assert_eq!(type_of("a.b.mp4"), "video/mp4");
    }

    #[tokio::test]
    async fn a_file_and_its_bytes_measure_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.pgm");
        let bytes = vec![7; 3 * READ_BYTES + 5];
        std::fs::write(&path, &bytes).unwrap();
        let file = measured(MediaSource::path(&path)).await.unwrap();
        let here = measured(MediaSource::bytes("x", bytes)).await.unwrap();
        assert_eq!(file, here);
        let missing = measured(MediaSource::path("/no/such/file")).await;
        assert!(matches!(missing, Err(MediaError::File { .. })));
    }
}
