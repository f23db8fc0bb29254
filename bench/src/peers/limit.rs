//! The limit probe: what TLS and sockets alone allow. A bare fan-out that stores nothing, checks
//! nothing and acknowledges nothing.
//!
//! A frame is a length of four bytes, big-endian, and so many bytes. The first that a client says
//! is the number of its group, and the empty answer says that it is in; every other one goes to all
//! members of the group as it is.

pub mod server;

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use deploy::authority::Authority;
use service_kit::clock;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::codec::{Codec, Event};
use super::{Clients, Server, Target};

/// The longest frame, in bytes; a longer one ends the connection.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The length of a frame, in bytes.
const LENGTH_BYTES: usize = 4;

/// Starts the probe as a process of its own.
///
/// # Errors
/// When it does not come up.
pub async fn start() -> anyhow::Result<Server> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::open(folder.path(), clock::unix_ms())?;
    let files = authority.public_certificate();
    let mut probe = Command::new(super::im_bench()?)
        .arg("limit-probe")
        .arg("--certificate")
        .arg(&files.certificate)
        .arg("--key")
        .arg(&files.key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = probe.id().context("the probe has ended")?;
    let said = probe.stdout.take().context("the probe says nothing")?;
    let mut lines = BufReader::new(said).lines();
    let address = lines.next_line().await?.context("the probe has ended")?;
    Ok(Server {
        durable: false,
        pids: vec![i32::try_from(pid)?],
        target: Target {
            address: address.parse()?,
            server_name: "localhost".into(),
            ca: authority.fleet_ca(),
            alpn: None,
            line_before_tls: false,
            acknowledges: false,
            clients: Clients::Limit,
        },
        keeps: Box::new((probe, folder)),
    })
}

/// One client of the probe.
#[derive(Debug)]
pub struct Client {
    group: u32,
    in_group: bool,
}

impl Client {
    /// A member of this group.
    ///
    /// # Errors
    /// When there are too many groups.
    pub fn new(group: usize) -> anyhow::Result<Self> {
        Ok(Self {
            group: u32::try_from(group)?,
            in_group: false,
        })
    }
}

impl Codec for Client {
    fn open(&mut self, _now_us: u64, out: &mut Vec<u8>) {
        put(&self.group.to_be_bytes(), out);
    }

    fn read(
        &mut self,
        input: &[u8],
        _now_us: u64,
        _out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<usize> {
        let mut taken = 0;
        while let Some(payload) = frame(&input[taken..])? {
            taken += LENGTH_BYTES + payload.len();
            if self.in_group {
                tell(Event::Delivered { payload });
            } else {
                self.in_group = true;
                tell(Event::Ready);
            }
        }
        Ok(taken)
    }

    fn publish(&mut self, _ticket: u64, payload: &[u8], _now_us: u64, out: &mut Vec<u8>) {
        put(payload, out);
    }
}

/// The first frame, once it is whole.
fn frame(input: &[u8]) -> anyhow::Result<Option<&[u8]>> {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    Ok(rest.get(..length))
}

fn put(body: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_wherever_they_are_cut() {
        let mut said = Vec::new();
        put(b"", &mut said);
        put(b"first", &mut said);
        put(b"second", &mut said);
        for cut in 0..said.len() {
            let mut client = Client::new(3).unwrap();
            let mut told = Vec::new();
            let mut tell = |event: Event<'_>| told.push(format!("{event:?}"));
            let taken = client
                .read(&said[..cut], 0, &mut Vec::new(), &mut tell)
                .unwrap();
            let rest = client
                .read(&said[taken..], 0, &mut Vec::new(), &mut tell)
                .unwrap();
            assert_eq!(taken + rest, said.len());
            let first = Event::Delivered { payload: b"first" };
            assert_eq!(
                (told.len(), &told[0][..], &told[1]),
                (3, "Ready", &format!("{first:?}"))
            );
        }
    }
}
