//! The emergency stops that this gateway knows of: which are in force, who was told, who has
//! confirmed, what is still to be stored and to be told to other gateways.
//!
//! Pure: words of stops and the time go in, what is due comes out. Not here: who may stop, where
//! sessions are, and links ([`crate::gateway`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::estop::{Change, Scope, Stop, Stops};
use protocol::wire::EmergencyStop;
use protocol::wire::internal::EstopProgress;
use protocol::{AccountId, ClientMessageId, ConversationId};
use tokio::time::Instant;

/// How soon after it was let out a stop is told again to those who have not confirmed. It doubles.
const ROUND_FIRST: Duration = Duration::from_millis(250);

/// The longest such pause.
const ROUND_LAST: Duration = Duration::from_secs(2);

/// How long a stop that is not stored is left to whoever took it, before everybody tries.
const COMMIT_PATIENCE: Duration = Duration::from_secs(1);

/// Accounts in one word of progress: some 500 KiB.
const PROGRESS_IDS_MAX: usize = 50_000;

/// What is known of stops.
#[derive(Debug, Default)]
pub struct Estops {
    stops: Stops,
    tracks: BTreeMap<ClientMessageId, Track>,
    /// What the store has was read once.
    is_read: bool,
    /// What is in force, or stored, has changed since it was last kept.
    is_changed: bool,
}

/// What becomes of a stop that is in force.
#[derive(Debug)]
struct Track {
    reached: BTreeSet<AccountId>,
    confirmed: BTreeSet<AccountId>,
    /// Of these, what other gateways have not been told.
    news: (Vec<AccountId>, Vec<AccountId>),
    round_at: Instant,
    pause: Duration,
    commit_at: Instant,
    stored_at: Option<Instant>,
}

/// A stop in force, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The stop.
    pub stop: Stop,
    /// Robots that were told, anywhere.
    pub reached: BTreeSet<AccountId>,
    /// Of these, the ones that have confirmed.
    pub confirmed: BTreeSet<AccountId>,
}

impl Track {
    fn new(now: Instant, is_stored: bool) -> Self {
        Self {
            reached: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            news: (Vec::new(), Vec::new()),
            round_at: now + ROUND_FIRST,
            pause: ROUND_FIRST,
            commit_at: now + COMMIT_PATIENCE,
            stored_at: is_stored.then_some(now),
        }
    }

    fn progress(&self, id: ClientMessageId) -> Vec<EstopProgress> {
        let reached: Vec<_> = self.reached.iter().copied().collect();
        let confirmed: Vec<_> = self.confirmed.iter().copied().collect();
        chunks(id, &reached, &confirmed)
    }
}

impl Estops {
    /// Somebody says this of a stop.
    pub fn take(&mut self, said: Stop, now: Instant) -> Change {
        let (id, is_stored) = (said.id, said.stored);
        let change = self.stops.take(said);
        match change {
            Change::Latched => {
                self.tracks.insert(id, Track::new(now, is_stored));
            }
            Change::Stored => {
                if let Some(track) = self.tracks.get_mut(&id) {
                    track.stored_at = Some(now);
                }
            }
            Change::Released => {
                self.tracks.remove(&id);
            }
            Change::Nothing | Change::Full => return change,
        }
        self.is_changed = true;
        change
    }

    /// The store was asked at `asked_at`, and has these; `all`: no others are in force there.
    pub fn read(&mut self, there: &BTreeSet<ClientMessageId>, all: bool, asked_at: Instant) {
        self.is_read = true;
        for (id, track) in self.tracks.iter_mut().filter(|_| all) {
            let was_stored = track.stored_at.is_some_and(|at| at < asked_at);
            if was_stored && !there.contains(id) {
                // The store is another than the one that had it: a backup was restored.
                track.stored_at = None;
                self.stops.lost(*id);
            }
        }
    }

    /// Whether what the store has was read: before that nobody is let in.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.is_read
    }

    /// Whether any is in force.
    #[must_use]
    pub fn is_latched(&self) -> bool {
        self.stops.is_latched()
    }

    /// What is known of one.
    #[must_use]
    pub fn get(&self, id: ClientMessageId) -> Option<&Stop> {
        self.stops.get(id)
    }

    /// These robots were told of it here.
    pub fn reached(&mut self, id: ClientMessageId, accounts: impl IntoIterator<Item = AccountId>) {
        if let Some(track) = self.tracks.get_mut(&id) {
            for account in accounts {
                if track.reached.insert(account) {
                    track.news.0.push(account);
                }
            }
        }
    }

    /// A robot has confirmed it here. Returns whether that is news.
    pub fn confirmed(&mut self, id: ClientMessageId, account: AccountId) -> bool {
        let Some(track) = self.tracks.get_mut(&id) else {
            return false;
        };
        let is_news = track.confirmed.insert(account);
        if is_news {
            track.news.1.push(account);
        }
        is_news
    }

    /// Whether this robot is still to confirm it.
    #[must_use]
    pub fn awaits(&self, id: ClientMessageId, account: AccountId) -> bool {
        let track = self.tracks.get(&id);
        track.is_some_and(|track| !track.confirmed.contains(&account))
    }

    /// Another gateway says who was told and has confirmed there.
    pub fn hear(&mut self, progress: &EstopProgress) {
        let Ok(id) = ClientMessageId::from_slice(&progress.stop_id) else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(&id) {
            let accounts = |ids: &[u64]| ids.iter().copied().map(AccountId).collect::<Vec<_>>();
            track.reached.extend(accounts(&progress.reached));
            track.confirmed.extend(accounts(&progress.confirmed));
        }
    }

    /// What other gateways have not been told of who was told and has confirmed here.
    pub fn take_news(&mut self) -> Vec<EstopProgress> {
        let mut news = Vec::new();
        for (id, track) in &mut self.tracks {
            let (reached, confirmed) = std::mem::take(&mut track.news);
            if !reached.is_empty() || !confirmed.is_empty() {
                news.extend(chunks(*id, &reached, &confirmed));
            }
        }
        news
    }

    /// All that is known, for a gateway that may know less.
    #[must_use]
    pub fn everything(&self) -> (Vec<EmergencyStop>, Vec<EstopProgress>) {
        let tracks = self.tracks.iter();
        let progress = tracks.flat_map(|(id, track)| track.progress(*id)).collect();
        let stops = self.stops.in_force().chain(self.stops.released());
        (stops.map(Stop::to_wire).collect(), progress)
    }

    /// Those that are to be told again now, to whoever has not confirmed.
    pub fn due(&mut self, now: Instant) -> Vec<Stop> {
        let mut due = Vec::new();
        for (id, track) in &mut self.tracks {
            if track.round_at <= now {
                track.pause = (track.pause * 2).min(ROUND_LAST);
                track.round_at = now + track.pause;
                due.extend(self.stops.get(*id).cloned());
            }
        }
        due
    }

    /// Somebody may be new among those whom stops concern.
    pub fn hurry(&mut self, now: Instant) {
        for track in self.tracks.values_mut() {
            track.round_at = now;
        }
    }

    /// Those that are not stored, and that it is time to try to store.
    pub fn to_store(&mut self, now: Instant) -> Vec<Stop> {
        let mut due = Vec::new();
        for stop in self.stops.in_force().filter(|stop| !stop.stored) {
            if let Some(track) = self.tracks.get_mut(&stop.id).filter(|t| t.commit_at <= now) {
                track.commit_at = now + COMMIT_PATIENCE;
                due.push(stop.clone());
            }
        }
        due
    }

    /// Those in force that concern somebody who is in these groups, the oldest first.
    pub fn concerning<'a>(
        &'a self,
        is_in: impl Fn(ConversationId) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Stop> {
        self.stops
            .in_force()
            .filter(move |stop| match stop.scope() {
                Scope::Fleet => true,
                Scope::Group(group) => is_in(group),
            })
    }

    /// Those in force, the oldest first.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let stops = self.stops.in_force();
        stops.filter_map(|stop| self.status(stop.id)).collect()
    }

    /// One, in force or released.
    #[must_use]
    pub fn status(&self, id: ClientMessageId) -> Option<Status> {
        let track = self.tracks.get(&id);
        let of = |accounts: fn(&Track) -> &BTreeSet<AccountId>| {
            track.map_or_else(BTreeSet::new, |track| accounts(track).clone())
        };
        Some(Status {
            stop: self.stops.get(id)?.clone(),
            reached: of(|track| &track.reached),
            confirmed: of(|track| &track.confirmed),
        })
    }

    /// What a restart must not forget, if that has changed.
    pub fn take_to_keep(&mut self) -> Option<Vec<EmergencyStop>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        Some(self.stops.in_force().map(Stop::to_wire).collect())
    }

    /// It was not kept.
    pub const fn not_kept(&mut self) {
        self.is_changed = true;
    }
}

fn chunks(
    id: ClientMessageId,
    reached: &[AccountId],
    confirmed: &[AccountId],
) -> Vec<EstopProgress> {
    let ids = |accounts: &[AccountId]| accounts.iter().map(|account| account.0).collect();
    let reached = reached.chunks(PROGRESS_IDS_MAX).map(|some| EstopProgress {
        stop_id: id.to_bytes(),
        reached: ids(some),
        confirmed: Vec::new(),
    });
    let confirmed = confirmed
        .chunks(PROGRESS_IDS_MAX)
        .map(|some| EstopProgress {
            stop_id: id.to_bytes(),
            reached: Vec::new(),
            confirmed: ids(some),
        });
    reached.chain(confirmed).collect()
}

#[cfg(test)]
mod tests;
