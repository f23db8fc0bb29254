//! The registry of capabilities: what a robot says of itself, which robots can do what, and who is
//! told when that changes.
//!
//! A query is one condition in a subset of CEL:
//! `"lift" in capabilities && lift.payload_kg >= 5 && zone == "B" && battery > 20`. Names are those
//! of the robots' capabilities and attributes, in any script. A fault in it is refused with
//! [`ErrorCode::Query`](crate::ErrorCode::Query) and its place, in `Refusal::query_fault`.

mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::kind::client as kind;
use protocol::limits::LIVE_INTERVAL_MS;
use protocol::wire::typed_attribute::Value;
use protocol::wire::{self, AttributeList, TypedAttribute};
use protocol::{AccountId, ConversationId};
use tokio::task::JoinHandle;

pub(crate) use self::watch::RobotNews;
pub use self::watch::{RobotChange, RobotWatch};
use crate::client::Client;
use crate::error::Error;
use crate::message::Account;

/// A robot that meets a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundRobot {
    /// Who, with its card.
    pub account: Account,
    /// What it says live.
    pub live: Vec<LiveValue>,
}

/// The newest value of a live attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveValue {
    /// The value.
    pub attribute: TypedAttribute,
    /// How long ago the server heard it.
    pub age: Duration,
}

/// A page of robots.
#[derive(Debug, Clone, PartialEq)]
pub struct RobotPage {
    /// By rising account.
    pub robots: Vec<FoundRobot>,
    /// Whether there are more.
    pub more: bool,
    /// How many meet the condition, on all pages.
    pub matched: u32,
    /// Among how many.
    pub asked: u32,
}

/// A number with its unit, which may be empty: `payload` in `kg` is found as `payload_kg` too.
#[must_use]
pub fn number(name: &str, number: f64, unit: &str) -> TypedAttribute {
    TypedAttribute {
        name: name.to_owned(),
        unit: unit.to_owned(),
        value: Some(Value::Number(number)),
    }
}

/// A text.
#[must_use]
pub fn text(name: &str, text: &str) -> TypedAttribute {
    attribute(name, Value::Text(text.to_owned()))
}

/// Something that is so or not.
#[must_use]
pub fn truth(name: &str, is_so: bool) -> TypedAttribute {
    attribute(name, Value::Truth(is_so))
}

/// Several texts.
#[must_use]
pub fn texts(name: &str, texts: &[&str]) -> TypedAttribute {
    let list = AttributeList {
        texts: texts.iter().map(|&text| text.to_owned()).collect(),
        numbers: Vec::new(),
    };
    attribute(name, Value::List(list))
}

fn attribute(name: &str, value: Value) -> TypedAttribute {
    TypedAttribute {
        name: name.to_owned(),
        unit: String::new(),
        value: Some(value),
    }
}

impl Client {
    /// All robots that meet a condition: of a group that the caller is in, or, for operators and
    /// planners, of the fleet.
    pub async fn query_robots(
        &self,
        query: &str,
        group: Option<ConversationId>,
    ) -> Result<Vec<FoundRobot>, Error> {
        let mut robots: Vec<FoundRobot> = Vec::new();
        loop {
            let after = robots.last().map_or(AccountId(0), |last| last.account.id);
            let page = self.query_robots_page(query, group, after, 0).await?;
            let more = page.more && !page.robots.is_empty();
            robots.extend(page.robots);
            if !more {
                return Ok(robots);
            }
        }
    }

    /// A page of them: with a greater id than `after`, at most `limit` (0: the server's page size).
    pub async fn query_robots_page(
        &self,
        query: &str,
        group: Option<ConversationId>,
        after: AccountId,
        limit: u32,
    ) -> Result<RobotPage, Error> {
        let request = wire::QueryRobots {
            query: query.to_owned(),
            group_id: group.map_or_else(Bytes::new, ConversationId::to_bytes),
            after_account_id: after.0,
            limit,
        };
        let found: wire::RobotsFound = self.request(kind::QUERY_ROBOTS, &request).await?;
        Ok(RobotPage {
            robots: found.robots.into_iter().map(robot).collect(),
            more: found.more,
            matched: found.matched,
            asked: found.asked,
        })
    }

    /// Watches who meets a condition. Returns when the first of it is known.
    pub async fn watch_robots(
        &self,
        query: &str,
        group: Option<ConversationId>,
    ) -> Result<RobotWatch, Error> {
        RobotWatch::begin(self.clone(), query, group).await
    }

    /// Says what of this robot changes often. It is believed for five minutes: [`LiveValues`] says it
    /// again in time.
    pub async fn set_live(&self, set: &[TypedAttribute], unset: &[&str]) -> Result<(), Error> {
        let request = wire::SetLive {
            set: set.to_vec(),
            unset: unset.iter().map(|&name| name.to_owned()).collect(),
        };
        let _: wire::LiveSet = self.request(kind::SET_LIVE, &request).await?;
        Ok(())
    }
}

fn robot(found: wire::FoundRobot) -> FoundRobot {
    let value = |live: wire::LiveAttribute| LiveValue {
        attribute: live.attribute.unwrap_or_default(),
        age: Duration::from_millis(live.age_ms),
    };
    FoundRobot {
        account: Account::from_wire(found.account.unwrap_or_default()),
        live: found.live.into_iter().map(value).collect(),
    }
}

/// What a robot says live, and says again every 30 seconds, until it is dropped.
#[derive(Debug)]
pub struct LiveValues {
    client: Client,
    values: Arc<Mutex<BTreeMap<String, TypedAttribute>>>,
    again: JoinHandle<()>,
}

impl LiveValues {
    /// Of this robot; nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let values: Arc<Mutex<BTreeMap<String, TypedAttribute>>> = Arc::default();
        let (said, teller) = (Arc::clone(&values), client.clone());
        let again = tokio::spawn(async move {
            let mut due = tokio::time::interval(Duration::from_millis(LIVE_INTERVAL_MS));
            loop {
                due.tick().await;
                let all: Vec<_> = said.lock().values().cloned().collect();
                if all.is_empty() {
                    continue;
                }
                // One that fails is said again with the next.
                if let Err(Error::Closed) = teller.set_live(&all, &[]).await {
                    return;
                }
            }
        });
        Self {
            client,
            values,
            again,
        }
    }

    /// Says a value.
    ///
    /// # Errors
    /// What the server refuses, and that it was not reached; the value is said again then.
    pub async fn set(&self, attribute: TypedAttribute) -> Result<(), Error> {
        let name = attribute.name.clone();
        self.values.lock().insert(name, attribute.clone());
        self.client.set_live(&[attribute], &[]).await
    }

    /// Takes a value back.
    ///
    /// # Errors
    /// That the server was not reached: it believes the value for five minutes more at most.
    pub async fn unset(&self, name: &str) -> Result<(), Error> {
        self.values.lock().remove(name);
        self.client.set_live(&[], &[name]).await
    }
}

impl Drop for LiveValues {
    fn drop(&mut self) {
        self.again.abort();
    }
}
