//! Statements over many rows of values. The database prepares each of them once and keeps it:
//! preparing one costs more than running it.
//!
//! There is a statement for each power of two. What is over of its rows is NULL, and the statement
//! leaves those out.

use std::sync::{Arc, OnceLock};

use sqlx::AssertSqlSafe;

/// Rows in one statement: SQLite binds at most 32,766 values, and a message has nine.
pub(super) const ROWS_MAX: usize = 512;

/// One, two, four and so on, up to [`ROWS_MAX`].
const SIZES: usize = ROWS_MAX.ilog2() as usize + 1;

/// A statement for any number of rows. They are named `n`, and their columns `column1` and so on.
#[derive(Debug)]
pub(super) struct Many {
    before: &'static str,
    columns: usize,
    after: &'static str,
    made: [OnceLock<Arc<str>>; SIZES],
}

impl Many {
    /// The rows stand between the two parts.
    pub(super) const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self {
            before,
            columns,
            after,
            made: [const { OnceLock::new() }; SIZES],
        }
    }

    /// The statement for so many rows, at most [`ROWS_MAX`].
    pub(super) fn of(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        let size = rows.max(1).next_power_of_two().ilog2() as usize;
        let size = size.min(SIZES - 1);
        let made = self.made[size].get_or_init(|| self.make(1 << size));
        AssertSqlSafe(Arc::clone(made))
    }

    fn make(&self, rows: usize) -> Arc<str> {
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        let rows = vec![row; rows].join(", ");
        format!("{}(VALUES {rows}) AS n{}", self.before, self.after).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_statement_for_each_power_of_two() {
        let many = Many::new("SELECT 1 FROM ", 2, " WHERE column1 NOTNULL");
        let of = |rows| many.of(rows).0.matches("(?, ?)").count();
        let sizes = [0, 1, 2, 3, 5, 257, 512].map(of);
        assert_eq!(sizes, [1, 1, 2, 4, 8, 512, 512]);
        let three = "SELECT 1 FROM (VALUES (?, ?), (?, ?), (?, ?), (?, ?)) AS n \
                     WHERE column1 NOTNULL";
        assert_eq!(&*many.of(3).0, three);
        assert!(Arc::ptr_eq(&many.of(3).0, &many.of(4).0));
    }
}
