//! Our own cluster as one of the systems: as `swarm up` starts it, with its defaults, and the lean
//! client.

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::kind::client as kind;
use protocol::wire::{CreateGroup, GroupCreated};
use protocol::{AccountId, ConversationId};
use serde::{Deserialize, Serialize};
use service_kit::clock;

use deploy::authority::TokenKind;

use super::codec::{Codec, Event};
use super::{Clients, Server, Shape, Target};
use crate::cluster::Cluster;
use crate::dial::Dialler;
use crate::lean::session::Session;
use crate::lean::{Lean, Start, Told};

/// What is spoken within TLS.
const ALPN: &str = "im/1";

/// The name in the gateway's certificate.
const SERVER_NAME: &str = "localhost";

/// Accounts that introduce themselves at once.
const OPENING_MAX: usize = 16;

/// The accounts and groups of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accounts {
    /// By client.
    tokens: Vec<String>,
    /// By group: its conversation.
    groups: Vec<String>,
}

impl Accounts {
    /// The client with this index.
    ///
    /// # Errors
    /// When it has no account.
    pub fn client(&self, shape: &Shape, client: usize) -> anyhow::Result<Client> {
        let token = self.tokens.get(client).context("a client without token")?;
        let group = self.groups.get(shape.group_of(client));
        Ok(Client {
            lean: Lean::new(Some(token), Start::Head, rand::random()),
            conversation: group.context("no such group")?.parse()?,
        })
    }
}

/// Starts a cluster of its own and makes the accounts and groups.
///
/// # Errors
/// When the binaries are not built, or the cluster does not come up.
pub async fn start(shape: &Shape) -> anyhow::Result<Server> {
    let cluster = Cluster::start().await?;
    let run = cluster.run_file()?;
    let authority = cluster.authority();
    let tokens = (0..shape.clients()).map(|client| {
        let name = format!("bench-{client}");
        let file = authority.token(TokenKind::Operator, &name, clock::unix_ms())?;
        Ok(std::fs::read_to_string(file)?)
    });
    let tokens: Vec<String> = tokens.collect::<anyhow::Result<_>>()?;
    let address = run.addresses.clients;
    let ca = authority.fleet_ca();
    let dialler = Dialler::new(address, SERVER_NAME, &ca, Some(ALPN))?;
    let mut groups = Vec::with_capacity(shape.groups);
    for (number, tokens) in tokens.chunks(shape.members).enumerate() {
        groups.push(make_group(&dialler, number, tokens).await?.to_string());
    }
    Ok(Server {
        durable: true,
        pids: run.tiers.iter().map(|process| process.pid).collect(),
        target: Target {
            address,
            server_name: SERVER_NAME.into(),
            ca,
            alpn: Some(ALPN.into()),
            line_before_tls: false,
            acknowledges: true,
            clients: Clients::Ours(Accounts { tokens, groups }),
        },
        keeps: Box::new(cluster),
    })
}

/// A group of the accounts with these tokens, which exist from now on.
async fn make_group(
    dialler: &Dialler,
    number: usize,
    tokens: &[String],
) -> anyhow::Result<ConversationId> {
    let (creator, others) = tokens.split_first().context("a group without members")?;
    let opening = stream::iter(others).map(|token| async move {
        let session = Session::open(dialler, token).await?;
        anyhow::Ok(session.account())
    });
    let members: Vec<AccountId> = opening.buffer_unordered(OPENING_MAX).try_collect().await?;
    let mut creator = Session::open(dialler, creator).await?;
    let id = creator.lean().next_id(clock::unix_ms() * 1000);
    let group = CreateGroup {
        client_message_id: id.to_bytes(),
        name: format!("bench {number}"),
        members: members.iter().map(|account| account.0).collect(),
        history_open: false,
    };
    let created: GroupCreated = creator
        .ask(kind::CREATE_GROUP, &group)
        .await
        .context("the group cannot be made")?;
    Ok(ConversationId::from_slice(&created.conversation_id)?)
}

/// One member.
#[derive(Debug)]
pub struct Client {
    lean: Lean,
    conversation: ConversationId,
}

impl Codec for Client {
    fn open(&mut self, _now_us: u64, out: &mut Vec<u8>) {
        self.lean.open(out);
    }

    fn read(
        &mut self,
        input: &[u8],
        now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<usize> {
        let mut fault = None;
        let mut take = |told: Told<'_>| match told {
            Told::Welcome { .. } => tell(Event::Ready),
            Told::Entry(entry) => match entry.payload() {
                Ok(Some(payload)) => tell(Event::Delivered { payload }),
                Ok(None) => {}
                Err(error) => fault = Some(error),
            },
            Told::Acked { ticket, .. } => tell(Event::Acked { ticket }),
            Told::Refused { refusal, .. } => {
                fault = Some(anyhow::anyhow!("a send is refused: {refusal}"));
            }
            Told::GoAway { .. } => fault = Some(anyhow::anyhow!("the server goes down")),
            Told::Answered { .. } | Told::Membership { .. } => {}
            Told::Ephemeral(_) | Told::Orders(_) => {}
        };
        let taken = self.lean.read(input, now_us, out, &mut take)?;
        match fault {
            Some(fault) => Err(fault),
            None => Ok(taken),
        }
    }

    fn publish(&mut self, ticket: u64, payload: &[u8], now_us: u64, out: &mut Vec<u8>) {
        let lean = &mut self.lean;
        lean.publish(ticket, &self.conversation, payload, now_us, out);
    }

    fn due_at_us(&self) -> Option<u64> {
        self.lean.due_at_us()
    }

    fn tick(&mut self, now_us: u64, out: &mut Vec<u8>) {
        self.lean.tick(now_us, out);
    }
}
