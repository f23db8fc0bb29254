//! One client of the run: sends at its pace, takes what it is handed, restarts now and then with no
//! memory but the marks that the server keeps and, if it has one, its journal; and records all of
//! it. What it sends is in `sends`.

mod sends;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client_sdk::{Client, Ephemeral, Event as Told, MarkPolicy, Message};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::access::{Access, Session};
use super::history::Heads;
use super::layout::{Layout, USHER};
use super::{Chaos, Stage, dice, message};
use crate::record::Event;

/// A client lives so long before it restarts.
const LIFE_S: (u64, u64) = (10, 90);

/// How long a client waits for what it lacks with nothing arriving, once no load is offered.
const QUIET: Duration = Duration::from_secs(15);

/// Messages that a client which marks by itself takes before it does: what it has taken since comes
/// again after a restart.
const MARKS_EVERY: u32 = 4;

pub(super) struct Robot {
    client: u32,
    run: u32,
    access: Access,
    stage: Arc<Stage>,
    random: SmallRng,
    pace: Duration,
    writes_to: Vec<(u32, f64)>,
    /// Where it was told that it is no member.
    outside: HashSet<u32>,
    /// The highest number that it was handed in each conversation.
    highest: HashMap<u32, u64>,
    /// Taken since the last mark of its own.
    unmarked: u32,
    account: u64,
    /// Held while load is offered, and by each send until its end.
    busy: Option<mpsc::Sender<()>>,
}

impl Robot {
    pub(super) fn new(
        chaos: &Chaos,
        client: u32,
        access: Access,
        layout: &Layout,
        stage: &Arc<Stage>,
        busy: mpsc::Sender<()>,
    ) -> Self {
        Self {
            client,
            run: 0,
            access,
            stage: Arc::clone(stage),
            random: dice(chaos.seed, 1_000 + u64::from(client)),
            pace: Duration::from_secs(1) * chaos.clients / chaos.rate,
            writes_to: layout.writes_to(client),
            outside: layout.outside(client),
            highest: HashMap::new(),
            unmarked: 0,
            account: 0,
            busy: Some(busy),
        }
    }

    /// Until it has all that it is owed, or nothing comes any more.
    pub(super) async fn run(
        mut self,
        session: Session,
        over: CancellationToken,
        heads: watch::Receiver<Option<Arc<Heads>>>,
    ) -> anyhow::Result<()> {
        self.account = session.0.account().id.0;
        self.began(&session.0).await;
        let session = self.load(session, &over).await?;
        self.busy = None;
        let (client, events) = self.settle(session, heads).await?;
        client.close().await;
        drop(events);
        self.ended("end");
        Ok(())
    }

    /// Sends and takes until the load is over.
    async fn load(
        &mut self,
        mut session: Session,
        over: &CancellationToken,
    ) -> anyhow::Result<Session> {
        let first = Instant::now() + self.pace.mul_f64(self.random.random_range(0.0..1.0));
        let mut due = tokio::time::interval_at(first, self.pace);
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut lives_until = self.life();
        loop {
            let (client, events) = &mut session;
            tokio::select! {
                () = over.cancelled() => return Ok(session),
                _ = due.tick() => self.send(client),
                told = events.next() => {
                    if !self.take(&session.0, told) {
                        session = self.again(session, "closed by the server").await?;
                    }
                }
                () = tokio::time::sleep_until(lives_until), if self.client != USHER => {
                    session = self.restart(session).await?;
                    lives_until = self.life();
                }
            }
        }
    }

    fn life(&mut self) -> Instant {
        let seconds = self.random.random_range(LIFE_S.0..=LIFE_S.1);
        Instant::now() + Duration::from_secs(seconds)
    }

    /// With a farewell, or without: then what it has taken last may be unmarked.
    async fn restart(&mut self, session: Session) -> anyhow::Result<Session> {
        if self.random.random_bool(0.5) {
            session.0.close().await;
            self.again(session, "close").await
        } else {
            self.again(session, "drop").await
        }
    }

    async fn again(&mut self, session: Session, by: &str) -> anyhow::Result<Session> {
        drop(session);
        self.ended(by);
        let session = self.access.connect().await?;
        self.began(&session.0).await;
        Ok(session)
    }

    /// Records where the server believes this client to be, before it is handed anything.
    async fn began(&mut self, client: &Client) {
        self.run += 1;
        self.unmarked = 0;
        let recorder = &self.stage.recorder;
        recorder.record(&Event::RunBegan {
            at_us: recorder.now_us(),
            client: self.client,
            run: self.run,
        });
        self.recovered(client);
        // Without an answer there is a mark less to judge.
        for known in client.conversations().await.unwrap_or_default() {
            if let Some(conversation) = self.stage.numbers.get(&known.id) {
                recorder.record(&Event::ServerMark {
                    at_us: recorder.now_us(),
                    client: self.client,
                    conversation: *conversation,
                    delivered: known.delivered.0,
                });
                self.outside.remove(conversation);
            }
        }
    }

    fn ended(&self, by: &str) {
        let recorder = &self.stage.recorder;
        recorder.record(&Event::RunEnded {
            at_us: recorder.now_us(),
            client: self.client,
            run: self.run,
            by: by.to_owned(),
        });
    }

    /// Records what it was told. Whether more can come.
    fn take(&mut self, client: &Client, told: Option<Told>) -> bool {
        match told {
            Some(Told::Message(message)) => self.delivered(client, &message),
            Some(Told::Joined { conversation, .. }) => self.membership(&conversation, true),
            Some(Told::Left { conversation }) => self.membership(&conversation, false),
            Some(Told::Connected) => self.link(String::new()),
            Some(Told::Disconnected { reason }) => self.link(reason),
            Some(Told::Ephemeral(ephemeral)) => self.passing(&ephemeral),
            // Nothing is trimmed or restored: what lacks is missed. Nobody is stopped.
            Some(
                Told::Trimmed { .. }
                | Told::Parted { .. }
                | Told::Marked { .. }
                | Told::EmergencyStop(_)
                | Told::EmergencyReleased(_),
            ) => {}
            Some(Told::Closed { .. }) | None => return false,
        }
        true
    }

    fn link(&self, lost: String) {
        let recorder = &self.stage.recorder;
        recorder.record(&Event::Link {
            at_us: recorder.now_us(),
            client: self.client,
            lost,
        });
    }

    fn passing(&self, ephemeral: &Ephemeral) {
        let recorder = &self.stage.recorder;
        if let Some(&conversation) = self.stage.numbers.get(&ephemeral.conversation) {
            recorder.record(&Event::EphemeralDelivered {
                at_us: recorder.now_us(),
                client: self.client,
                conversation,
                says: message::says_ephemerally(&ephemeral.content),
            });
        }
    }

    fn delivered(&mut self, client: &Client, message: &Message) {
        let Some(&conversation) = self.stage.numbers.get(&message.conversation) else {
            return;
        };
        let recorder = &self.stage.recorder;
        let sequence = message.sequence.0;
        recorder.record(&Event::Delivered {
            at_us: recorder.now_us(),
            client: self.client,
            run: self.run,
            conversation,
            sequence,
            says: message::says(&message.content, Some(&message.client_message_id)),
            flagged: message.redelivered || message.backlog,
        });
        let highest = self.highest.entry(conversation).or_default();
        *highest = sequence.max(*highest);
        if self.access.config.mark_policy == MarkPolicy::WhenTaken {
            return;
        }
        self.unmarked += 1;
        if self.unmarked >= MARKS_EVERY {
            self.unmarked = 0;
            client.mark_delivered(message.conversation, message.sequence);
            recorder.record(&Event::Marked {
                at_us: recorder.now_us(),
                client: self.client,
                conversation,
                sequence,
            });
        }
    }

    fn membership(&mut self, conversation: &client_sdk::ConversationId, joined: bool) {
        if let Some(&conversation) = self.stage.numbers.get(conversation) {
            if joined {
                self.outside.remove(&conversation);
            } else {
                self.outside.insert(conversation);
            }
            let recorder = &self.stage.recorder;
            recorder.record(&Event::Membership {
                at_us: recorder.now_us(),
                client: self.client,
                conversation,
                joined,
            });
        }
    }

    /// Takes what is still owed.
    async fn settle(
        &mut self,
        mut session: Session,
        mut heads: watch::Receiver<Option<Arc<Heads>>>,
    ) -> anyhow::Result<Session> {
        let mut known: Option<Arc<Heads>> = None;
        let mut quiet_at = Instant::now();
        loop {
            if let Some(heads) = &known
                && heads.are_reached(self.account, &self.highest)
            {
                return Ok(session);
            }
            tokio::select! {
                told = session.1.next() => {
                    quiet_at = Instant::now() + QUIET;
                    if !self.take(&session.0, told) {
                        session = self.again(session, "closed by the server").await?;
                    }
                }
                Ok(()) = heads.changed(), if known.is_none() => {
                    known.clone_from(&heads.borrow_and_update());
                    quiet_at = Instant::now() + QUIET;
                }
                // What is missing is told by the checker.
                () = tokio::time::sleep_until(quiet_at), if known.is_some() => return Ok(session),
            }
        }
    }
}
