//! Administration by HTTP: lists in pages, changes that clients of the protocol see, and a record of
//! each, also of those that are refused.

use std::time::Duration;

use bench::cluster::Cluster;
use bench::wait;
use client_sdk::ConversationId;
use reqwest::StatusCode;
use serde_json::{Value, json};
use service_kit::clock;

use crate::commands::Fleet;
use crate::http_client::{Web, message_id};
use crate::http_examples::{answer, examples, shell};
use crate::people::Person;

/// The names and the outcomes of records, the oldest first.
fn told(audit: &Value) -> Vec<String> {
    let records = audit["records"].as_array().unwrap().iter().rev();
    let line = |record: &Value| {
        let word = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
        let words = ["account", "action", "target", "outcome", "code"].map(word);
        words.join(" ")
    };
    records.map(line).collect()
}

/// In pages, with who is online.
async fn robots_are_listed(ana: &Web) {
    let (_, first) = ana.get("/robots?limit=2").await;
    let (_, last) = ana
        .get(&format!(
            "/robots?limit=2&after={}",
            first["next"].as_str().unwrap()
        ))
        .await;
    let names = |page: &Value| -> Vec<String> {
        let robots = page["robots"].as_array().unwrap().iter();
        robots
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!([names(&first), names(&last)].concat(), ["r1", "r2", "r3"]);
    assert_eq!((names(&first).len(), &last["next"]), (2, &Value::Null));
    let (_, robot) = ana.get("/robots/r1").await;
    assert_eq!(robot["online"], true, "{robot}");
    assert_eq!(last["robots"][0]["online"], false, "{last}");
}

/// A command has an outcome.
async fn robots_are_commanded(ana: &Web, key: &str) {
    let command = json!({"key": key, "action": "sweep", "robots": ["r1"], "within_ms": 60_000});
    let (status, sent) = ana.post("/commands", &command.to_string()).await;
    assert_eq!(
        (status, &sent["robots"]),
        (StatusCode::OK, &json!(1)),
        "{sent}"
    );
    let status = wait::until(async || {
        let (_, status) = ana.get(&format!("/command?key={key}")).await;
        (status["open"] == 0).then_some(status)
    });
    let status = status.await.unwrap();
    assert_eq!(status["counts"]["finished"], 1, "{status}");
    assert_eq!(status["outcomes"][0]["robot"], "r1");
    assert_eq!(status["outcomes"][0]["result"]["ok"], true);
    let (_, listed) = ana.get("/commands?limit=1").await;
    assert_eq!(listed["commands"][0]["key"], key);
    assert_eq!(listed["commands"][0]["issuer"], "ana");
}

#[tokio::test]
async fn robots_are_listed_commanded_and_grouped_and_it_is_all_on_record() {
    let fleet = Fleet::with(&["r1", "r2", "r3"]).await;
    let one = fleet.robot("r1").await;
    let ana = Web::admin(&fleet.cluster, "ana", None);
    robots_are_listed(&ana).await;

    // A group that is made here is there for whoever speaks the protocol, once.
    let new = json!({"client_message_id": message_id(1).to_string(), "name": "北仓库",
        "members": ["r1"]});
    let (status, made) = ana.post("/groups", &new.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let (_, again) = ana.post("/groups", &new.to_string()).await;
    assert_eq!(made["group"], again["group"]);
    let group: ConversationId = made["group"].as_str().unwrap().parse().unwrap();
    wait::until(async || {
        let all = fleet.ana.client.conversations().await.unwrap();
        all.iter().find(|its| its.id == group).map(|_| ())
    })
    .await
    .unwrap();
    let add = json!({"client_message_id": message_id(2).to_string(), "add": ["r2"],
        "role": "observer"});
    let path = format!("/groups/{group}/members");
    assert_eq!(ana.post(&path, &add.to_string()).await.0, StatusCode::OK);
    let (members, _) = fleet.ana.client.members_page(group, None, 0).await.unwrap();
    assert_eq!(members.len(), 3);

    let key = format!("{}/1/1", message_id(3));
    robots_are_commanded(&ana, &key).await;
    assert_eq!(one.begun(), 1);

    // What is refused is on record as well.
    let ben = Web::admin(&fleet.cluster, "ben", None);
    let (status, why) = ben.post(&path, &add.to_string()).await;
    assert_eq!(
        (status, &why["error"]["code"]),
        (StatusCode::FORBIDDEN, &json!("NOT_A_MEMBER"))
    );
    for bad in ["{", "[]", r#"{"name": "x"}"#, r#"{"name": 7}"#] {
        let (status, why) = ben.post("/groups", bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {why}");
        assert_eq!(why["error"]["code"], "BAD_REQUEST");
    }
    let (_, newest) = ana.get("/audit?limit=5").await;
    let (_, older) = ana
        .get(&format!(
            "/audit?after={}",
            newest["next"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        [told(&older), told(&newest)].concat(),
        [
            &format!("ana group.create {group} done -")[..],
            &format!("ana group.create {group} done -"),
            &format!("ana group.members {group} done -"),
            &format!("ana command.send {key} done -"),
            &format!("ben group.members {group} refused NOT_A_MEMBER"),
            "ben group.create  refused BAD_REQUEST",
            "ben group.create  refused BAD_REQUEST",
            "ben group.create  refused BAD_REQUEST",
            "ben group.create  refused BAD_REQUEST",
        ]
    );
    let record = &older["records"][0];
    assert_eq!(record["address"], "127.0.0.1");
    assert!(
        record["request"].as_str().unwrap().contains("sweep"),
        "{record}"
    );
    fleet.stop().await;
}

#[tokio::test]
async fn strangers_robots_and_the_hasty_are_told_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [("IM_LOGIC__API__REQUESTS_PER_SECOND", "5")];
    let cluster = Cluster::start_told(folder, &[], &limits).await.unwrap();
    let mut nobody = Web::admin(&cluster, "ana", None);
    nobody.token = String::new();
    let refused = nobody.client.get(format!("{}/audit", nobody.base)).send();
    let refused = refused.await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let why: Value = refused.json().await.unwrap();
    assert_eq!(why["error"]["code"], "UNAUTHENTICATED");
    let (_, why) = nobody.get("/nothing").await;
    assert_eq!(why["error"]["code"], "UNKNOWN_KIND");

    // A robot is known by its certificate, and may not.
    let files = cluster.authority().robot("r1", clock::unix_ms()).unwrap();
    let mut robot = Web::admin(&cluster, "ana", Some(&files));
    robot.token = String::new();
    for path in ["/audit", "/robots", "/cluster", "/sessions", "/commands"] {
        let (status, why) = robot.get(path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {why}");
        assert_eq!(why["error"]["code"], "FORBIDDEN");
    }

    // Too many requests of one account, and too many failures of one address.
    let ana = Web::admin(&cluster, "ana", None);
    let wait_s = async |web: &Web| {
        let limited = wait::until(async || {
            let request = web.client.get(format!("{}/robots", web.base));
            let answer = request.bearer_auth(&web.token).send().await.unwrap();
            (answer.status() == StatusCode::TOO_MANY_REQUESTS).then_some(answer)
        });
        let limited = limited.await.unwrap();
        let told: u64 = limited.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let why: Value = limited.json().await.unwrap();
        assert_eq!(why["error"]["code"], "RATE_LIMITED");
        let wait_ms = why["error"]["retry_after_ms"].as_u64().unwrap();
        assert!((1..=1001).contains(&wait_ms), "{why}");
        told
    };
    assert!((1..=2).contains(&wait_s(&nobody).await));
    assert!((1..=2).contains(&wait_s(&ana).await));
    // Others are not held up, from the same address.
    let ben = Web::admin(&cluster, "ben", None);
    let (status, cluster_now) = ben.get("/cluster").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(cluster_now["fleet"], "dev");
    let linked = |its: &Value| its["linked"] == true;
    assert!(
        cluster_now["processes"]
            .as_array()
            .unwrap()
            .iter()
            .all(linked)
    );
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_examples_for_curl_of_the_administration_work() {
    let fleet = Fleet::with(&["lift-1"]).await;
    let _lift = fleet.robot("lift-1").await;
    let ana = Web::admin(&fleet.cluster, "ana", None);
    let base = ana.base.trim_end_matches("/admin/v1");
    let mut examples = examples(&ana.client, base).await;
    let mut group = String::new();
    let command = format!("{}/1/1", message_id(100));
    // In an order in which each finds what it needs.
    let order = [
        "create_group",
        "list_groups",
        "show_group",
        "list_members",
        "change_roles",
        "update_group",
        "change_members",
        "leave_group",
        "dissolve_group",
        "list_robots",
        "show_robot",
        "send_command",
        "command_status",
        "cancel_command",
        "list_commands",
        "list_sessions",
        "show_cluster",
        "read_audit",
    ];
    for (n, id) in (0..).zip(order) {
        let source = examples.remove(id);
        let source = source.unwrap_or_else(|| panic!("no example of {id}"));
        let mut message = message_id(n);
        if id == "send_command" {
            message = command.split('/').next().unwrap().parse().unwrap();
        }
        let variables = [
            ("API", base.to_owned()),
            (
                "CA",
                fleet.cluster.authority().fleet_ca().display().to_string(),
            ),
            ("TOKEN", ana.token.clone()),
            ("GROUP", group.clone()),
            ("ROBOT", "lift-1".to_owned()),
            ("COMMAND", command.clone()),
            ("MESSAGE_ID", message.to_string()),
        ];
        let told = answer(shell(&source, &variables)).await;
        match id {
            "create_group" => told["group"].as_str().unwrap().clone_into(&mut group),
            // Its only owner cannot while there are others.
            "leave_group" => assert_eq!(told["error"]["code"], "LAST_OWNER", "{told}"),
            _ => assert!(told["error"].is_null(), "{id}: {told}"),
        }
    }
    assert!(examples.is_empty(), "not run: {:?}", examples.keys());
    fleet.stop().await;
}

#[tokio::test]
async fn swarm_lists_robots_sessions_processes_and_the_audit() {
    let cluster = Cluster::start().await.unwrap();
    let _lift = Person::connect(cluster.robot("lift-1").unwrap()).await;
    let _cart = Person::connect(cluster.robot("cart-1").unwrap()).await;
    let swarm = async |words: &[&str]| {
        let mut command = bench::cluster::swarm().unwrap();
        let command = command.args(words).arg("--state").arg(cluster.state());
        let output = tokio::time::timeout(Duration::from_secs(60), command.output());
        let output = output.await.unwrap().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let page = swarm(&["robot", "list", "--limit", "1"]).await;
    assert!(
        page.contains("lift-1") && page.contains("more: --after"),
        "{page}"
    );
    let all = swarm(&["robot", "list", "--json"]).await;
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["robots"].as_array().unwrap().len(), 2);
    let told = swarm(&["robot", "show", "cart-1"]).await;
    assert!(told.contains("cart-1") && told.contains("yes"), "{told}");
    let told = swarm(&["sessions"]).await;
    assert!(
        told.contains("lift-1") && told.contains("planner"),
        "{told}"
    );
    let told = swarm(&["cluster"]).await;
    assert!(told.contains("im-store") && told.contains("up"), "{told}");
    swarm(&["group", "create", "仓库", "--member", "lift-1"]).await;
    let told = swarm(&["audit"]).await;
    assert!(
        told.contains("group.create") && told.contains("done"),
        "{told}"
    );
    let told = swarm(&["command", "list", "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&told).unwrap()["commands"],
        json!([])
    );
    assert!(cluster.log().contains("/admin/v1"), "up prints the address");
    cluster.stop().await.unwrap();
}
