//! The robots of a load process: each a connection with a certificate, of which one loop takes
//! orders.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::wire::{self, OrderPage, OutcomeReport, OutcomeState, ReportOutcomes};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::clock;
use crate::cluster::Cluster;
use crate::dial::Dialler;
use crate::lean::{Lean, Start, Told};
use crate::scenarios::processes::{Progress, Station, Work};

/// Robots that connect at once.
const CONNECTING_MAX: usize = 32;

/// What is read at once, in bytes.
const READ_BYTES: usize = 2 * 1024;

/// Some of the robots.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orderlies {
    state: PathBuf,
    first: usize,
    count: usize,
}

/// What a load process says when its robots stand.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Who they are.
    pub(super) accounts: Vec<u64>,
}

/// What the robots of a load process were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Orders that were begun.
    pub begun: u64,
    /// Orders that came again.
    pub again: u64,
    /// Orders that were begun twice.
    pub begun_twice: u64,
}

impl Orderlies {
    /// On the cluster with this state.
    #[must_use]
    pub fn new(state: &Path, first: usize, count: usize) -> Self {
        Self {
            state: state.to_owned(),
            first,
            count,
        }
    }
}

impl Work for Orderlies {
    const NAME: &'static str = "command";
    type Outcome = Given;

    async fn run(self, mut station: Station) -> anyhow::Result<Given> {
        let cluster = Cluster::attach(&self.state)?;
        let addresses = cluster.run_file()?.addresses.all_clients();
        let ca = cluster.authority().fleet_ca();
        let numbers = self.first..self.first + self.count;
        let names: Vec<_> = numbers.map(|number| format!("orderly-{number}")).collect();
        let made = cluster
            .authority()
            .passing_robots(&names, service_kit::clock::unix_ms())?;
        let coming = made.iter().enumerate().map(|(number, (certificate, key))| {
            let address = &addresses[number % addresses.len()];
            come(address, &ca, certificate, key)
        });
        let mut coming = futures_util::stream::iter(coming).buffered(CONNECTING_MAX);
        let (mut robots, mut standing) = (Vec::with_capacity(self.count), Standing::default());
        while let Some(robot) = coming.next().await {
            let (robot, account) = robot?;
            robots.push(robot);
            standing.accounts.push(account);
            if robots.len() % 100 == 0 {
                station.further(Progress {
                    connected: robots.len() as u64,
                    ..Progress::default()
                });
            }
        }
        drop(coming);
        let given = Rc::new(RefCell::new(Given::default()));
        let _groups_stand: bool = station.meet(&standing).await?;
        for robot in robots {
            let given = Rc::clone(&given);
            tokio::task::spawn_local(async move { robot.serve(&given).await });
        }
        let _over: bool = station.meet(&true).await?;
        let given = *given.borrow();
        Ok(given)
    }
}

/// One connection, and where it is with its orders.
struct Robot {
    stream: TlsStream<TcpStream>,
    lean: Lean,
    input: Vec<u8>,
    orders: Orders,
}

#[derive(Default)]
struct Orders {
    seen: HashSet<Bytes>,
    begun: HashSet<Bytes>,
    /// What was said of which order, by the request.
    said: HashMap<u32, (wire::Order, OutcomeState)>,
}

async fn come(
    address: &str,
    ca: &Path,
    certificate: &str,
    key: &str,
) -> anyhow::Result<(Robot, u64)> {
    let address = address.parse().context("an address of a gateway")?;
    let dialler = Dialler::new(address, "localhost", ca, Some("im/1"))?;
    let dialler = dialler.with_certificate(ca, certificate, key)?;
    let mut robot = Robot {
        stream: dialler.dial().await?,
        lean: Lean::new(None, Start::Head, rand::random()),
        input: Vec::new(),
        orders: Orders::default(),
    };
    let mut out = Vec::new();
    robot.lean.open(&mut out);
    robot.stream.write_all(&out).await?;
    loop {
        let mut account = None;
        let welcomed = |told: Told<'_>| {
            if let Told::Welcome { account: its, .. } = told {
                account = Some(its.0);
            }
        };
        robot.hear(welcomed).await?;
        if let Some(account) = account {
            return Ok((robot, account));
        }
    }
}

impl Robot {
    /// Until the process ends, or the connection: then its outcomes are missed.
    async fn serve(mut self, given: &RefCell<Given>) {
        while self.turn(given).await.is_ok() {}
    }

    async fn turn(&mut self, given: &RefCell<Given>) -> anyhow::Result<()> {
        let (mut orders, mut answers) = (Vec::new(), Vec::new());
        let take = |told: Told<'_>| match told {
            Told::Orders(body) => orders.push(Bytes::copy_from_slice(body)),
            Told::Answered {
                correlation,
                answer,
            } => {
                let states = answer.ok().and_then(|(_, body)| {
                    let said = wire::OutcomesReported::decode(body).ok()?;
                    said.states.first().copied()
                });
                answers.push((correlation, states));
            }
            Told::Welcome { .. }
            | Told::Entry(_)
            | Told::Acked { .. }
            | Told::Refused { .. }
            | Told::Membership { .. }
            | Told::Ephemeral(_)
            | Told::GoAway { .. } => {}
        };
        self.hear(take).await?;
        let out = self.act(orders, answers, &mut given.borrow_mut())?;
        self.stream.write_all(&out).await?;
        Ok(())
    }

    /// What is said to what was heard.
    fn act(
        &mut self,
        orders: Vec<Bytes>,
        answers: Vec<(u32, Option<i32>)>,
        given: &mut Given,
    ) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        for page in orders {
            for order in OrderPage::decode(page)?.orders {
                if self.orders.seen.insert(order.order_id.clone()) {
                    self.say(order, OutcomeState::Accepted, &mut out);
                } else {
                    given.again += 1;
                }
            }
        }
        for (correlation, state) in answers {
            let Some((order, said)) = self.orders.said.remove(&correlation) else {
                continue;
            };
            match (said, state) {
                // It could not be taken just now.
                (said, None) => self.say(order, said, &mut out),
                (OutcomeState::Accepted, Some(state)) if state == said as i32 => {
                    given.begun += 1;
                    let is_new = self.orders.begun.insert(order.order_id.clone());
                    given.begun_twice += u64::from(!is_new);
                    self.say(order, OutcomeState::Finished, &mut out);
                }
                _ => {}
            }
        }
        Ok(out)
    }

    fn say(&mut self, order: wire::Order, state: OutcomeState, out: &mut Vec<u8>) {
        let request = ReportOutcomes {
            reports: vec![OutcomeReport {
                key: order.key.clone(),
                state: state.into(),
                ..OutcomeReport::default()
            }],
        };
        let asked = self.lean.request(kind::REPORT_OUTCOMES, &request, out);
        self.orders.said.insert(asked, (order, state));
    }

    /// What comes next, or the heartbeat that is due.
    async fn hear(&mut self, mut take: impl FnMut(Told<'_>)) -> anyhow::Result<()> {
        self.stream.flush().await?;
        self.input.reserve(READ_BYTES);
        let due_us = self.lean.due_at_us().unwrap_or(u64::MAX);
        let wait = std::time::Duration::from_micros(due_us.saturating_sub(clock::unix_us()));
        let reading = self.stream.read_buf(&mut self.input);
        let mut out = Vec::new();
        match tokio::time::timeout(wait, reading).await {
            Ok(Ok(0)) => bail!("the server has closed the connection"),
            Ok(read) => {
                read?;
                let now_us = clock::unix_us();
                let taken = self.lean.read(&self.input, now_us, &mut out, &mut take)?;
                self.input.drain(..taken);
            }
            Err(_) => self.lean.tick(clock::unix_us(), &mut out),
        }
        self.stream.write_all(&out).await?;
        Ok(())
    }
}
