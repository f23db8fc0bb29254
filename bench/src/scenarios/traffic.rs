//! The load process of `send`, `fanout`, `groups` and `mixed`: its members connect once, and carry
//! as many rounds of load as the coordinator orders. The coordinator is [`super::crowd`].

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use protocol::{AccountId, ConversationId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clock;
use crate::scenarios::books::Entered;
use crate::scenarios::hall::Hall;
use crate::scenarios::meter::Meter;
use crate::scenarios::pacing::Timing;
use crate::scenarios::processes::{Station, Work};
use crate::scenarios::site::{Access, Group};
use crate::scenarios::workload::{Pace, Workload};

/// How often is looked how far the members are.
const LOOK: Duration = Duration::from_millis(20);

/// How often the coordinator is told.
const TELL: Duration = Duration::from_millis(250);

/// How long acks may be waited for once nothing is sent any more: a robot's send timeout.
const ACKED_WITHIN: Duration = Duration::from_secs(30);

/// How long a conversation may take to say how far it is.
const HEADS_WITHIN: Duration = Duration::from_secs(30);

/// How long members may take to catch up with nothing arriving.
const QUIET: Duration = Duration::from_secs(10);

/// How often a member that lacks something asks by a heartbeat what there is.
const ASK: Duration = Duration::from_secs(1);

/// What a load process is told first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Traffic {
    /// How its members connect.
    pub access: Access,
    /// The whole load.
    pub workload: Workload,
    /// Which accounts are its members.
    pub accounts: Range<u32>,
    /// Bytes of a message's content.
    pub payload_bytes: usize,
}

/// What all are told once everybody is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    /// Who the accounts are, by their numbers.
    pub accounts: Vec<u64>,
    /// The groups, by their indices.
    pub groups: Vec<Group>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Order {
    /// A round of load.
    Round {
        /// When.
        timing: Timing,
        /// How much.
        pace: Pace,
    },
    /// Nothing.
    End,
}

/// How far conversations are, by their indices.
pub type Heads = Vec<(usize, u64)>;

impl Work for Traffic {
    const NAME: &'static str = "traffic";
    type Outcome = ();

    async fn run(self, mut station: Station) -> anyhow::Result<()> {
        let hall = Hall::open(&self.access, self.accounts.clone(), self.payload_bytes)?;
        let mut teller = Teller::default();
        while hall.ids().is_none() {
            hall.check()?;
            teller.tell(&station, &hall);
            tokio::time::sleep(LOOK).await;
        }
        let standing: Standing = station.meet(&hall.ids()).await?;
        self.enter(&hall, &standing)?;
        let mut order: Order = station.meet(&()).await?;
        while let Order::Round { timing, pace } = order {
            let meter = self.round(&hall, &mut station, timing, pace).await?;
            order = station.meet(&meter).await?;
        }
        Ok(())
    }
}

impl Traffic {
    fn enter(&self, hall: &Rc<Hall>, standing: &Standing) -> anyhow::Result<()> {
        let of = self.workload.conversations_of(hall.accounts());
        let ids = self.conversations(standing)?;
        let mut said = vec![Vec::new(); self.accounts.len()];
        for (number, stream) in self.workload.streams.iter().enumerate() {
            if self.accounts.contains(&stream.from) {
                let conversation = self.workload.conversation(stream.to);
                let of = &mut said[(stream.from - self.accounts.start) as usize];
                of.push((*stream, conversation, phase(number)));
            }
        }
        hall.each(|member, core| {
            let rooms = of[member].iter().map(|index| {
                let (id, start) = ids[*index];
                core.lean.enter(id, start + 1);
                // A pair has a history of earlier runs, which its list of conversations told.
                let start = core.lean.taken_up_to(&id).unwrap_or(start).max(start);
                Entered {
                    id,
                    index: *index,
                    start,
                }
            });
            let rooms: Vec<_> = rooms.collect();
            core.books.enter(&rooms, &said[member]);
        });
        Ok(())
    }

    /// Every conversation's id, and the entry after which it counts.
    fn conversations(&self, standing: &Standing) -> anyhow::Result<Vec<(ConversationId, u64)>> {
        let groups = standing.groups.iter().map(|group| {
            let id = ConversationId::from_slice(&group.conversation)?;
            anyhow::Ok((id, group.start))
        });
        let pairs = self.workload.pairs.iter().map(|(one, other)| {
            let id = |account: &u32| AccountId(standing.accounts[*account as usize]);
            Ok((ConversationId::pair(id(one), id(other)), 0))
        });
        groups.chain(pairs).collect()
    }

    async fn round(
        &self,
        hall: &Rc<Hall>,
        station: &mut Station,
        timing: Timing,
        pace: Pace,
    ) -> anyhow::Result<Meter> {
        let before = (
            hall.sum(|core| core.lean.detours().repeated),
            hall.sum(|core| core.lean.detours().pulled),
        );
        hall.exchange_meter(Meter::new(timing));
        hall.each(|_, core| core.books.begin(timing, pace, self.workload.through));
        let mut teller = Teller::default();
        let mut acked_until = None;
        loop {
            hall.check()?;
            teller.tell(station, hall);
            tokio::time::sleep(LOOK).await;
            if clock::unix_us() < timing.until_us() {
                continue;
            }
            let until = *acked_until.get_or_insert_with(|| Instant::now() + ACKED_WITHIN);
            let waiting = hall.sum(|core| core.books.waiting() as u64);
            if waiting == 0 || Instant::now() >= until {
                break;
            }
        }
        let heads = self.heads(hall).await?;
        let heads: Vec<u64> = station.meet(&heads).await?;
        settle(hall, &heads).await?;
        hall.each(|_, core| core.books.close(&heads, &mut hall.meter().borrow_mut()));
        let mut meter = hall.exchange_meter(Meter::new(Timing::default()));
        meter.repeated = hall.sum(|core| core.lean.detours().repeated) - before.0;
        meter.pulled = hall.sum(|core| core.lean.detours().pulled) - before.1;
        Ok(meter)
    }

    /// Asks those conversations how far they are whose asker is here.
    async fn heads(&self, hall: &Rc<Hall>) -> anyhow::Result<Heads> {
        hall.heads().borrow_mut().clear();
        let all =
            (0..self.workload.conversations()).map(|index| (self.workload.asker(index), index));
        let ours: Vec<_> = all
            .filter(|(asker, _)| self.accounts.contains(asker))
            .collect();
        let until = Instant::now() + HEADS_WITHIN;
        let mut asks_at = Instant::now();
        loop {
            hall.check()?;
            let now = Instant::now();
            if now >= asks_at {
                for (asker, index) in &ours {
                    hall.ask_head((asker - self.accounts.start) as usize, *index);
                }
                asks_at = now + ASK;
            }
            let heads = hall.heads().borrow().clone();
            if heads.len() == ours.len() {
                return Ok(heads.into_iter().collect());
            }
            ensure!(now < until, "heads of conversations are not told");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until every member has everything up to these heads, or nothing comes any more.
async fn settle(hall: &Rc<Hall>, heads: &[u64]) -> anyhow::Result<()> {
    let mut delivered = 0;
    let mut quiet_until = Instant::now() + QUIET;
    let mut asks_at = Instant::now() + ASK;
    loop {
        hall.check()?;
        let now = Instant::now();
        if hall.sum(|core| core.books.lacks(heads).into()) == 0 {
            return Ok(());
        }
        let so_far = hall.meter().borrow().so_far.delivered;
        if so_far > delivered {
            (delivered, quiet_until) = (so_far, now + QUIET);
        }
        if now >= quiet_until {
            // What has not come is counted as lost.
            return Ok(());
        }
        if now >= asks_at {
            asks_at = now + ASK;
            hall.each(|_, core| {
                if core.books.lacks(heads) {
                    core.lean.ping(clock::unix_us(), &mut core.out);
                }
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the coordinator how far the members are, now and then.
#[derive(Debug, Default)]
struct Teller {
    told_at: Option<Instant>,
}

impl Teller {
    fn tell(&mut self, station: &Station, hall: &Hall) {
        let now = Instant::now();
        if self.told_at.is_none_or(|at| now >= at + TELL) {
            self.told_at = Some(now);
            station.further(hall.progress());
        }
    }
}

/// From 0 to 1, so that no two streams have the same and neighbours are far apart: the fractional
/// parts of the multiples of the golden ratio.
#[expect(clippy::cast_precision_loss, reason = "any number will do")]
fn phase(stream: usize) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    (stream as f64 * GOLDEN).fract()
}
