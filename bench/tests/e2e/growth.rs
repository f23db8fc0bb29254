//! Catch-up and growth in small: what is reported, and that nothing is lost. Never how fast.

use bench::scenarios::catch_up;
use bench::scenarios::growth::history::{self, Engine};
use bench::scenarios::row::Row;

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
