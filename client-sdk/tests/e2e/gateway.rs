//! Gateways that speak the public protocol over one set of logs in memory. They lose, repeat,
//! delay and refuse only what a test tells them to.

use std::sync::Arc;
use std::time::Duration;

use client_sdk::protocol::kind::client as kind;
use client_sdk::protocol::limits::FRAME_BYTES_MAX;
use client_sdk::protocol::wire;
use client_sdk::protocol::{Frame, FrameCodec};
use client_sdk::{Client, ConversationId, Credential, ErrorCode, Event, Events, Refusal};
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::Framed;

use super::authority::Authority;
use super::state::{HungUp, State, answer};

/// Nothing in these tests takes longer unless it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Frames that wait to be written to one client.
const ORDERS_MAX: usize = 4096;

/// What a gateway is to do to one client.
pub(crate) enum Order {
    Frame(Frame),
    HangUp,
}

/// The gateways of one fleet.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) authority: Arc<Authority>,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
}

impl Fleet {
    /// A fleet without a gateway.
    pub(crate) fn new() -> Self {
        Self {
            authority: Arc::new(Authority::new()),
            state: Arc::new(Mutex::new(State::new())),
            changed: Arc::new(watch::Sender::new(())),
        }
    }

    /// One more gateway; returns its address.
    pub(crate) async fn gateway(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = self.authority.acceptor();
        let (fleet, at) = (self.clone(), address.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(fleet.clone().serve(stream, acceptor.clone(), at.clone()));
            }
        });
        address
    }

    /// An operator connected to one gateway.
    pub(crate) async fn client(&self) -> (Client, Events) {
        let address = self.gateway().await;
        let credential = Credential::Token("operator".into());
        let config = self.authority.config(&[&address], credential);
        Client::connect(config).await.unwrap()
    }

    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let outcome = change(&mut self.state.lock());
        self.changed.send_replace(());
        outcome
    }

    /// Waits until the gateways have seen this.
    pub(crate) async fn until(&self, what: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = async {
            while !what(&self.state.lock()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    /// Says this to every client that is connected.
    pub(crate) fn say(&self, frame: &Frame) {
        self.order(|| Order::Frame(frame.clone()));
    }

    pub(crate) fn hang_up(&self) {
        self.order(|| Order::HangUp);
    }

    /// Pushes the entries with these numbers, each in a frame of its own.
    pub(crate) fn push(&self, conversation: ConversationId, sequences: &[usize]) {
        for sequence in sequences {
            let entries = self.with(|state| vec![state.logs[&conversation][sequence - 1].clone()]);
            self.say(&Frame::notice(kind::PUSH, &wire::Push { entries }));
        }
    }

    pub(crate) fn head(&self, conversation: ConversationId) {
        let head = self.with(|state| state.logs[&conversation].len() as u64);
        let head = wire::Head {
            conversation_id: conversation.to_bytes(),
            head,
        };
        self.say(&Frame::notice(kind::HEAD, &head));
    }

    /// Waits until the client has acted on everything that was said to it.
    pub(crate) async fn settled(&self) {
        let before = self.with(|state| state.pongs);
        let ping = Frame {
            correlation: 1,
            ..Frame::notice(kind::PING, &wire::Ping::default())
        };
        self.say(&ping);
        self.until(|state| state.pongs > before).await;
    }

    fn order(&self, order: impl Fn() -> Order) {
        let clients = self.with(|state| state.clients.clone());
        for client in clients {
            // One that has gone hears nothing.
            client.try_send(order()).ok();
        }
    }

    async fn serve(self, stream: TcpStream, acceptor: TlsAcceptor, address: String) {
        let Ok(stream) = acceptor.accept(stream).await else {
            return;
        };
        let is_robot = stream.get_ref().1.peer_certificates().is_some();
        let mut framed = Framed::new(stream, FrameCodec::new(FRAME_BYTES_MAX));
        let Some(Ok(hello)) = framed.next().await else {
            return;
        };
        assert_eq!(hello.kind, kind::HELLO);
        let correlation = hello.correlation;
        let hello = wire::Hello::decode(hello.body).unwrap();
        let is_trusted = is_robot || hello.token == "operator";
        let zstd = hello.features.contains(&wire::Feature::Zstd.into());
        let (orders, mut ordered) = mpsc::channel(ORDERS_MAX);
        let (connection, welcome) = self.with(|state| {
            state.hellos.push((address, hello));
            if is_trusted {
                state.clients.push(orders);
            }
            (state.clients.len(), state.welcome(is_robot, zstd))
        });
        if !is_trusted {
            let refusal = Refusal::new(ErrorCode::Unauthenticated, "an unknown token");
            let answer = answer(kind::ERROR, correlation, &refusal.to_wire());
            framed.send(&answer).await.ok();
            return;
        }
        let welcome = answer(kind::WELCOME, correlation, &welcome);
        if framed.send(&welcome).await.is_err() {
            return;
        }
        framed.codec_mut().set_zstd(zstd);
        loop {
            let answer = tokio::select! {
                order = ordered.recv() => match order {
                    Some(Order::Frame(frame)) => Some(frame),
                    Some(Order::HangUp) | None => return,
                },
                frame = framed.next() => match frame {
                    Some(Ok(frame)) => match self.with(|state| state.answer(connection, frame)) {
                        Ok(answer) => answer,
                        Err(HungUp) => return,
                    },
                    Some(Err(_)) | None => return,
                },
            };
            if let Some(answer) = answer
                && framed.send(&answer).await.is_err()
            {
                return;
            }
        }
    }
}

/// The next event that this picks, of whatever comes.
pub(crate) async fn next<R>(events: &mut Events, pick: impl Fn(Event) -> Option<R>) -> R {
    let wait = async {
        loop {
            let event = events.next().await.expect("the client is open");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

/// The number of the next message.
pub(crate) async fn next_sequence(events: &mut Events) -> u64 {
    next(events, |event| match event {
        Event::Message(message) => Some(message.sequence.0),
        _ => None,
    })
    .await
}
