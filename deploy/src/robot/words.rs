//! What a robot says of itself, in words and as JSON.

use client_sdk::{ActionSpec, Fact, FoundRobot, TypedAttribute};
use protocol::wire::typed_attribute::Value as Typed;
use serde_json::{Value, json};

use crate::render::on_one_screen;

pub(super) fn attribute(one: &TypedAttribute) -> String {
    let value = match &one.value {
        Some(Typed::Number(number)) => format!("{number}{}", one.unit),
        Some(Typed::Text(text)) => text.clone(),
        Some(Typed::Truth(truth)) => truth.to_string(),
        Some(Typed::List(list)) => {
            let numbers = list.numbers.iter().map(f64::to_string);
            let all: Vec<_> = list.texts.iter().cloned().chain(numbers).collect();
            all.join("|")
        }
        None => String::new(),
    };
    format!("{}={value}", one.name)
}

pub(super) fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

pub(super) fn card(robot: &FoundRobot) -> String {
    let card = robot.account.capabilities.clone().unwrap_or_default();
    let mut told = format!("{} {}\n", robot.account.id, robot.account.name);
    let named = [
        ("model", &card.model),
        ("manufacturer", &card.manufacturer),
        ("serial number", &card.serial_number),
    ];
    for (what, value) in named {
        if !value.is_empty() {
            told += &format!("{what}: {}\n", on_one_screen(value));
        }
    }
    for one in &card.attributes {
        told += &format!("{}\n", on_one_screen(&attribute(one)));
    }
    for live in &robot.live {
        let seconds = live.age.as_secs();
        told += &format!("{} ({seconds} s ago)\n", attribute(&live.attribute));
    }
    for capability in &card.capabilities {
        let attributes = joined(capability.attributes.iter().map(attribute));
        told += &on_one_screen(&format!("can {} {attributes}", capability.name));
        told.push('\n');
    }
    for action in &card.actions {
        told += &action_lines(action);
    }
    told
}

fn action_lines(action: &ActionSpec) -> String {
    let keys = action.parameters.iter().map(|parameter| {
        let kind = parameter.value_data_type().as_str_name();
        let kind = kind.trim_start_matches("VALUE_DATA_TYPE_");
        let optional = if parameter.is_optional { "?" } else { "" };
        format!("{}{optional}: {kind}", parameter.key)
    });
    let mut told = on_one_screen(&format!("action {}({})", action.name, joined(keys)));
    told.push('\n');
    for (what, facts) in [("needs", &action.preconditions), ("then", &action.effects)] {
        for fact in facts {
            told += &on_one_screen(&format!("  {what} {}", fact_words(fact)));
            told.push('\n');
        }
    }
    told
}

pub(super) fn fact_words(fact: &Fact) -> String {
    let not = if fact.negated { "not " } else { "" };
    format!("{not}{}({})", fact.predicate, fact.arguments.join(", "))
}

pub(super) fn as_json(robot: &FoundRobot) -> Value {
    let card = robot.account.capabilities.clone().unwrap_or_default();
    let attributes = |all: &[TypedAttribute]| {
        Value::from_iter(all.iter().map(|one| (one.name.clone(), value_json(one))))
    };
    let capabilities = card.capabilities.iter();
    let live = robot.live.iter().map(|live| {
        let age_ms = u64::try_from(live.age.as_millis()).unwrap_or(u64::MAX);
        let said = json!({ "value": value_json(&live.attribute), "age_ms": age_ms });
        (live.attribute.name.clone(), said)
    });
    json!({
        "account": robot.account.id.0.to_string(),
        "name": robot.account.name,
        "model": card.model,
        "manufacturer": card.manufacturer,
        "serial_number": card.serial_number,
        "capabilities": Value::from_iter(
            capabilities.map(|one| (one.name.clone(), attributes(&one.attributes))),
        ),
        "attributes": attributes(&card.attributes),
        "live": Value::from_iter(live),
        "actions": Value::from_iter(card.actions.iter().map(action_json)),
    })
}

fn value_json(one: &TypedAttribute) -> Value {
    let value = match &one.value {
        Some(Typed::Number(number)) => json!(number),
        Some(Typed::Text(text)) => json!(text),
        Some(Typed::Truth(truth)) => json!(truth),
        Some(Typed::List(list)) if list.texts.is_empty() => json!(list.numbers),
        Some(Typed::List(list)) => json!(list.texts),
        None => Value::Null,
    };
    match &one.unit[..] {
        "" => value,
        unit => json!({ "value": value, "unit": unit }),
    }
}

fn action_json(action: &ActionSpec) -> Value {
    let facts = |facts: &[Fact]| Value::from_iter(facts.iter().map(fact_words));
    json!({
        "name": action.name,
        "description": action.description,
        "parameters": Value::from_iter(action.parameters.iter().map(|one| json!({
            "key": one.key,
            "type": one.value_data_type().as_str_name().trim_start_matches("VALUE_DATA_TYPE_"),
            "optional": one.is_optional,
            "object_type": one.object_type,
            "unit": one.unit,
        }))),
        "preconditions": facts(&action.preconditions),
        "effects": facts(&action.effects),
    })
}
