//! One who listens to one conversation by HTTP: a session like any other to the gateway, whose
//! outbox is read here instead of on a socket.
//!
//! Not here: what the listener already has ([`super::cursor`]), and how it is told
//! ([`super::events`], [`super::messages`]).

use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use protocol::error::decode_body;
use protocol::kind::client;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::{Ephemeral, Head, MembershipNotice, Push, Welcome};
use protocol::{ConversationId, Frame, FrameCodec, Refusal};
use service_kit::clock;
use tokio_util::codec::Decoder as _;

use super::caller::{Caller, Listening};
use crate::connection::Present;
use crate::events;
use crate::handle::SessionHandle;
use crate::outbox::Outbox;

/// Pushes that wait for one listener, in frames. When full: its conversation is told by its head,
/// and pulled.
const PUSHES_MAX: usize = 256;

/// The same, in bytes.
const PUSH_BYTES_MAX: usize = 1024 * 1024;

/// What is taken out of the outbox at once, in bytes.
const TAKE_BYTES_MAX: usize = 64 * 1024;

/// A listener; dropped, it listens no more.
pub(super) struct Listener {
    present: Present,
    conversation: ConversationId,
    frames: BytesMut,
    codec: FrameCodec,
    /// The history that the conversation is of.
    pub(super) history_generation: u64,
    _right: Listening,
}

/// What concerns the conversation.
#[derive(Debug)]
pub(super) enum News {
    /// Entries, as they were pushed.
    Entries(Push),
    /// It has entries that are not pushed.
    Head,
    /// A message that is not kept.
    Ephemeral(Ephemeral),
    /// The account is no longer in it.
    Left,
    /// The session has to end.
    Evicted(&'static str),
}

impl Drop for Listener {
    fn drop(&mut self) {
        events::http_listener(false);
    }
}

impl Listener {
    /// Listens from now on.
    pub(super) async fn open(
        caller: &Caller,
        conversation: ConversationId,
    ) -> Result<Self, Refusal> {
        let right = caller.listen()?;
        let outbox = Outbox::with_limits(PUSHES_MAX, PUSH_BYTES_MAX);
        let handle = SessionHandle::with_outbox(caller.session, caller.account, false, outbox)
            .holding(caller.held.clone())
            .listening();
        let present = Present::new(&caller.http().gateway, Arc::new(handle));
        let page = present.arrive(0).await?;
        // Nobody reads it; it opens the outbox.
        let welcome = Frame::notice(client::WELCOME, &Welcome::default());
        present.handle().welcome(&welcome);
        events::http_listener(true);
        Ok(Self {
            present,
            conversation,
            frames: BytesMut::new(),
            codec: FrameCodec::new(FRAME_BYTES_MAX),
            history_generation: page.history_generation,
            _right: right,
        })
    }

    /// The next news. Cancel-safe.
    pub(super) async fn next(&mut self) -> News {
        loop {
            while let Ok(Some(frame)) = self.codec.decode(&mut self.frames) {
                if let Some(news) = self.news(frame) {
                    return news;
                }
            }
            let (handle, frames) = (self.present.handle(), &mut self.frames);
            let evicted = std::future::poll_fn(|cx| {
                handle.watch(cx.waker());
                if let Some(why) = handle.evicted() {
                    return Poll::Ready(Some(why));
                }
                if handle.take_into(frames, TAKE_BYTES_MAX, clock::unix_ms()) {
                    return Poll::Ready(None);
                }
                Poll::Pending
            });
            if let Some(why) = evicted.await {
                return News::Evicted(why.reason());
            }
        }
    }

    /// What a frame says of the conversation, if anything.
    fn news(&self, frame: Frame) -> Option<News> {
        let ours = |id: &[u8]| id == self.conversation.as_bytes();
        match frame.kind {
            client::PUSH => {
                let push: Push = decode_body(frame.body).ok()?;
                let first = push.entries.first()?;
                ours(&first.conversation_id).then_some(News::Entries(push))
            }
            client::HEAD => {
                let head: Head = decode_body(frame.body).ok()?;
                ours(&head.conversation_id).then_some(News::Head)
            }
            client::EPHEMERAL => {
                let message: Ephemeral = decode_body(frame.body).ok()?;
                ours(&message.conversation_id).then_some(News::Ephemeral(message))
            }
            client::MEMBERSHIP_NOTICE => {
                let notice: MembershipNotice = decode_body(frame.body).ok()?;
                let of = notice.membership?.conversation_id;
                (ours(&of) && !notice.joined).then_some(News::Left)
            }
            _ => None,
        }
    }
}
