//! The OpenAPI document: generated from the code, with examples for `curl` that the tests run.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use service_kit::http::{self, Bearer};
use utoipa::OpenApi;

use super::{Api, audit, cluster, commands, groups, regroup, robots};

/// By the id of the operation. They use the variables API (`https://HOST:PORT`), CA (the fleet's
/// authority, a file), TOKEN, GROUP, ROBOT, MESSAGE_ID (each once) and COMMAND.
const EXAMPLES: [(&str, &str); 18] = [
    ("list_robots", include_str!("examples/list_robots.sh")),
    ("show_robot", include_str!("examples/show_robot.sh")),
    ("list_groups", include_str!("examples/list_groups.sh")),
    ("show_group", include_str!("examples/show_group.sh")),
    ("list_members", include_str!("examples/list_members.sh")),
    ("create_group", include_str!("examples/create_group.sh")),
    ("change_members", include_str!("examples/change_members.sh")),
    ("change_roles", include_str!("examples/change_roles.sh")),
    ("update_group", include_str!("examples/update_group.sh")),
    ("leave_group", include_str!("examples/leave_group.sh")),
    ("dissolve_group", include_str!("examples/dissolve_group.sh")),
    ("send_command", include_str!("examples/send_command.sh")),
    ("command_status", include_str!("examples/command_status.sh")),
    ("cancel_command", include_str!("examples/cancel_command.sh")),
    ("list_commands", include_str!("examples/list_commands.sh")),
    ("show_cluster", include_str!("examples/show_cluster.sh")),
    ("list_sessions", include_str!("examples/list_sessions.sh")),
    ("read_audit", include_str!("examples/read_audit.sh")),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Administration",
        version = "1",
        description = "Robots, groups and commands of a fleet, for operators and their scripts. \
            The same accounts, rights, limits and errors as by the protocol. Whatever changes \
            something is in the audit before it is answered. Emergency stops do not go this way.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        robots::list, robots::show, groups::list, groups::show, groups::members, regroup::create,
        regroup::change_members, regroup::change_roles, regroup::update, regroup::leave,
        regroup::dissolve, commands::send, commands::status, commands::cancel, commands::list,
        cluster::show, cluster::sessions, audit::list,
    ),
    modifiers(&Bearer),
    security(("token" = []), ()),
)]
struct Document;

/// The document as it is served.
pub(super) fn document() -> Bytes {
    http::complete(&Document::openapi(), &EXAMPLES)
}

/// Serves it, to everybody.
pub(super) async fn serve(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, api.openapi.clone())
}

#[cfg(test)]
mod tests {
    use service_kit::testing::assert_documented;

    use super::*;

    #[test]
    fn every_operation_has_an_example_and_the_manual_has_them_all() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ADMIN.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        assert_documented(&document(), &EXAMPLES, &manual);
    }
}
