//! How SQLite means to run what every batch, every page and every login runs: by looking up, not by
//! reading a table from its beginning, so that it costs the same however long the history is and
//! however many accounts there are.

use rusqlite::Connection;

use super::{amend, batch, chores, command_readers, commands, pages, readers, schema};

/// Each step of its plan.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    steps
}

#[test]
fn no_statement_of_a_batch_a_page_or_a_login_reads_a_whole_table() {
    let connection = Connection::open_in_memory().unwrap();
    for step in schema::MIGRATIONS {
        connection.execute_batch(step).unwrap();
    }
    let mut statements: Vec<String> = [pages::FORWARD, pages::BACK, amend::FORGET_IDS]
        .map(str::to_owned)
        .into();
    for many in [
        &batch::LOOK_UP_IDS,
        &batch::BEGIN_MOVE_HEADS,
        &batch::MOVE_HEADS,
        &batch::INSERT,
        &amend::LOOK_UP_TARGETS,
        &chores::MARKED_HEADS,
        &chores::RAISE_MARKS,
        &commands::INSERT_OUTCOMES,
        &commands::READ_STATES,
        &commands::WRITE_STATES,
        &command_readers::REACH,
    ] {
        for rows in [1, 2, 512] {
            statements.extend(many.of(rows).0.split("; ").map(str::to_owned));
        }
    }
    for (names, ids) in [(0, 0), (0, 1), (1, 0), (512, 512)] {
        let names = vec!["arm-1".to_owned(); names];
        let query = readers::look_up_accounts("fleet", &names, &vec![1; ids]);
        statements.push(query.sql().as_str().to_owned());
    }
    for sql in statements {
        for step in plan(&connection, &sql) {
            // The rows that are bound are scanned; they are `n`, or have no name.
            let scans = step.strip_prefix("SCAN ").unwrap_or("n");
            let of_values = scans == "n" || scans.contains("CONSTANT") || scans.contains("VALUES");
            assert!(of_values, "{step}: {}", &sql[..sql.len().min(120)]);
        }
    }
}
