//! A proxy before the listener of an instance: everybody who connects to it comes through here, and
//! so the way to it can be cut, held up, slowed and narrowed. It reads no byte of what it passes.
//!
//! Faults of different kinds may be on one link at once; two of one kind end with the first.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use deploy::state::State;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes that are passed at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks of one direction that are on their way; when there are more, nothing is read, and the
/// sender's socket fills.
const CHUNKS_MAX: usize = 64;

/// After an accept that failed, for want of files for example.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How a link is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Whether new connections are reset.
    pub refuses: bool,
    /// Whether nothing passes to the instance, and from it.
    pub stalls: (bool, bool),
    /// How late each byte is, and by how much more at most.
    pub lag: Option<(Duration, Duration)>,
    /// How much of each direction of each connection passes in a second.
    pub bytes_per_second: Option<u32>,
}

/// Which of the two directions of a connection.
#[derive(Debug, Clone, Copy)]
enum Way {
    To,
    From,
}

/// The proxy of one instance. It ends when this is dropped, with all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Link {
    instance: String,
    /// The folder of the run file that says where the instance listens.
    state: PathBuf,
    target: OnceLock<SocketAddr>,
    shape: watch::Sender<Shape>,
    connections: Mutex<BTreeMap<u64, CancellationToken>>,
}

impl Proxy {
    /// Listens for an instance of a cluster that may not have been started yet: until then its
    /// connections are closed.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn listen(instance: &str, state: &Path) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let link = Arc::new(Link {
            instance: instance.to_owned(),
            state: state.to_owned(),
            target: OnceLock::new(),
            shape: watch::Sender::new(Shape::default()),
            connections: Mutex::default(),
        });
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&link)));
        Ok(Self {
            address,
            link,
            _accepting: accepting,
        })
    }

    /// Whose it is.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.link.instance
    }

    /// Where it is reached.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how the link is, for the connections that there are, too.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        self.link.shape.send_modify(change);
    }

    /// Resets every `nth` connection: all of them for 1.
    pub fn reset(&self, nth: usize) {
        let connections = self.link.connections.lock();
        connections
            .values()
            .step_by(nth)
            .for_each(CancellationToken::cancel);
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if link.shape.borrow().refuses {
            reset(client);
            continue;
        }
        let over = CancellationToken::new();
        link.connections.lock().insert(number, over.clone());
        let link = Arc::clone(&link);
        connections.spawn(async move {
            link.carry(client, &over).await;
            link.connections.lock().remove(&number);
        });
    }
}

impl Link {
    async fn carry(&self, mut client: TcpStream, over: &CancellationToken) {
        let connecting = async { TcpStream::connect(self.target()?).await.ok() };
        let Some(mut server) = connecting.await else {
            return reset(client);
        };
        // A proxy that gathered bytes would slow what it is not asked to slow. It fails when the
        // connection is gone.
        drop((client.set_nodelay(true), server.set_nodelay(true)));
        let was_reset = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let there = flow(from_client, to_server, self.shape.subscribe(), Way::To);
            let back = flow(from_server, to_client, self.shape.subscribe(), Way::From);
            tokio::select! {
                () = over.cancelled() => true,
                ended = async { tokio::try_join!(there, back) } => ended.is_err(),
            }
        };
        if was_reset {
            reset(client);
            reset(server);
        }
    }

    fn target(&self) -> Option<SocketAddr> {
        if let Some(known) = self.target.get() {
            return Some(*known);
        }
        let run = State::new(Some(self.state.clone())).running().ok()?;
        let mut listening = run.addresses.listening().into_iter();
        let (_, found) = listening.find(|(instance, _)| instance.to_string() == self.instance)?;
        Some(*self.target.get_or_init(|| found))
    }
}

/// Closes without a farewell.
fn reset(stream: TcpStream) {
    // It fails when the connection is gone, which is what is wanted.
    drop(stream.set_zero_linger());
    drop(stream);
}

/// One direction, to its end.
async fn flow(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut shape: watch::Receiver<Shape>,
    way: Way,
) -> std::io::Result<()> {
    let (queue, mut waiting) = mpsc::channel::<(Instant, Bytes)>(CHUNKS_MAX);
    let reading_shape = shape.clone();
    let read = async move {
        let mut due = Instant::now();
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            if from.read_buf(&mut chunk).await? == 0 {
                return Ok(());
            }
            // What comes later never leaves earlier.
            due = due.max(Instant::now() + lag(*reading_shape.borrow()));
            if queue.send((due, chunk.freeze())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = waiting.recv().await {
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            // It fails when the proxy ends, and this with it.
            drop(shape.wait_for(|shape| passes(*shape, way)).await);
            to.write_all(&chunk).await?;
            let rate = shape.borrow().bytes_per_second;
            if let Some(rate) = rate.filter(|rate| *rate > 0) {
                let chunk = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                tokio::time::sleep(Duration::from_secs(1) * chunk / rate).await;
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

fn lag(shape: Shape) -> Duration {
    let Some((least, more)) = shape.lag else {
        return Duration::ZERO;
    };
    least + more.mul_f64(rand::rng().random_range(0.0..1.0))
}

const fn passes(shape: Shape, way: Way) -> bool {
    match way {
        Way::To => !shape.stalls.0,
        Way::From => !shape.stalls.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything ends long before.
    const SOON: Duration = Duration::from_secs(10);

    /// Says back what it hears.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        address
    }

    async fn proxy() -> Proxy {
        let proxy = Proxy::listen("echo", Path::new("/nowhere")).await.unwrap();
        proxy.link.target.set(echo().await).unwrap();
        proxy
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    /// Whether it still speaks, and how long that took.
    async fn speaks(stream: &mut TcpStream) -> Option<Duration> {
        let began = Instant::now();
        let mut heard = [0; 4];
        stream.write_all(b"word").await.ok()?;
        let heard = tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await;
        heard.unwrap().ok()?;
        Some(began.elapsed())
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_until_both_sides_have_said_that_it_is_enough() {
        let proxy = proxy().await;
        let mut stream = connect(&proxy).await;
        let many = vec![7; 50 * CHUNK_BYTES];
        let (mut from, mut to) = stream.split();
        let mut heard = Vec::new();
        let say = async {
            to.write_all(&many).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(say, from.read_to_end(&mut heard));
        read.unwrap();
        assert_eq!(heard, many);
    }

    #[tokio::test]
    async fn a_cut_resets_what_there_is_and_refuses_what_comes() {
        let proxy = proxy().await;
        let mut old = connect(&proxy).await;
        assert!(speaks(&mut old).await.is_some());
        proxy.shape(|shape| shape.refuses = true);
        proxy.reset(1);
        assert!(speaks(&mut old).await.is_none());
        let mut new = connect(&proxy).await;
        assert!(speaks(&mut new).await.is_none());
        proxy.shape(|shape| shape.refuses = false);
        assert!(speaks(&mut connect(&proxy).await).await.is_some());
    }

    #[tokio::test]
    async fn a_move_resets_every_second_connection() {
        let proxy = proxy().await;
        let mut streams = Vec::new();
        for _ in 0..6 {
            let mut stream = connect(&proxy).await;
            assert!(speaks(&mut stream).await.is_some());
            streams.push(stream);
        }
        proxy.reset(2);
        let mut stay = 0;
        for stream in &mut streams {
            stay += usize::from(speaks(stream).await.is_some());
        }
        assert_eq!(stay, 3);
    }

    #[tokio::test]
    async fn a_stalled_direction_holds_bytes_and_passes_them_afterwards() {
        for stalls in [(true, true), (true, false), (false, true)] {
            let proxy = proxy().await;
            let mut stream = connect(&proxy).await;
            assert!(speaks(&mut stream).await.is_some());
            proxy.shape(|shape| shape.stalls = stalls);
            stream.write_all(b"word").await.unwrap();
            let mut heard = [0; 4];
            let held = Duration::from_millis(100);
            let read = tokio::time::timeout(held, stream.read_exact(&mut heard)).await;
            assert!(read.is_err(), "{stalls:?}");
            proxy.shape(|shape| shape.stalls = (false, false));
            let read = tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await;
            read.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn bytes_of_a_slow_link_are_late_and_those_of_a_narrow_one_few() {
        let proxy = proxy().await;
        let mut stream = connect(&proxy).await;
        let lag = Duration::from_millis(60);
        proxy.shape(|shape| shape.lag = Some((lag, lag)));
        assert!(speaks(&mut stream).await.unwrap() >= 2 * lag);
        proxy.shape(|shape| shape.lag = None);
        // The next chunk waits for the time of the last.
        proxy.shape(|shape| shape.bytes_per_second = Some(40));
        assert!(speaks(&mut stream).await.is_some());
        assert!(speaks(&mut stream).await.unwrap() >= lag);
    }
}
