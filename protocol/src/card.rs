//! Capability cards: what a robot may declare. Pure; for whoever declares and for whoever checks.
//!
//! Not here: how cards are asked ([`wire::QueryRobots`]), and whether an action's schema is JSON,
//! which needs a reader of it.

use std::collections::BTreeSet;

use prost::Message as _;

use crate::limits::{
    ACTION_PARTS_MAX, CAPABILITY_CARD_BYTES_MAX, CARD_DESCRIPTION_BYTES_MAX, CARD_LIST_MAX,
    CARD_NAME_CHARS_MAX, CARD_TEXT_BYTES_MAX, FACT_ARGUMENTS_MAX, LIVE_ATTRIBUTES_MAX,
    LIVE_TEXT_BYTES_MAX, UNIT_BYTES_MAX,
};
use crate::wire::typed_attribute::Value;
use crate::wire::{
    self, ActionParameter, ActionSpec, AttributeList, CapabilityCard, Fact, TypedAttribute,
    ValueDataType,
};
use crate::{ErrorCode, Refusal};

/// Names that an expression has for other things than attributes and capabilities.
pub const RESERVED_NAMES: [&str; 9] = [
    "actions",
    "age",
    "attributes",
    "capabilities",
    "live",
    "manufacturer",
    "model",
    "name",
    "serial_number",
];

/// The robot itself, in the arguments of a fact.
pub const SELF: &str = "?self";

/// Checks a whole card.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(card: &CapabilityCard) -> Result<(), Refusal> {
    let bytes = card.encoded_len();
    if bytes > CAPABILITY_CARD_BYTES_MAX {
        return Err(limit(format!(
            "{bytes} bytes, and at most {CAPABILITY_CARD_BYTES_MAX} are allowed"
        )));
    }
    at_most("actions", card.actions.len(), CARD_LIST_MAX)?;
    at_most("capabilities", card.capabilities.len(), CARD_LIST_MAX)?;
    for text in [&card.model, &card.manufacturer, &card.serial_number] {
        length(
            "model, manufacturer, serial_number",
            text,
            CARD_TEXT_BYTES_MAX,
        )?;
    }
    let mut names = BTreeSet::new();
    for capability in &card.capabilities {
        let name = &capability.name;
        named("a capability", name, ".")?;
        unreserved(name)?;
        once("capabilities", &mut names, name)?;
        length(name, &capability.description, CARD_DESCRIPTION_BYTES_MAX)?;
        attributes(name, &capability.attributes)?;
    }
    attributes("the robot", &card.attributes)?;
    for attribute in &card.attributes {
        unreserved(&attribute.name)?;
        once("capabilities and attributes", &mut names, &attribute.name)?;
    }
    let mut names = BTreeSet::new();
    for spec in &card.actions {
        once("actions", &mut names, &spec.name)?;
        action(spec)?;
    }
    Ok(())
}

/// Checks what a robot says of its live attributes.
///
/// # Errors
/// What is wrong with it.
pub fn check_live(live: &wire::SetLive) -> Result<(), Refusal> {
    at_most("live attributes", live.set.len(), LIVE_ATTRIBUTES_MAX)?;
    at_most("unset", live.unset.len(), LIVE_ATTRIBUTES_MAX)?;
    let mut names = BTreeSet::new();
    for attribute in &live.set {
        unreserved(&attribute.name)?;
        once("live attributes", &mut names, &attribute.name)?;
        self::attribute("live", attribute)?;
        match &attribute.value {
            Some(Value::Text(text)) => length(&attribute.name, text, LIVE_TEXT_BYTES_MAX)?,
            Some(Value::List(_)) => {
                return Err(bad(format!("`{}`: a list is not live", attribute.name)));
            }
            Some(Value::Number(_) | Value::Truth(_)) | None => {}
        }
    }
    for name in &live.unset {
        length("unset", name, CARD_NAME_CHARS_MAX * 4)?;
    }
    Ok(())
}

fn attributes(of: &str, attributes: &[TypedAttribute]) -> Result<(), Refusal> {
    at_most(of, attributes.len(), CARD_LIST_MAX)?;
    let mut names = BTreeSet::new();
    for one in attributes {
        once(of, &mut names, &one.name)?;
        attribute(of, one)?;
    }
    Ok(())
}

fn attribute(of: &str, attribute: &TypedAttribute) -> Result<(), Refusal> {
    let name = &attribute.name;
    named("an attribute", name, ".")?;
    length("unit", &attribute.unit, UNIT_BYTES_MAX)?;
    if attribute.unit.chars().any(char::is_control) {
        return Err(bad(format!("`{name}` of {of}: unit: control characters")));
    }
    let finite = |number: &f64| number.is_finite();
    let is_well = match &attribute.value {
        None => return Err(bad(format!("`{name}` of {of} has no value"))),
        Some(Value::Number(number)) => finite(number),
        Some(Value::Text(text)) => return length(name, text, CARD_TEXT_BYTES_MAX),
        Some(Value::Truth(_)) => true,
        Some(Value::List(AttributeList { texts, numbers })) => {
            at_most(name, texts.len() + numbers.len(), CARD_LIST_MAX)?;
            for text in texts {
                length(name, text, CARD_TEXT_BYTES_MAX)?;
            }
            numbers.iter().all(finite) && (texts.is_empty() || numbers.is_empty())
        }
    };
    if is_well {
        return Ok(());
    }
    Err(bad(format!(
        "`{name}` of {of}: numbers are finite, and a list is of texts or of numbers"
    )))
}

fn action(spec: &ActionSpec) -> Result<(), Refusal> {
    let name = &spec.name;
    named("an action", name, ".")?;
    length(name, &spec.description, CARD_DESCRIPTION_BYTES_MAX)?;
    length(name, &spec.result_description, CARD_DESCRIPTION_BYTES_MAX)?;
    at_most(name, spec.parameters.len(), ACTION_PARTS_MAX)?;
    at_most(name, spec.preconditions.len(), ACTION_PARTS_MAX)?;
    at_most(name, spec.effects.len(), ACTION_PARTS_MAX)?;
    at_most(name, spec.blocking_types.len(), ACTION_PARTS_MAX)?;
    let mut keys = BTreeSet::new();
    for ActionParameter {
        key,
        object_type,
        unit,
        description,
        value_data_type,
        ..
    } in &spec.parameters
    {
        named("a parameter", key, "")?;
        once(name, &mut keys, key)?;
        length(name, description, CARD_DESCRIPTION_BYTES_MAX)?;
        length("unit", unit, UNIT_BYTES_MAX)?;
        let data_type = ValueDataType::try_from(*value_data_type).unwrap_or_default();
        if data_type == ValueDataType::Unspecified {
            return Err(bad(format!("`{key}` of `{name}` has no type")));
        }
        if !object_type.is_empty() {
            named("a kind of thing", object_type, "")?;
            if data_type != ValueDataType::String {
                return Err(bad(format!(
                    "`{key}` of `{name}`: only a STRING names a thing"
                )));
            }
        }
    }
    for fact in spec.preconditions.iter().chain(&spec.effects) {
        check_fact(spec, fact)?;
    }
    Ok(())
}

/// What an action says of the world is about its own parameters.
fn check_fact(spec: &ActionSpec, fact: &Fact) -> Result<(), Refusal> {
    let name = &spec.name;
    named("a predicate", &fact.predicate, "")?;
    at_most(&fact.predicate, fact.arguments.len(), FACT_ARGUMENTS_MAX)?;
    for argument in &fact.arguments {
        if argument.is_empty() {
            return Err(bad(format!("`{name}`: an argument of a fact is empty")));
        }
        length(name, argument, CARD_TEXT_BYTES_MAX)?;
        let Some(key) = argument.strip_prefix('?').filter(|_| argument != SELF) else {
            continue;
        };
        let is_bound = |parameter: &ActionParameter| parameter.key == key && !parameter.is_optional;
        if !spec.parameters.iter().any(is_bound) {
            return Err(bad(format!(
                "`{name}`: `{argument}` in `{}` is no parameter that is always given",
                fact.predicate
            )));
        }
    }
    Ok(())
}

/// 1 to 64 letters, digits, `_`, `-`, and these.
fn named(what: &str, name: &str, more: &str) -> Result<(), Refusal> {
    let is_name = |c: char| c.is_alphanumeric() || "_-".contains(c) || more.contains(c);
    let chars = name.chars().count();
    if chars > 0 && chars <= CARD_NAME_CHARS_MAX && name.chars().all(is_name) {
        return Ok(());
    }
    Err(bad(format!(
        "{what}'s name is 1 to {CARD_NAME_CHARS_MAX} letters, digits, `.`, `_` and `-`"
    )))
}

fn unreserved(name: &str) -> Result<(), Refusal> {
    if RESERVED_NAMES.contains(&name) {
        return Err(bad(format!("`{name}` is a name of the query language")));
    }
    Ok(())
}

fn once<'n>(of: &str, names: &mut BTreeSet<&'n str>, name: &'n str) -> Result<(), Refusal> {
    if names.insert(name) {
        return Ok(());
    }
    Err(bad(format!("{of}: two are named `{name}`")))
}

fn at_most(what: &str, found: usize, most: usize) -> Result<(), Refusal> {
    if found <= most {
        return Ok(());
    }
    Err(limit(format!(
        "{what}: {found}, and at most {most} are allowed"
    )))
}

fn length(what: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.len() <= most {
        return Ok(());
    }
    Err(limit(format!(
        "{what}: a text of {} bytes, and at most {most} are allowed",
        text.len()
    )))
}

fn bad(why: String) -> Refusal {
    Refusal::bad_request(format!("capabilities: {why}"))
}

fn limit(why: String) -> Refusal {
    Refusal::new(ErrorCode::LimitReached, format!("capabilities: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Capability;

    fn number(name: &str, number: f64) -> TypedAttribute {
        TypedAttribute {
            name: name.into(),
            unit: "kg".into(),
            value: Some(Value::Number(number)),
        }
    }

    fn parameter(key: &str, is_optional: bool) -> ActionParameter {
        ActionParameter {
            key: key.into(),
            value_data_type: ValueDataType::String.into(),
            object_type: "box".into(),
            is_optional,
            ..ActionParameter::default()
        }
    }

    fn fact(predicate: &str, arguments: &[&str]) -> Fact {
        Fact {
            predicate: predicate.into(),
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
            negated: false,
        }
    }

    fn card() -> CapabilityCard {
        CapabilityCard {
            capabilities: vec![Capability {
                name: "搬运".into(),
                attributes: vec![number("载重", 10.0)],
                ..Capability::default()
            }],
            attributes: vec![TypedAttribute {
                name: "zone".into(),
                value: Some(Value::Text("乙".into())),
                ..TypedAttribute::default()
            }],
            actions: vec![ActionSpec {
                name: "lift".into(),
                parameters: vec![parameter("箱子", false), parameter("how", true)],
                preconditions: vec![fact("at", &["?self", "?箱子"])],
                effects: vec![fact("holding", &["?self", "?箱子"]), fact("lamp", &["red"])],
                ..ActionSpec::default()
            }],
            ..CapabilityCard::default()
        }
    }

    fn code(change: impl FnOnce(&mut CapabilityCard)) -> Option<ErrorCode> {
        let mut card = card();
        change(&mut card);
        check(&card).err().map(|refusal| refusal.code)
    }

    #[test]
    fn a_card_is_what_a_query_and_a_planner_can_read() {
        assert_eq!(code(|_| {}), None);
        let bad = Some(ErrorCode::BadRequest);
        assert_eq!(
            code(|card| card.capabilities[0].name = "two words".into()),
            bad
        );
        assert_eq!(
            code(|card| card.attributes[0].name = "battery%".into()),
            bad
        );
        assert_eq!(code(|card| card.attributes[0].name = "搬运".into()), bad);
        assert_eq!(code(|card| card.attributes[0].name = "model".into()), bad);
        assert_eq!(code(|card| card.attributes[0].value = None), bad);
        let twice =
            |card: &mut CapabilityCard| card.capabilities.push(card.capabilities[0].clone());
        assert_eq!(code(twice), bad);
        let endless = number("x", f64::INFINITY);
        assert_eq!(code(|card| card.attributes.push(endless)), bad);
        let mixed = AttributeList {
            texts: vec!["a".into()],
            numbers: vec![1.0],
        };
        let mixed = Some(Value::List(mixed));
        assert_eq!(code(|card| card.attributes[0].value = mixed), bad);
        let long = Some(Value::Text("x".repeat(CARD_TEXT_BYTES_MAX + 1)));
        let limit = Some(ErrorCode::LimitReached);
        assert_eq!(code(|card| card.attributes[0].value = long), limit);
        let many = vec![Capability::default(); CARD_LIST_MAX + 1];
        assert_eq!(code(|card| card.capabilities = many), limit);
    }

    #[test]
    fn what_an_action_says_of_the_world_is_about_its_parameters() {
        let bad = Some(ErrorCode::BadRequest);
        let effect = |fact: Fact| code(|card| card.actions[0].effects = vec![fact]);
        assert_eq!(effect(fact("at", &["?箱子", "dock"])), None);
        assert_eq!(effect(fact("at", &["?elsewhere"])), bad);
        assert_eq!(effect(fact("at", &["?how"])), bad, "it may be missing");
        assert_eq!(effect(fact("", &["?self"])), bad);
        assert_eq!(effect(fact("at", &[""])), bad);
        let untyped = |card: &mut CapabilityCard| card.actions[0].parameters[0].value_data_type = 0;
        assert_eq!(code(untyped), bad);
        let number = ValueDataType::Number.into();
        let odd = |card: &mut CapabilityCard| {
            card.actions[0].parameters[0].value_data_type = number;
        };
        assert_eq!(code(odd), bad, "a number names no thing");
    }

    #[test]
    fn what_is_live_is_small() {
        let live = |set| wire::SetLive {
            set,
            ..wire::SetLive::default()
        };
        assert!(check_live(&live(vec![number("battery", 80.0)])).is_ok());
        assert!(check_live(&live(vec![number("age", 80.0)])).is_err());
        let many = (0..=LIVE_ATTRIBUTES_MAX).map(|n| number(&format!("a{n}"), 1.0));
        assert!(check_live(&live(many.collect())).is_err());
        let mut list = number("x", 1.0);
        list.value = Some(Value::List(AttributeList::default()));
        assert!(check_live(&live(vec![list])).is_err());
    }
}
