//! The table as a page for people.

use std::fmt::Write as _;

use protocol::role::ROLES;
use protocol::wire::AccountKind;

use super::{Allowed, Row, TABLE};

const HEAD: &str = "\
# Permissions

Who may do what in a group, by role and by kind of account. This page is written from the table in \
`im-logic/src/permission.rs`, which is what the servers go by; the test `every_cell` of \
`bench/tests/e2e/permissions.rs` tries every cell of it, allowed and refused, through running \
processes.

*Owner*, *admin*, *member* and *observer* are roles in one group; who makes a group owns it, and who \
is added is a member unless it is said otherwise. A member is refused with FORBIDDEN, who is no \
member with NOT_A_MEMBER (where its kind may do the thing at all). Whatever writes into the log is \
decided by the role that the account has in the transaction that stores the entry; what is \
remembered anywhere else only refuses earlier.

yes: any account of that role. A name: only accounts of that kind.

";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("| | owner | admin | member | observer | no member | |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    for row in TABLE {
        write!(page, "| {} |", row.words).expect("a string takes all");
        for role in ROLES.map(Some).into_iter().chain([None]) {
            let may = |allowed: Allowed| match (allowed, role) {
                (Allowed::Anyone, _) => true,
                (Allowed::As(roles), Some(role)) => roles.has(role),
                (Allowed::As(_), None) | (Allowed::Nobody, _) => false,
            };
            write!(page, " {} |", cell(row, may)).expect("a string takes all");
        }
        writeln!(page, " {} |", row.note).expect("a string takes all");
    }
    page
}

const KINDS: [(AccountKind, &str); 3] = [
    (AccountKind::Operator, "operator"),
    (AccountKind::Planner, "planner"),
    (AccountKind::Robot, "robot"),
];

fn cell(row: &Row, may: impl Fn(Allowed) -> bool) -> String {
    let those = KINDS.iter().filter(|(kind, _)| may(row.of(*kind)));
    let names: Vec<_> = those.map(|(_, name)| *name).collect();
    if names.len() == KINDS.len() {
        return "yes".to_owned();
    }
    if names.is_empty() {
        return "–".to_owned();
    }
    names.join(", ")
}

/// Those who may, for a refusal.
pub(super) fn who(row: &Row) -> String {
    let some = |allowed| !matches!(allowed, Allowed::Nobody);
    let kinds = cell(row, some);
    let roles = KINDS.iter().find_map(|(kind, _)| match row.of(*kind) {
        Allowed::As(roles) => Some(roles),
        Allowed::Anyone | Allowed::Nobody => None,
    });
    let names: Vec<_> = ROLES
        .iter()
        .filter(|role| roles.is_some_and(|roles| roles.has(**role)))
        .map(|role| {
            role.as_str_name()
                .trim_start_matches("ROLE_")
                .to_lowercase()
        })
        .collect();
    let names = names.join(", ");
    match (kinds.as_str(), names.as_str()) {
        ("yes", names) => names.to_owned(),
        (kinds, "") => format!("only accounts of the kind {kinds}"),
        (kinds, names) => format!("only {names}, being {kinds},"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `UPDATE_GENERATED=1` writes it anew.
    #[test]
    fn the_page_says_what_the_table_says() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PERMISSIONS.md");
        #[allow(clippy::disallowed_methods, reason = "a switch of this test alone")]
        let update = std::env::var("UPDATE_GENERATED").is_ok();
        if update {
            std::fs::write(&file, page()).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == page(),
            "docs/PERMISSIONS.md is stale: run UPDATE_GENERATED=1 cargo test -p im-logic"
        );
    }
}
