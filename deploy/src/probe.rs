//! One plain HTTP question to an admin port on this machine. Not an HTTP client: no TLS, no
//! redirects, short answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an admin port may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest answer that is read, in bytes: a list of unready things.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Whether a process is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does its work.
    Ready,
    /// It is there and waits for something.
    Waiting(String),
    /// Nobody answers.
    Away,
}

/// Asks `/ready`.
pub async fn ready(admin: SocketAddr) -> Readiness {
    match tokio::time::timeout(TIMEOUT, ask(admin, "/ready")).await {
        Ok(Ok((200, _))) => Readiness::Ready,
        Ok(Ok((_, body))) => Readiness::Waiting(body.trim().replace('\n', "; ")),
        Ok(Err(_)) | Err(_) => Readiness::Away,
    }
}

async fn ask(admin: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// The status and the body.
fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nlink: down";
        assert_eq!(parse(answer), Some((503, "link: down".into())));
        assert_eq!(parse("SSH-2.0-OpenSSH"), None);
    }

    #[tokio::test]
    async fn a_closed_port_is_away() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(ready(address).await, Readiness::Away);
    }
}
