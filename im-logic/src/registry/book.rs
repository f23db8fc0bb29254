//! What this process knows of robots: their cards, and what they say live, ready to be asked.
//!
//! Pure: pages of stores and routers go in, it takes `now`. All of it can be read again. Not here:
//! links, expressions ([`super::filter`]), and who may ask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cel::Value;
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use protocol::AccountId;
use protocol::limits::LIVE_AGE_MS_MAX;
use protocol::wire::internal::{CardPage, CardsSince, LiveOf, LivePage, LiveSince, LiveValue};
use protocol::wire::{Account, FoundRobot, LiveAttribute, TypedAttribute, typed_attribute};
use service_kit::live::InstanceId;
use tokio::time::Instant;

/// Robots that are remembered: some 500 MiB with cards of 1 KiB. Beyond: queries are refused, so
/// that none is answered with less than there is.
pub const ROBOTS_MAX: usize = 100_000;

/// A value as expressions see it.
type Known = Box<dyn Val>;

/// The robots.
#[derive(Debug, Default)]
pub struct Book {
    cards: BTreeMap<AccountId, Arc<Card>>,
    live: HashMap<AccountId, Vec<Live>>,
    /// The last card that was read.
    read_up_to: (u64, AccountId),
    /// Of each router, by the id of its process: which it is, and up to where it was read.
    heard: HashMap<InstanceId, (u64, u64)>,
    /// What may have become another answer since they were taken.
    changed: BTreeSet<AccountId>,
    is_full: bool,
}

/// A card, ready to be asked.
#[derive(Debug)]
struct Card {
    account: Account,
    /// Capabilities, and the names that are always there.
    first: HashMap<String, Known>,
    /// Attributes, which give way to what is live.
    last: HashMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Live {
    attribute: TypedAttribute,
    with_unit: Option<String>,
    value: Arc<dyn Val>,
    at: Instant,
}

/// A robot as it is known.
#[derive(Debug, Clone)]
pub struct Robot {
    card: Arc<Card>,
    live: Vec<Live>,
}

/// A robot at a moment: what an expression asks.
#[derive(Debug)]
pub struct Moment<'r> {
    robot: &'r Robot,
    now: Instant,
}

impl Book {
    /// What to ask a store for.
    #[must_use]
    pub fn cards_wanted(&self, fleet: &str) -> CardsSince {
        let (revision, account) = self.read_up_to;
        CardsSince {
            fleet: fleet.to_owned(),
            revision,
            account_id: account.0,
            limit: 0,
        }
    }

    /// What a store has answered.
    pub fn cards(&mut self, page: CardPage) {
        for row in page.cards {
            let account = row.account.unwrap_or_default();
            let id = AccountId(account.account_id);
            self.read_up_to = (row.revision, id);
            if self.cards.len() >= ROBOTS_MAX && !self.cards.contains_key(&id) {
                self.is_full = true;
                continue;
            }
            self.changed.insert(id);
            self.cards.insert(id, Arc::new(Card::of(account)));
        }
    }

    /// What to ask a router for.
    #[must_use]
    pub fn live_wanted(&self, router: InstanceId) -> LiveSince {
        let (instance, revision) = self.heard.get(&router).copied().unwrap_or_default();
        LiveSince {
            instance,
            revision,
            limit: 0,
        }
    }

    /// What a router has answered.
    pub fn live(&mut self, router: InstanceId, page: LivePage, now: Instant) {
        let up_to = (page.instance, page.revision);
        self.heard.insert(router, up_to);
        for robot in page.robots {
            let id = AccountId(robot.account_id);
            if self.live.len() >= ROBOTS_MAX && !self.live.contains_key(&id) {
                self.is_full = true;
                continue;
            }
            self.changed.insert(id);
            self.live.insert(id, heard(robot, now));
        }
    }

    /// Routers that are no more; what they said grows old by itself.
    pub fn routers(&mut self, live: &[InstanceId]) {
        self.heard.retain(|router, _| live.contains(router));
    }

    /// Forgets what is too old to be believed.
    pub fn expire(&mut self, now: Instant) {
        let changed = &mut self.changed;
        self.live.retain(|account, values| {
            let before = values.len();
            values.retain(|value| value.is_fresh(now));
            if values.len() != before {
                changed.insert(*account);
            }
            !values.is_empty()
        });
    }

    /// The stores may have other cards: all are read again.
    pub fn forget_cards(&mut self) {
        self.changed.extend(self.cards.keys());
        self.cards.clear();
        self.read_up_to = (0, AccountId(0));
        self.is_full = false;
    }

    /// Whether there are more robots than are remembered.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes at most so many of those that may have changed.
    pub fn take_changed(&mut self, most: usize) -> Vec<AccountId> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(account) = self.changed.pop_first()
        {
            taken.push(account);
        }
        taken
    }

    /// A robot, if it has a card.
    #[must_use]
    pub fn robot(&self, account: AccountId) -> Option<Robot> {
        let card = self.cards.get(&account)?;
        Some(Robot {
            card: Arc::clone(card),
            live: self.live.get(&account).cloned().unwrap_or_default(),
        })
    }

    /// Every robot with a card.
    #[must_use]
    pub fn ids(&self) -> Vec<AccountId> {
        self.cards.keys().copied().collect()
    }
}

impl Robot {
    /// As it is at a moment.
    #[must_use]
    pub const fn at(&self, now: Instant) -> Moment<'_> {
        Moment { robot: self, now }
    }

    /// For whoever has asked.
    #[must_use]
    pub fn to_wire(&self, now: Instant) -> FoundRobot {
        let fresh = self.live.iter().filter(|value| value.is_fresh(now));
        FoundRobot {
            account: Some(self.card.account.clone()),
            live: fresh
                .map(|value| LiveAttribute {
                    attribute: Some(value.attribute.clone()),
                    age_ms: value.age_ms(now),
                })
                .collect(),
        }
    }
}

impl Moment<'_> {
    fn fresh(&self) -> impl Iterator<Item = &Live> {
        let live = self.robot.live.iter();
        live.filter(|value| value.is_fresh(self.now))
    }

    fn ages(&self) -> HashMap<String, Value> {
        let seconds = |value: &Live| {
            let age = self.now.duration_since(value.at).as_secs_f64();
            (value.attribute.name.clone(), Value::Float(age))
        };
        self.fresh().map(seconds).collect()
    }
}

impl VariableResolver for Moment<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(known) = self.robot.card.first.get(name) {
            return Some(CowVal::Borrowed(&**known));
        }
        let is_named = |value: &&Live| {
            value.attribute.name == name || value.with_unit.as_deref() == Some(name)
        };
        if let Some(value) = self.fresh().find(is_named) {
            return Some(CowVal::Borrowed(&*value.value));
        }
        if let Some(known) = self.robot.card.last.get(name) {
            return Some(CowVal::Borrowed(&**known));
        }
        match name {
            "live" => {
                let live: Vec<_> = self.fresh().map(|value| &value.attribute).collect();
                owned(Value::from(values(live.into_iter())))
            }
            "age" => owned(Value::from(self.ages())),
            _ => None,
        }
    }
}

fn owned<'v>(value: Value) -> Option<CowVal<'v, 'v>> {
    known(value).map(CowVal::Owned)
}

impl Live {
    fn age_ms(&self, now: Instant) -> u64 {
        let age = now.duration_since(self.at).as_millis();
        u64::try_from(age).unwrap_or(u64::MAX)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.age_ms(now) <= LIVE_AGE_MS_MAX
    }
}

fn heard(robot: LiveOf, now: Instant) -> Vec<Live> {
    let live = |said: LiveValue| {
        let attribute = said.attribute?;
        Some(Live {
            with_unit: with_unit(&attribute),
            value: Arc::from(known(value(&attribute)?)?),
            attribute,
            at: now.checked_sub(Duration::from_millis(said.age_ms))?,
        })
    };
    robot.values.into_iter().filter_map(live).collect()
}

impl Card {
    fn of(account: Account) -> Self {
        let card = account.capabilities.clone().unwrap_or_default();
        let mut capabilities: HashMap<String, Value> = HashMap::new();
        // What a robot can be told to do it is able to do, whatever else it says of it.
        for action in &card.actions {
            let nothing = HashMap::<String, Value>::new();
            capabilities.insert(action.name.clone(), nothing.into());
        }
        for capability in &card.capabilities {
            let attributes = values(capability.attributes.iter());
            capabilities.insert(capability.name.clone(), attributes.into());
        }
        let actions: Vec<Value> = card
            .actions
            .iter()
            .map(|action| action.name.clone().into())
            .collect();
        let attributes = values(card.attributes.iter());
        let mut first = Vec::new();
        for capability in &card.capabilities {
            let attributes = values(capability.attributes.iter());
            first.push((capability.name.clone(), Value::from(attributes)));
        }
        first.extend([
            ("capabilities".to_owned(), capabilities.into()),
            ("actions".to_owned(), Value::from(actions)),
            ("attributes".to_owned(), attributes.clone().into()),
            ("name".to_owned(), account.name.clone().into()),
            ("model".to_owned(), card.model.into()),
            ("manufacturer".to_owned(), card.manufacturer.into()),
            ("serial_number".to_owned(), card.serial_number.into()),
        ]);
        Self {
            account,
            first: all_known(first),
            last: all_known(attributes),
        }
    }
}

fn all_known(values: impl IntoIterator<Item = (String, Value)>) -> HashMap<String, Known> {
    let values = values.into_iter();
    values
        .filter_map(|(name, value)| Some((name, known(value)?)))
        .collect()
}

fn known(value: Value) -> Option<Known> {
    Known::try_from(value).ok()
}

/// By their names, and those with a unit by both together; a name that is said wins.
fn values<'a>(
    attributes: impl Iterator<Item = &'a TypedAttribute> + Clone,
) -> HashMap<String, Value> {
    let with_units = attributes
        .clone()
        .filter_map(|one| Some((with_unit(one)?, value(one)?)));
    let mut values: HashMap<_, _> = with_units.collect();
    values.extend(attributes.filter_map(|one| Some((one.name.clone(), value(one)?))));
    values
}

/// `payload` in `kg` is `payload_kg` too.
fn with_unit(attribute: &TypedAttribute) -> Option<String> {
    let unit = match attribute.unit.as_str() {
        "" => return None,
        "%" => "percent",
        unit => unit,
    };
    Some(format!("{}_{unit}", attribute.name))
}

fn value(attribute: &TypedAttribute) -> Option<Value> {
    use typed_attribute::Value as Typed;
    Some(match attribute.value.as_ref()? {
        Typed::Number(number) => Value::Float(*number),
        Typed::Text(text) => text.clone().into(),
        Typed::Truth(truth) => Value::Bool(*truth),
        Typed::List(list) if list.texts.is_empty() => {
            let numbers = list.numbers.iter().map(|number| Value::Float(*number));
            numbers.collect::<Vec<_>>().into()
        }
        Typed::List(list) => {
            let texts = list.texts.iter().map(|text| text.clone().into());
            texts.collect::<Vec<Value>>().into()
        }
    })
}

#[cfg(test)]
mod tests;
