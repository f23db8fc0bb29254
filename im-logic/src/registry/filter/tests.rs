//! What is met, what is refused and where, and what it may cost.

use super::*;
use crate::registry::book::Robot;
use crate::registry::testing::robot;
use protocol::ErrorCode;
use tokio::time::Instant;

fn is_met(expression: &str, robot: &Robot) -> bool {
    let filter = Filter::compile(expression).expect(expression);
    filter.is_met(&robot.at(Instant::now()))
}

#[test]
fn a_condition_is_on_capabilities_attributes_and_what_is_live() {
    let lift = robot();
    for met in [
        "",
        "\"lift\" in capabilities && lift.payload_kg >= 5 && zone == \"B\" && battery > 20",
        "lift.payload_kg == 10 && lift.payload == 10.0 && 10 == lift.payload",
        "\"搬运\" in capabilities && 搬运.载重_kg >= 5 && 区域 == \"乙\" && 电量 > 20",
        "capabilities[\"搬运\"][\"载重\"] * 2 > 19 && size(maps) + 1 == 3",
        "zone in [\"A\", \"B\"] && !(zone == \"C\")",
        "\"v7\" in maps && maps.exists(m, m.startsWith(\"v\")) && size(maps) == 2",
        "区域.startsWith(\"乙\") && maps.exists(图, 图 == \"v7\")",
        "indoor && attributes[\"zone\"] == \"B\" && live[\"battery\"] > 20",
        "model == \"forklift-2t\" && name == \"lift-1\" && \"dock\" in actions",
        "\"dock\" in capabilities",
        "has(lift.payload) && !has(lift.speed)",
        "missing == 5 || zone == \"B\"",
        "zone == \"B\" ? battery > 20 : false",
        "battery_percent > 20 || age[\"battery\"] < 5.0",
    ] {
        assert!(is_met(met, &lift), "{met}");
    }
    for not in [
        "lift.payload_kg > 10",
        "\"fly\" in capabilities",
        "fly.height > 5",
        "missing == 5",
        "!(missing == 5)",
        "zone > 5",
        "zone",
        "false",
        "电量 > 95",
    ] {
        assert!(!is_met(not, &lift), "{not}");
    }
}

#[test]
fn a_fault_is_shown_where_it_is() {
    for (expression, offset, length) in [
        ("zone == ", 8, 0),
        ("zone == \"B\" && && battery > 5", 15, 1),
        ("battery > 20 )", 13, 1),
        ("电量 > 20 && 飞(区域)", 11, 1),
        ("zone.matches(\"B.*\")", 5, 7),
        ("5 + 3", 0, 5),
        ("[1]", 0, 3),
        ("{\"a\": 1}.a == 1", 0, 1),
        ("zone = \"B\"", 5, 1),
        ("maps.all(a, maps.all(b, a == b))", 20, 1),
    ] {
        let refused = Filter::compile(expression).expect_err(expression);
        assert_eq!(refused.code, ErrorCode::Query);
        let fault = refused.query_fault.clone().unwrap();
        let found = (fault.offset, fault.length);
        assert_eq!(found, (offset, length), "{expression}: {refused}");
    }
}

#[test]
fn an_age_is_found_where_it_is_asked_for() {
    let filter = Filter::compile("区域 == \"乙\" && age[\"电量\"] < 5.0").unwrap();
    let fault = filter.age().unwrap();
    assert_eq!((fault.offset, fault.length), (13, 3));
    assert!(Filter::compile("电量 > 20").unwrap().age().is_none());
}

#[test]
fn what_an_expression_costs_is_bounded() {
    let chain = vec!["zone == \"B\""; 40].join(" && ");
    assert!(is_met(&chain, &robot()), "long, and allowed");
    let chain = vec!["zone == \"B\""; 41].join(" && ");
    assert!(Filter::compile(&chain).is_err());
    let deep = format!("{}true{}", "(".repeat(12), ")".repeat(12));
    assert!(is_met(&deep, &robot()));
    let deepest = "!".repeat(150) + "true";
    assert!(is_met(&deepest, &robot()));
    let fields = "zone".to_owned() + &".a".repeat(75);
    assert!(!is_met(&fields, &robot()));
}
