//! Groups as tables for people, and as JSON: what the API answered.

use serde_json::Value;

use crate::api::{cell, more, rows, text};
use crate::table::table;

/// The groups that the account is in.
pub(super) fn list(page: &Value, json: bool) -> String {
    if json {
        return page.to_string();
    }
    let names = ["id", "name", "role", "head", "unread"];
    let groups = rows(page, "groups").map(|its| names.map(|name| cell(its, name)));
    table(names, groups) + &more(page)
}

/// One group, with a page of its members.
pub(super) fn one(mut group: Value, members: Value, json: bool) -> String {
    if json {
        group["members"] = members["members"].clone();
        group["next"] = members["next"].clone();
        return group.to_string();
    }
    words(&group, &members)
}

fn words(group: &Value, members: &Value) -> String {
    let number = |key: &str| group[key].as_u64().unwrap_or(0);
    let mut words = format!(
        "{} {}\n{} members: {} owners, {} admins, {} observers\n",
        text(group, "id"),
        cell(group, "name"),
        number("members_total"),
        number("owners"),
        number("admins"),
        number("observers"),
    );
    for key in group["attributes"].as_object().into_iter().flatten() {
        let (key, value) = (key.0, cell(&group["attributes"], key.0));
        words += &format!("{} = {value}\n", crate::render::on_one_screen(key));
    }
    let names = ["account_id", "name", "kind", "role"];
    let members_rows = rows(members, "members").map(|its| names.map(|name| cell(its, name)));
    words += &table(["account", "name", "kind", "role"], members_rows);
    words + &more(members)
}

/// The entry by which a group has changed.
pub(super) fn done(done: &Value, json: bool) -> String {
    if json {
        return done.to_string();
    }
    let group = text(done, "group");
    match done["sequence"].as_u64().unwrap_or(0) {
        0 => format!("{group}: nothing to change"),
        entry => format!("{group}: done, entry {entry}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_is_shown_with_its_members_and_how_to_go_on() {
        let group = json!({"id": "g7", "name": "仓库", "members_total": 2, "owners": 1, "admins": 0,
            "observers": 0, "attributes": {"区": "B 区"}});
        let members = json!({"members": [{"account_id": "3", "name": "ana", "kind": "operator",
            "role": "owner"}], "next": "3"});
        let told = words(&group, &members);
        assert!(told.starts_with("g7 仓库\n2 members: 1 owners"), "{told}");
        assert!(
            told.contains("区 = B 区\n") && told.ends_with("more: --after 3\n"),
            "{told}"
        );
        assert_eq!(
            done(&json!({"group": "g7", "sequence": 0}), false),
            "g7: nothing to change"
        );
    }
}
