//! Robots for the tests of this folder.

use protocol::AccountId;
use protocol::wire::internal::{CardPage, CardRow, LiveOf, LivePage, LiveValue};
use protocol::wire::typed_attribute::Value;
use protocol::wire::{
    Account, AccountKind, ActionSpec, AttributeList, Capability, CapabilityCard, TypedAttribute,
};
use service_kit::live::InstanceId;
use tokio::time::Instant;

use super::book::{Book, Robot};

/// A router.
pub(crate) const R: InstanceId = InstanceId(1);

pub(crate) fn number(name: &str, unit: &str, number: f64) -> TypedAttribute {
    TypedAttribute {
        name: name.into(),
        unit: unit.into(),
        value: Some(Value::Number(number)),
    }
}

fn text(name: &str, text: &str) -> TypedAttribute {
    TypedAttribute {
        name: name.into(),
        unit: String::new(),
        value: Some(Value::Text(text.into())),
    }
}

fn card() -> CapabilityCard {
    let capability = |name: &str, attribute| Capability {
        name: name.into(),
        attributes: vec![attribute],
        ..Capability::default()
    };
    let maps = AttributeList {
        texts: vec!["v6".into(), "v7".into()],
        ..AttributeList::default()
    };
    CapabilityCard {
        model: "forklift-2t".into(),
        capabilities: vec![
            capability("lift", number("payload", "kg", 10.0)),
            capability("搬运", number("载重", "kg", 10.0)),
        ],
        attributes: vec![
            text("zone", "B"),
            text("区域", "乙"),
            TypedAttribute {
                name: "indoor".into(),
                value: Some(Value::Truth(true)),
                ..TypedAttribute::default()
            },
            TypedAttribute {
                name: "maps".into(),
                value: Some(Value::List(maps)),
                ..TypedAttribute::default()
            },
        ],
        actions: vec![ActionSpec {
            name: "dock".into(),
            ..ActionSpec::default()
        }],
        ..CapabilityCard::default()
    }
}

/// A page with one card.
pub(crate) fn card_row(account_id: u64, name: &str, revision: u64) -> CardPage {
    CardPage {
        cards: vec![CardRow {
            account: Some(Account {
                account_id,
                kind: AccountKind::Robot.into(),
                name: name.into(),
                capabilities: Some(card()),
            }),
            revision,
        }],
        more: false,
    }
}

/// A page with one live attribute.
pub(crate) fn heard_live(account_id: u64, name: &str, value: f64, age_ms: u64) -> LivePage {
    LivePage {
        instance: 7,
        revision: 1,
        robots: vec![LiveOf {
            account_id,
            values: vec![LiveValue {
                attribute: Some(number(name, "%", value)),
                age_ms,
            }],
        }],
        more: false,
    }
}

/// A robot that lifts, in English and in Chinese, with a battery of 80 and of 90 percent.
pub(crate) fn robot() -> Robot {
    let mut book = Book::default();
    book.cards(card_row(1, "lift-1", 1));
    let mut page = heard_live(1, "battery", 80.0, 0);
    page.robots[0].values.push(LiveValue {
        attribute: Some(number("电量", "%", 90.0)),
        age_ms: 0,
    });
    book.live(R, page, Instant::now());
    book.robot(AccountId(1)).expect("it has a card")
}
