//! The registry of capabilities: typed cards, queries in English and Chinese, watched queries, and
//! commands to any robots that meet a condition.

use tokio::time::Instant;

use bench::cluster::Cluster;
use bench::{crowd, wait};
use client_sdk::protocol::command as states;
use client_sdk::registry::{number, text, texts, truth};
use client_sdk::{
    AccountId, ActionParameter, ActionSpec, Capability, CapabilityCard, Client, ErrorCode, Fact,
    LiveValues, NewCommand, Refusal, RobotWatch, Targets, ValueDataType,
};

use crate::commands::{Fleet, LONG, Robot, ends, in_time};
use crate::people::Person;

/// What is asked in both languages.
const LIFTS_5: &str =
    "\"lift\" in capabilities && lift.payload_kg >= 5 && zone == \"B\" && battery > 20";
const LIFTS_5_ZH: &str =
    "\"搬运\" in capabilities && 搬运.载重_kg >= 5 && 区域 == \"乙\" && 电量 > 20";

fn card(payload: f64, zone: &str) -> CapabilityCard {
    let capability = |name: &str, attribute| Capability {
        name: name.into(),
        attributes: vec![attribute],
        ..Capability::default()
    };
    let fact = |predicate: &str, arguments: &[&str]| Fact {
        predicate: predicate.into(),
        arguments: arguments.iter().map(|&one| one.into()).collect(),
        negated: false,
    };
    let of = |key: &str, object_type: &str| ActionParameter {
        key: key.into(),
        value_data_type: ValueDataType::String.into(),
        object_type: object_type.into(),
        ..ActionParameter::default()
    };
    CapabilityCard {
        model: "forklift-2t".into(),
        capabilities: vec![
            capability("lift", number("payload", payload, "kg")),
            capability("搬运", number("载重", payload, "kg")),
        ],
        attributes: vec![
            text("zone", zone),
            text("区域", if zone == "B" { "乙" } else { "甲" }),
            truth("indoor", true),
            texts("maps", &["v6", "v7"]),
        ],
        actions: vec![ActionSpec {
            name: "put".into(),
            description: "把箱子放下".into(),
            parameters: vec![of("box", "box"), of("place", "place")],
            preconditions: vec![fact("holding", &["?self", "?box"])],
            effects: vec![fact("at", &["?box", "?place"])],
            ..ActionSpec::default()
        }],
        ..CapabilityCard::default()
    }
}

/// r1 and r2 lift 10 kg in zone B, r3 2 kg there, r4 10 kg in zone A; each with a full battery.
async fn four(fleet: &Fleet) -> Vec<Robot> {
    let mut robots = Vec::new();
    for (name, payload, zone) in [
        ("r1", 10.0, "B"),
        ("r2", 10.0, "B"),
        ("r3", 2.0, "B"),
        ("r4", 10.0, "A"),
    ] {
        let robot = fleet.robot(name).await;
        robot.client.announce(card(payload, zone)).await.unwrap();
        let full = [number("battery", 90.0, "%"), number("电量", 90.0, "%")];
        robot.client.set_live(&full, &[]).await.unwrap();
        robots.push(robot);
    }
    robots
}

async fn names(client: &Client, query: &str, fleet: &Fleet) -> Vec<String> {
    let found = client.query_robots(query, Some(fleet.group)).await;
    let found = found.unwrap_or_else(|error| panic!("{query}: {error}"));
    found.into_iter().map(|robot| robot.account.name).collect()
}

/// A value that was said is passed on to where it is kept, which its answer does not wait for.
async fn finds(client: &Client, query: &str, fleet: &Fleet, wanted: &[&str]) {
    let is_so = async || (names(client, query, fleet).await == wanted).then_some(());
    wait::until(is_so).await.expect(query);
}

fn refusal<T: std::fmt::Debug>(result: Result<T, client_sdk::Error>) -> Refusal {
    match result {
        Err(client_sdk::Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn robots_are_found_by_what_they_can_do_in_english_and_chinese() {
    let fleet = Fleet::with(&["r1", "r2", "r3", "r4"]).await;
    let robots = four(&fleet).await;
    let ana = &fleet.ana.client;
    finds(ana, LIFTS_5, &fleet, &["r1", "r2"]).await;
    finds(ana, LIFTS_5_ZH, &fleet, &["r1", "r2"]).await;
    // A name of an action is a capability, as before there were types.
    finds(
        ana,
        "\"put\" in capabilities && \"v7\" in maps",
        &fleet,
        &["r1", "r2", "r3", "r4"],
    )
    .await;
    // The whole fleet, page by page.
    let page = ana
        .query_robots_page("indoor", None, AccountId(0), 3)
        .await
        .unwrap();
    assert_eq!(
        (page.robots.len(), page.more, page.matched, page.asked),
        (3, true, 4, 4)
    );
    let last = page.robots[2].account.id;
    let rest = ana
        .query_robots_page("indoor", None, last, 3)
        .await
        .unwrap();
    assert_eq!((rest.robots.len(), rest.more), (1, false));
    // The whole card comes with it, the model of its actions included, and what is live.
    let first = &page.robots[0];
    assert_eq!(first.account.capabilities, Some(card(10.0, "B")));
    assert!(first.live.iter().all(|live| live.age < LONG) && first.live.len() == 2);

    // Robots ask within their groups.
    assert_eq!(
        names(&robots[3].client, LIFTS_5, &fleet).await,
        ["r1", "r2"]
    );
    let all = robots[3].client.query_robots(LIFTS_5, None).await;
    assert_eq!(refusal(all).code, ErrorCode::Forbidden);

    // A fault is shown where it is.
    for (query, offset, length) in [
        ("zone == \"B\" && battery >", 24, 0),
        ("区域 == \"乙\" && 飞(电量)", 13, 1),
        ("zone = \"B\"", 5, 1),
    ] {
        let refused = refusal(ana.query_robots(query, None).await);
        assert_eq!(refused.code, ErrorCode::Query);
        let fault = refused.query_fault.clone().unwrap();
        assert_eq!((fault.offset, fault.length), (offset, length), "{refused}");
    }
    fleet.stop().await;
}

async fn changes(watch: &mut RobotWatch) -> (Vec<AccountId>, Vec<AccountId>) {
    let change = in_time("a change", watch.changed()).await.unwrap();
    (change.entered, change.left)
}

#[tokio::test]
async fn a_live_value_moves_a_robot_into_a_watched_query_and_out_of_it() {
    let fleet = Fleet::with(&["r1", "r2", "r3", "r4"]).await;
    let robots = four(&fleet).await;
    let ana = &fleet.ana.client;
    finds(ana, LIFTS_5, &fleet, &["r1", "r2"]).await;
    let mut watch = ana.watch_robots(LIFTS_5, Some(fleet.group)).await.unwrap();
    let both = [robots[0].id(), robots[1].id()];
    assert_eq!(*watch.robots(), both.into());
    let live = LiveValues::new(robots[1].client.clone());
    live.set(number("battery", 10.0, "%")).await.unwrap();
    assert_eq!(changes(&mut watch).await, (vec![], vec![both[1]]));
    live.set(number("battery", 60.0, "%")).await.unwrap();
    assert_eq!(changes(&mut watch).await, (vec![both[1]], vec![]));
    // A card that changes is a change too.
    robots[3].client.announce(card(10.0, "B")).await.unwrap();
    assert_eq!(changes(&mut watch).await, (vec![robots[3].id()], vec![]));

    let of_an_age = ana.watch_robots("age[\"battery\"] < 5.0", None).await;
    let refused = refusal(of_an_age);
    assert_eq!(
        (refused.code, refused.query_fault.unwrap().length),
        (ErrorCode::Query, 3)
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_command_goes_to_any_two_that_meet_a_condition_and_its_repeat_to_the_same() {
    let fleet = Fleet::with(&["r1", "r2", "r3", "r4"]).await;
    let robots = four(&fleet).await;
    let ana = &fleet.ana.client;
    finds(ana, LIFTS_5, &fleet, &["r1", "r2"]).await;
    let any = |query: &str, count, group| {
        let targets = Targets::Any {
            query: query.to_owned(),
            group,
            count,
        };
        NewCommand::new(targets, "do", LONG)
    };
    let two = any(LIFTS_5, 2, None);
    let mut sent = ana.send_command(two.clone()).await.unwrap();
    let ended = ends(&mut sent).await;
    let chosen: Vec<_> = ended.keys().copied().collect();
    assert_eq!(chosen, [robots[0].id(), robots[1].id()]);

    // Nobody meets it by now, and the repeat finds the same.
    for robot in &robots[..2] {
        let low = [number("battery", 5.0, "%")];
        robot.client.set_live(&low, &[]).await.unwrap();
    }
    finds(ana, LIFTS_5, &fleet, &[]).await;
    let mut again = ana.send_command(two.clone()).await.unwrap();
    assert!(again.is_repeat());
    assert_eq!(
        ends(&mut again).await.keys().copied().collect::<Vec<_>>(),
        chosen
    );
    assert!(robots[..2].iter().all(|robot| robot.begun() == 1));
    let other = NewCommand {
        targets: any(LIFTS_5, 1, None).targets,
        ..two
    };
    let refused = refusal(ana.send_command(other).await);
    assert_eq!(refused.code, ErrorCode::Conflict);

    // Too few, with their number; and a fault, with its place.
    let refused = refusal(ana.send_command(any("zone == \"B\"", 4, None)).await);
    assert_eq!(refused.code, ErrorCode::Query);
    let fault = refused.query_fault.unwrap();
    assert_eq!((fault.matched, fault.wanted), (3, 4));
    let refused = refusal(ana.send_command(any("zone ==", 1, None)).await);
    assert_eq!(refused.query_fault.unwrap().offset, 7);

    // Who has nothing to do comes first: all but one of zone B are kept at work.
    let hang = NewCommand::new(Targets::Robots(chosen), "hang", LONG);
    let hang = ana.send_command(hang).await.unwrap();
    let idle = any("zone == \"B\"", 1, Some(fleet.group));
    let mut idle = ana.send_command(idle).await.unwrap();
    let ended = ends(&mut idle).await;
    assert_eq!(ended.keys().copied().collect::<Vec<_>>(), [robots[2].id()]);
    assert_eq!(states::open(hang.counts()), 2);
    fleet.stop().await;
}

/// What `swarm robot` and `swarm command --where` print.
#[tokio::test]
async fn swarm_robot_lists_shows_and_commands_by_a_condition() {
    let fleet = Fleet::with(&["r1", "r2", "r3", "r4"]).await;
    let _robots = four(&fleet).await;
    finds(&fleet.ana.client, LIFTS_5, &fleet, &["r1", "r2"]).await;
    let swarm = async |arguments: &[&str]| {
        let output = bench::cluster::swarm()
            .unwrap()
            .args(arguments)
            .args(["--as", "ana", "--state"])
            .arg(fleet.cluster.state())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), said, complained)
    };
    let (well, said, _) = swarm(&["robot", "list", "--where", LIFTS_5_ZH]).await;
    assert!(
        well && said.contains("载重=10kg") && said.contains("2 of 4 robots"),
        "{said}"
    );
    let (well, said, _) = swarm(&["robot", "show", "r1"]).await;
    assert!(
        well && said.contains("needs holding(?self, ?box)"),
        "{said}"
    );
    let (well, said, _) = swarm(&["robot", "show", "r1", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(
        well && shown["capabilities"]["搬运"]["载重"]["value"] == 10.0,
        "{said}"
    );
    let (well, _, complained) = swarm(&["robot", "list", "--where", "zone == "]).await;
    assert!(!well && complained.contains('^'), "{complained}");
    let send = [
        "command", "send", "do", "--where", LIFTS_5, "--count", "2", "--json",
    ];
    let (well, said, _) = swarm(&send).await;
    let sent: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(well && sent["counts"]["finished"] == 2, "{said}");
    fleet.stop().await;
}

/// Not a gate: machines differ. It prints what a query takes of whoever asks.
#[tokio::test]
async fn ten_thousand_cards_are_queried() {
    const CARDS: usize = 10_000;
    let cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let robots = crowd::robots(&cluster, "crowd", CARDS).await.unwrap();
    let of = |n: usize| card(if n.is_multiple_of(100) { 10.0 } else { 2.0 }, "B");
    crowd::declare(&cluster, &robots, of).await.unwrap();
    let query = "\"搬运\" in capabilities && lift.payload_kg >= 5 && zone == \"B\"";
    for what in ["first, with all cards read", "second"] {
        let begun = Instant::now();
        let page = ana
            .client
            .query_robots_page(query, None, AccountId(0), 0)
            .await
            .unwrap();
        println!("10,000 cards, {what}: {:?}", begun.elapsed());
        assert_eq!((page.matched, page.asked), (100, 10_000));
        assert_eq!((page.robots.len(), page.more), (100, false));
    }
    let (status, _folder) = cluster.stop().await.unwrap();
    assert!(status.success(), "{status}");
}
