//! A line to the database that fails when told to: at the next COMMIT.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the line does with the next COMMIT. After that it is a good line again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Passes it on.
    Pass,
    /// Passes it on, and breaks before the answer.
    LoseAnswer,
    /// Breaks before it arrives.
    LoseCommit,
    /// Breaks, and passes it on when the next session waits for the row, or when told to.
    Delay,
    /// Keeps it, and says nothing, until told to pass it on: as if the client had been stopped.
    Stall,
}

/// A COMMIT that was kept, after its way to the server.
type Delayed = (OwnedWriteHalf, Vec<u8>);

/// A listener that passes connections on.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    next: Arc<Mutex<Next>>,
    stalled: Arc<Notify>,
    released: Arc<Notify>,
    delayed: Arc<Mutex<Option<Delayed>>>,
}

/// COM_QUERY, and how what it says begins.
const COMMIT: &[u8] = b"\x03RELEASE SAVEPOINT whole; COMMIT";

/// By this statement a session waits for a row that another has.
const FENCE: &[u8] = b"owner_epoch = owner_epoch + 1";

impl Line {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let line = Self {
            address: listener.local_addr().unwrap(),
            next: Arc::new(Mutex::new(Next::Pass)),
            stalled: Arc::default(),
            released: Arc::default(),
            delayed: Arc::default(),
        };
        let accepting = line.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(server).await;
                let line = accepting.clone();
                tokio::spawn(async move { line.pass(client, server.unwrap()).await });
            }
        });
        line
    }

    pub(crate) fn at_the_next_commit(&self, next: Next) {
        *self.next.lock() = next;
    }

    /// Until a COMMIT is kept.
    pub(crate) async fn stalled(&self) {
        self.stalled.notified().await;
    }

    /// Passes on what was kept.
    pub(crate) async fn release(&self) {
        self.released.notify_one();
        let delayed = self.delayed.lock().take();
        if let Some(delayed) = delayed {
            commit(delayed).await;
        }
    }

    /// Until either end closes, or the line breaks.
    async fn pass(self, client: TcpStream, server: TcpStream) {
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::spawn(async move {
            // It ends when either end does.
            drop(tokio::io::copy(&mut from_server, &mut to_client).await);
        });
        let mut waits = false;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_client.read(&mut buffer).await.unwrap_or(0);
            let said = &buffer[..read];
            let commits = said.windows(COMMIT.len()).any(|part| part == COMMIT);
            let next = if commits {
                std::mem::replace(&mut *self.next.lock(), Next::Pass)
            } else {
                Next::Pass
            };
            match next {
                Next::Pass | Next::LoseAnswer => {
                    if next == Next::LoseAnswer {
                        back.abort();
                    }
                    let passed = to_server.write_all(said).await;
                    if read == 0 || passed.is_err() || next == Next::LoseAnswer {
                        break;
                    }
                }
                Next::LoseCommit => break,
                Next::Delay => {
                    back.abort();
                    *self.delayed.lock() = Some((to_server, said.to_vec()));
                    return;
                }
                Next::Stall => {
                    self.stalled.notify_one();
                    self.released.notified().await;
                    // The server may have ended the session meanwhile.
                    if to_server.write_all(said).await.is_err() {
                        break;
                    }
                }
            }
            // The statement was prepared before; what follows is its execution.
            if waits {
                let delayed = self.delayed.lock().take();
                if let Some(delayed) = delayed {
                    commit(delayed).await;
                }
            }
            waits = said.windows(FENCE.len()).any(|part| part == FENCE);
        }
        back.abort();
    }
}

/// Passes it on, and leaves the connection open.
async fn commit((mut server, said): Delayed) {
    server.write_all(&said).await.unwrap();
    server.forget();
}
