//! Statements over many rows of values. The database prepares each of them once and keeps it:
//! preparing one costs more than running it.
//!
//! There is a statement for each power of two. What is over of its rows is NULL, and the statement
//! leaves those out. Several statements can be one string, which is one message to the thread that
//! runs them and one wait for its answer; all but the last of them are then given every row, see
//! [`Many::rows`].

use std::sync::{Arc, OnceLock};

use sqlx::AssertSqlSafe;

/// Rows in one statement: SQLite binds at most 32,766 values, and a message has nine.
pub(super) const ROWS_MAX: usize = 512;

/// One, two, four and so on, up to [`ROWS_MAX`].
const SIZES: usize = ROWS_MAX.ilog2() as usize + 1;

/// What stands before the rows, how many values a row has, and what stands after them.
type Statement = (&'static str, usize, &'static str);

/// Statements for any number of rows. They are named `n`, and their columns `column1` and so on.
#[derive(Debug)]
pub(super) struct Many {
    statements: &'static [Statement],
    made: [OnceLock<Arc<str>>; SIZES],
}

impl Many {
    /// One after the other; each has its own values, bound in this order.
    pub(super) const fn new(statements: &'static [Statement]) -> Self {
        Self {
            statements,
            made: [const { OnceLock::new() }; SIZES],
        }
    }

    /// What runs these rows, at most [`ROWS_MAX`].
    pub(super) fn of(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        let rows = Self::rows(rows);
        let made = self.made[rows.ilog2() as usize].get_or_init(|| self.make(rows));
        AssertSqlSafe(Arc::clone(made))
    }

    /// How many rows stand in what [`Many::of`] gives for so many. Values are bound in the order of
    /// the statements, so one that another follows needs them all; NULL serves.
    pub(super) fn rows(rows: usize) -> usize {
        rows.max(1).next_power_of_two().min(ROWS_MAX)
    }

    fn make(&self, rows: usize) -> Arc<str> {
        let made = self.statements.iter().map(|(before, columns, after)| {
            let row = format!("({})", vec!["?"; *columns].join(", "));
            let rows = vec![row; rows].join(", ");
            format!("{before}(VALUES {rows}) AS n{after}")
        });
        made.collect::<Vec<_>>().join("; ").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_statement_for_each_power_of_two() {
        let many = Many::new(&[("SELECT 1 FROM ", 2, " WHERE column1 NOTNULL")]);
        let of = |rows| many.of(rows).0.matches("(?, ?)").count();
        let sizes = [0, 1, 2, 3, 5, 257, 512].map(of);
        assert_eq!(sizes, [1, 1, 2, 4, 8, 512, 512]);
        let three = "SELECT 1 FROM (VALUES (?, ?), (?, ?), (?, ?), (?, ?)) AS n \
                     WHERE column1 NOTNULL";
        assert_eq!(&*many.of(3).0, three);
        assert!(Arc::ptr_eq(&many.of(3).0, &many.of(4).0));
    }

    #[test]
    fn several_statements_are_one_string() {
        let many = Many::new(&[("BEGIN; A ", 1, ""), ("B ", 2, " C")]);
        let two = "BEGIN; A (VALUES (?), (?)) AS n; B (VALUES (?, ?), (?, ?)) AS n C";
        assert_eq!(&*many.of(2).0, two);
        assert_eq!([0, 1, 3, 512].map(Many::rows), [1, 1, 4, 512]);
    }
}
