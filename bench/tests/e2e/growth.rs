//! Catch-up and growth in small: what is reported, and that nothing is lost. Never how fast.

use bench::scenarios::catch_up;
use bench::scenarios::growth::fleet::{self, GatewaysOptions, Measuring, MembersOptions};
use bench::scenarios::growth::history::{self, Engine};
use bench::scenarios::row::{Row, Rows};

fn figure(row: &Row, key: &str) -> f64 {
    let value = row
        .get(key)
        .unwrap_or_else(|| panic!("no {key} in {row:?}"));
    value.as_f64().unwrap()
}

#[tokio::test]
async fn what_was_missed_is_pulled_whole_and_in_order_beside_the_databases_own_reading() {
    let options = catch_up::Options {
        messages: 5000,
        payload: 16,
        rounds: 2,
    };
    let rows = catch_up::run(&options).await.unwrap();
    assert_eq!(rows.0.len(), 2);
    for row in &rows.0 {
        assert_eq!(row.get("scenario").unwrap(), "catch-up");
        assert_eq!(figure(row, "messages"), 5000.0);
        for none in ["lost", "duplicated", "out_of_order"] {
            assert_eq!(figure(row, none), 0.0, "{none}");
        }
        for some in ["messages_per_s", "database_rows_per_s", "driver_rows_per_s"] {
            assert!(figure(row, some) > 0.0, "{some}");
        }
    }
}

#[tokio::test]
async fn sends_onto_a_long_history_are_measured_on_both_engines() {
    for engine in [Engine::Sqlite, Engine::MariaDb] {
        let options = history::Options {
            history: vec![10, 3000],
            sends: 200,
            lone_sends: 20,
            rounds: 1,
            engine,
        };
        let rows = history::run(&options).await.unwrap();
        let history: Vec<_> = rows.0.iter().map(|row| figure(row, "history")).collect();
        assert_eq!(history, [10.0, 3000.0], "{engine:?}");
        for row in &rows.0 {
            assert!(figure(row, "acked_per_s") > 0.0, "{engine:?}");
            assert!(figure(row, "lone_p50_us") > 0.0, "{engine:?}");
        }
    }
}

const MEASURING: Measuring = Measuring {
    window: 1,
    payload: 16,
    seconds: 1,
    rounds: 1,
};

/// A row for each size, with nothing lost, repeated or out of order.
fn are_whole(rows: &Rows, key: &str, sizes: &[f64]) {
    let told: Vec<_> = rows.0.iter().map(|row| figure(row, key)).collect();
    assert_eq!(told, sizes);
    for row in &rows.0 {
        for none in ["lost", "duplicated", "out_of_order"] {
            assert_eq!(figure(row, none), 0.0, "{none}");
        }
        assert!(figure(row, "server_cpu_ns_per_delivery") >= 0.0);
    }
}

#[tokio::test]
async fn deliveries_in_small_and_in_large_groups_are_measured() {
    let options = MembersOptions {
        members: vec![2, 6],
        all: 6,
        measuring: MEASURING,
    };
    let rows = fleet::members(&options).await.unwrap();
    are_whole(&rows, "members", &[2.0, 6.0]);
}

#[tokio::test]
async fn deliveries_through_one_gateway_and_through_two_are_measured() {
    let options = GatewaysOptions {
        gateways: vec![1, 2],
        members: 4,
        all: 8,
        measuring: MEASURING,
    };
    let rows = fleet::gateways(&options).await.unwrap();
    are_whole(&rows, "gateways", &[1.0, 2.0]);
}
