//! Sessions that are only held, and many that come at once: that they are whole and say what they
//! should, never how fast or how small.

use crate::scenarios::run;

#[tokio::test]
async fn idle_sessions_are_held_with_their_memberships_and_heartbeats() {
    let ran = run(&[
        "idle",
        "--sessions",
        "60",
        "--groups",
        "10,20",
        "--gateways",
        "2",
        "--heartbeat-ms",
        "1000",
        "--seconds",
        "3",
        "--bare",
        "30",
    ])
    .await;
    assert_eq!(ran.code(), 0, "{}", ran.said());
    for (key, count) in [
        ("sessions", 60.0),
        ("gateways", 2.0),
        ("memberships", 120.0),
        ("heartbeat_interval_ms", 1000.0),
        ("lost", 0.0),
    ] {
        assert_eq!(ran.count(key), count, "{key}: {}", ran.json);
    }
    assert!(ran.count("heartbeats") >= 120.0, "{}", ran.json);
    for key in [
        "bytes_per_session",
        "bare_bytes_per_session",
        "gateway_cpu_percent",
    ] {
        assert!(ran.json[key].is_number(), "{key}: {}", ran.json);
    }
}

#[tokio::test]
async fn a_storm_is_let_in_with_tickets_and_a_fleet_comes_back_complete() {
    let ran = run(&[
        "connect-storm",
        "--connections",
        "60",
        "--rounds",
        "1",
        "--at-once",
        "8",
        "--gateways",
        "2",
        "--back",
        "24",
    ])
    .await;
    assert_eq!(ran.code(), 0, "{}", ran.said());
    let rows = ran.json.as_array().unwrap();
    let [first, again, back] = &rows[..] else {
        panic!("{}", ran.json);
    };
    for row in [first, again] {
        assert_eq!(row["scenario"], "connect-storm");
        assert!(row["server_cpu_us_per_login"].is_number(), "{row}");
        for key in ["logins_per_s", "bare_handshakes_per_s", "percent_of_bare"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key}: {row}");
        }
    }
    assert_eq!(
        (&first["resumed"], &again["resumed"]),
        (&0.into(), &60.into())
    );
    assert_eq!(back["scenario"], "back-after-death");
    assert!(back["lost_their_gateway"].as_u64().unwrap() > 0, "{back}");
    let (connected, complete) = (&back["all_connected_s"], &back["all_complete_s"]);
    assert!(connected.as_f64().unwrap() > 0.0, "{back}");
    assert!(
        complete.as_f64() >= back["last_send_acked_s"].as_f64(),
        "{back}"
    );
}
