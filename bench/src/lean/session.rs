//! A session over a lean client, for what is done before a load: who am I, make a group.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use prost::Message;
use protocol::AccountId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Lean, Start, Told};
use crate::clock;
use crate::dial::Dialler;

/// What is read at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// One session that stands.
pub struct Session {
    stream: TlsStream<TcpStream>,
    lean: Lean,
    account: AccountId,
    input: Vec<u8>,
}

impl Session {
    /// Connects and introduces itself with this token.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn open(dialler: &Dialler, token: &str) -> anyhow::Result<Self> {
        let lean = Lean::new(Some(token), Start::Head, rand::random());
        let mut session = Self {
            stream: dialler.dial().await?,
            lean,
            account: AccountId(0),
            input: Vec::new(),
        };
        let mut out = Vec::new();
        session.lean.open(&mut out);
        session.stream.write_all(&out).await?;
        let mut found = None;
        while found.is_none() {
            let welcomed = |told: Told<'_>| {
                if let Told::Welcome { account, .. } = told {
                    found = Some(account);
                }
            };
            session.hear(welcomed).await?;
        }
        session.account = found.context("no welcome")?;
        Ok(session)
    }

    /// Who the server takes it to be.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The client itself, for an id of a request.
    pub const fn lean(&mut self) -> &mut Lean {
        &mut self.lean
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When it is refused, or the connection breaks.
    pub async fn ask<A: Message + Default>(
        &mut self,
        kind: u16,
        message: &impl Message,
    ) -> anyhow::Result<A> {
        let mut out = Vec::new();
        let asked = self.lean.request(kind, message, &mut out);
        self.stream.write_all(&out).await?;
        let mut found: Option<Result<Bytes, _>> = None;
        while found.is_none() {
            let answered = |told: Told<'_>| {
                if let Told::Answered {
                    correlation,
                    answer,
                } = told
                    && correlation == asked
                {
                    found = Some(answer.map(|(_, body)| Bytes::copy_from_slice(body)));
                }
            };
            self.hear(answered).await?;
        }
        match found.context("no answer")? {
            Ok(body) => Ok(A::decode(body)?),
            Err(refusal) => bail!("the server refuses: {refusal}"),
        }
    }

    async fn hear(&mut self, mut take: impl FnMut(Told<'_>)) -> anyhow::Result<()> {
        self.stream.flush().await?;
        self.input.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the server has closed the connection");
        }
        let (mut out, now_us) = (Vec::new(), clock::unix_us());
        let taken = self.lean.read(&self.input, now_us, &mut out, &mut take)?;
        self.input.drain(..taken);
        self.stream.write_all(&out).await?;
        Ok(())
    }
}
