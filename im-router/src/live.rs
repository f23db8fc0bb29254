//! Live attributes: what robots say of themselves that changes often, in memory alone.
//!
//! Pure: it takes `now`. Every robot that says something gets the next revision, so that whoever
//! asks again gets those that have spoken since. Not here: links, and what is made of the values.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use protocol::AccountId;
use protocol::limits::{LIVE_AGE_MS_MAX, LIVE_ATTRIBUTES_MAX};
use protocol::wire::TypedAttribute;
use protocol::wire::internal::{LiveOf, LivePage, LiveSince, LiveValue, PassLive};
use tokio::time::Instant;

/// Robots that are remembered: some 200 MiB at the very most, 20 MiB with a battery each. When full:
/// the one that has been silent for longest is forgotten, and counted.
pub const ROBOTS_MAX: usize = 100_000;

/// Robots in one page: some 2 MiB of them fit in a frame between tiers.
const ROBOTS_PER_PAGE_MAX: usize = 512;

/// What robots say.
#[derive(Debug)]
pub struct Live {
    /// Names the process, so that revisions of another one are not taken for its own.
    instance: u64,
    revision: u64,
    robots: HashMap<AccountId, Robot>,
    by_revision: BTreeMap<u64, AccountId>,
}

#[derive(Debug, Default)]
struct Robot {
    revision: u64,
    values: Vec<(TypedAttribute, Instant)>,
}

/// What became of what a robot said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It is remembered.
    Kept,
    /// And another robot was forgotten.
    KeptForAnother,
}

impl Live {
    /// Of a process of this name.
    #[must_use]
    pub fn new(instance: u64) -> Self {
        Self {
            instance,
            revision: 0,
            robots: HashMap::new(),
            by_revision: BTreeMap::new(),
        }
    }

    /// How many robots are remembered.
    #[must_use]
    pub fn robots(&self) -> usize {
        self.robots.len()
    }

    /// A robot says something. Of more attributes than are allowed the oldest go.
    pub fn say(&mut self, pass: PassLive, now: Instant) -> Said {
        let account = AccountId(pass.account_id);
        self.revision += 1;
        let robot = self.robots.entry(account).or_default();
        self.by_revision.remove(&robot.revision);
        robot.revision = self.revision;
        self.by_revision.insert(self.revision, account);
        let is_said = |name: &str| {
            let mut set = pass.set.iter().map(|attribute| &attribute.name);
            set.any(|said| said == name) || pass.unset.iter().any(|unset| unset == name)
        };
        let is_old = |at: Instant| now.duration_since(at) > Duration::from_millis(LIVE_AGE_MS_MAX);
        robot
            .values
            .retain(|(attribute, at)| !is_said(&attribute.name) && !is_old(*at));
        let said = pass.set.into_iter().map(|attribute| (attribute, now));
        robot.values.extend(said);
        let excess = robot.values.len().saturating_sub(LIVE_ATTRIBUTES_MAX);
        robot.values.drain(..excess);
        if self.robots.len() > ROBOTS_MAX
            && let Some((_, silent)) = self.by_revision.pop_first()
        {
            self.robots.remove(&silent);
            return Said::KeptForAnother;
        }
        Said::Kept
    }

    /// Who has spoken since, in the order in which they did.
    #[must_use]
    pub fn since(&self, asked: &LiveSince, now: Instant) -> LivePage {
        let is_ours = asked.instance == self.instance;
        let after = if is_ours { asked.revision } else { 0 };
        let limit = match usize::try_from(asked.limit).unwrap_or(usize::MAX) {
            0 => ROBOTS_PER_PAGE_MAX,
            asked => asked.min(ROBOTS_PER_PAGE_MAX),
        };
        let mut page = LivePage {
            instance: self.instance,
            revision: self.revision,
            ..LivePage::default()
        };
        let mut revision = after;
        for (its, account) in self.by_revision.range(after.saturating_add(1)..) {
            if page.robots.len() == limit {
                page.more = true;
                page.revision = revision;
                break;
            }
            revision = *its;
            let values = self.robots.get(account).map(|robot| &robot.values[..]);
            page.robots.push(LiveOf {
                account_id: account.0,
                values: values.unwrap_or(&[]).iter().map(value(now)).collect(),
            });
        }
        page
    }
}

fn value(now: Instant) -> impl Fn(&(TypedAttribute, Instant)) -> LiveValue {
    move |(attribute, at)| {
        let age = now.duration_since(*at).as_millis();
        LiveValue {
            attribute: Some(attribute.clone()),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::typed_attribute::Value;

    fn battery(percent: f64) -> TypedAttribute {
        named("battery", percent)
    }

    fn named(name: &str, number: f64) -> TypedAttribute {
        TypedAttribute {
            name: name.into(),
            unit: "%".into(),
            value: Some(Value::Number(number)),
        }
    }

    fn said(account_id: u64, set: Vec<TypedAttribute>, unset: &[&str]) -> PassLive {
        PassLive {
            account_id,
            set,
            unset: unset.iter().map(|&name| name.into()).collect(),
        }
    }

    fn after(page: &LivePage) -> LiveSince {
        LiveSince {
            instance: page.instance,
            revision: page.revision,
            limit: 0,
        }
    }

    #[test]
    fn whoever_asks_again_gets_who_has_spoken_since() {
        let now = Instant::now();
        let mut live = Live::new(7);
        live.say(said(1, vec![battery(90.0)], &[]), now);
        live.say(said(2, vec![battery(80.0)], &[]), now);
        let all = live.since(&LiveSince::default(), now);
        assert_eq!((all.robots.len(), all.revision, all.more), (2, 2, false));
        live.say(said(1, vec![battery(89.0)], &[]), now);
        let later = now + Duration::from_secs(3);
        let news = live.since(&after(&all), later);
        assert_eq!(news.robots.len(), 1);
        assert_eq!(news.robots[0].account_id, 1);
        let value = &news.robots[0].values[0];
        assert_eq!(value.attribute, Some(battery(89.0)));
        assert_eq!(value.age_ms, 3_000);
        assert!(live.since(&after(&news), later).robots.is_empty());
        let of_another = LiveSince {
            instance: 6,
            ..after(&news)
        };
        assert_eq!(live.since(&of_another, later).robots.len(), 2);
    }

    #[test]
    fn pages_lead_to_the_end() {
        let now = Instant::now();
        let mut live = Live::new(7);
        for account in 0..5 {
            live.say(said(account, vec![battery(50.0)], &[]), now);
        }
        let (mut at, mut found) = (LiveSince::default(), Vec::new());
        loop {
            at.limit = 2;
            let page = live.since(&at, now);
            assert!(page.robots.len() <= 2);
            found.extend(page.robots.iter().map(|robot| robot.account_id));
            at = after(&page);
            if !page.more {
                break;
            }
        }
        assert_eq!(found, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_unset_or_old_or_too_much_goes() {
        let now = Instant::now();
        let mut live = Live::new(7);
        live.say(said(1, vec![battery(90.0), named("speed", 1.0)], &[]), now);
        live.say(said(1, vec![], &["speed"]), now);
        let values = |live: &Live| {
            live.since(&LiveSince::default(), now).robots[0]
                .values
                .len()
        };
        assert_eq!(values(&live), 1);
        let later = now + Duration::from_millis(LIVE_AGE_MS_MAX + 1);
        let many = (0..LIVE_ATTRIBUTES_MAX + 3).map(|n| named(&format!("a{n}"), 1.0));
        live.say(said(1, many.collect(), &[]), later);
        let page = live.since(&LiveSince::default(), later);
        assert_eq!(page.robots[0].values.len(), LIVE_ATTRIBUTES_MAX);
        let newest = page.robots[0].values.last().unwrap();
        assert_eq!(newest.attribute.as_ref().unwrap().name, "a18");
    }

    #[test]
    fn a_full_memory_forgets_who_has_been_silent_for_longest() {
        let now = Instant::now();
        let mut live = Live::new(7);
        for account in 0..ROBOTS_MAX as u64 {
            assert_eq!(live.say(said(account, vec![], &[]), now), Said::Kept);
        }
        live.say(said(0, vec![], &[]), now);
        let one_more = said(u64::MAX, vec![], &[]);
        assert_eq!(live.say(one_more, now), Said::KeptForAnother);
        assert_eq!(live.robots(), ROBOTS_MAX);
        assert!(live.robots.contains_key(&AccountId(0)));
        assert!(!live.robots.contains_key(&AccountId(1)));
    }
}
