//! A client that speaks frames, and no more than it is told to.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message;
use protocol::kind::client;
use protocol::wire::Hello;
use protocol::{ErrorCode, Frame, FrameCodec, Refusal};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Framed;

/// How long anything may take before the test counts it as missing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn hello(token: &str) -> Hello {
    Hello {
        min_version: 1,
        max_version: 1,
        token: token.to_owned(),
        client_name: "test".to_owned(),
        ..Hello::default()
    }
}

/// A client that speaks frames.
pub(crate) struct Client(pub(crate) Framed<TlsStream<TcpStream>, FrameCodec>);

impl Client {
    pub(crate) async fn send(&mut self, kind: u16, correlation: u32, message: &impl Message) {
        self.send_body(kind, correlation, message.encode_to_vec().into())
            .await;
    }

    pub(crate) async fn send_body(&mut self, kind: u16, correlation: u32, body: Bytes) {
        let frame = Frame {
            kind,
            correlation,
            deadline_ms: 0,
            body,
        };
        self.0.send(frame).await.unwrap();
    }

    /// Whether it could be sent.
    pub(crate) async fn try_send(
        &mut self,
        kind: u16,
        correlation: u32,
        message: &impl Message,
    ) -> bool {
        let frame = Frame {
            correlation,
            ..Frame::notice(kind, message)
        };
        self.0.send(frame).await.is_ok()
    }

    /// The next frame; `None` when the gateway has closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
        next.expect("nothing arrives").map(Result::unwrap)
    }

    /// The next frame, which is of this kind.
    pub(crate) async fn receive(&mut self, kind: u16) -> Frame {
        let frame = self.next().await.expect("it is open");
        assert_eq!(frame.kind, kind, "{:?}", Refusal::decode(&frame.body));
        frame
    }

    /// The gateway says this, and closes.
    pub(crate) async fn is_refused(&mut self, code: ErrorCode) {
        let frame = self.receive(client::ERROR).await;
        assert_eq!(Refusal::decode(&frame.body).code, code);
        assert_eq!(self.next().await, None);
    }
}
