//! The contract suite: what a store promises, checked on both engines. A case is a function over
//! any [`backend::Backend`]; what only a server can do to a store is in `faults`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod audit;
mod backend;
mod backup;
mod cards;
mod clock;
mod commands;
mod credentials;
mod cut;
mod disk;
mod estops;
mod faults;
mod galera;
mod generations;
mod groups;
mod history;
mod media;
mod owners;
mod poison;
mod readers;
mod schema;
mod search;
mod service;
mod speed;
mod stopped;
mod writer;

/// Makes a test of each case on each engine, `sqlite::CASE` and `mysql::CASE`, and one of all of them
/// on a cluster; and the same of what rests on the writer's memory, without one and with a wrong one.
macro_rules! contract {
    (remembers { $($own:ident: $($ours:ident),+;)+ } $($file:ident: $($case:ident),+;)+) => {
        cases!(sqlite, crate::backend::Sqlite;
            $($own: $($ours),+;)+ $($file: $($case),+;)+);
        cases!(mysql, crate::backend::MySql;
            $($own: $($ours),+;)+ $($file: $($case),+;)+);
        cases!(sqlite_off, With<crate::backend::Sqlite, Off>; $($own: $($ours),+;)+);
        cases!(mysql_off, With<crate::backend::MySql, Off>; $($own: $($ours),+;)+);
        cases!(sqlite_poisoned, With<crate::backend::Sqlite, Poisoned>; $($own: $($ours),+;)+);
        cases!(mysql_poisoned, With<crate::backend::MySql, Poisoned>; $($own: $($ours),+;)+);

        #[tokio::test(flavor = "multi_thread")]
        async fn the_whole_contract_on_a_cluster() {
            let nodes = <galera::Nodes as backend::Backend>::start().await;
            galera::one_by_one(&nodes, &[
                $($((stringify!($ours), |nodes| Box::pin(crate::$own::$ours(nodes))),)+)+
                $($((stringify!($case), |nodes| Box::pin(crate::$file::$case(nodes))),)+)+
            ])
            .await;
            galera::one_by_one(&nodes, &galera::OWN).await;
        }
    };
}

macro_rules! cases {
    ($name:ident, $backend:ty; $($file:ident: $($case:ident),+;)+) => {
        mod $name {
            #[allow(unused_imports, reason = "some backends name none of them")]
            use {crate::backend::{Backend, With}, crate::poison::Poisoned, im_store::cache::Off};

            $($(#[tokio::test]
            async fn $case() {
                crate::$file::$case(&<$backend>::start().await).await;
            })+)+
        }
    };
}

contract! {
    remembers {
    writer:
        a_lone_message_is_committed_without_waiting_for_another,
        a_command_does_not_wait_for_the_chat_before_it,
        many_at_once_are_numbered_densely_with_far_fewer_syncs,
        a_retry_after_a_restart_is_the_same_message_and_history_is_still_there,
        a_batch_of_many_conversations_is_one_commit,
        a_group_lets_in_who_joined_and_keeps_out_who_left,
        a_large_group_is_made_and_emptied,
        a_repeated_request_makes_no_second_group,
        a_rule_refuses_what_is_new_and_never_a_repeat,
        marks_only_rise_and_never_pass_the_head,
        history_comes_in_pages_bounded_in_entries_and_bytes;
    groups:
        roles_names_and_attributes_are_kept,
        the_last_owner_stays,
        an_account_owns_so_many_groups_and_no_more,
        a_dissolved_group_is_read_and_not_added_to;
    search:
        words_are_found_where_they_were_said,
        what_is_gone_from_the_log_is_gone_from_the_index;
    clock:
        a_clock_that_jumps_moves_no_number,
        a_clock_that_jumps_is_what_deadlines_and_ids_are_judged_by;
    owners:
        two_owners_at_once_never_skip_or_repeat_a_number,
        the_same_messages_by_two_owners_are_stored_once,
        an_owner_of_an_older_epoch_stores_nothing,
        two_owners_make_one_group_and_one_account,
        who_is_a_member_is_never_decided_from_memory_alone;
    history:
        history_goes_back_page_by_page,
        a_recall_takes_the_words_back_and_an_edit_leaves_them,
        retention_drops_the_oldest_and_keeps_ids_marks_and_numbers,
        a_step_of_retention_that_another_took_changes_nothing,
        ids_are_forgotten_after_their_horizon_and_then_too_old,
        who_lacks_an_entry_is_told_by_pages_and_counts;
    media:
        a_message_keeps_what_it_refers_to_until_it_is_gone,
        media_have_the_room_of_their_account_and_of_the_fleet,
        a_message_and_a_sweep_that_meet_never_lose_a_media;
    }
    commands:
        a_command_is_stored_once_with_an_outcome_for_each_target,
        outcomes_only_move_forward,
        what_expired_gives_way_only_to_how_it_ended,
        epochs_are_taken_by_one_and_older_ones_store_nothing,
        a_robot_finds_its_orders_and_is_found_by_its_group;
    schema:
        a_foreign_database_is_refused_and_left_alone,
        a_newer_schema_is_refused,
        a_database_of_the_first_version_is_brought_to_this_one,
        a_database_is_opened_again_and_again;
    groups:
        groups_of_before_have_owners_and_admins;
    backup:
        a_store_at_work_is_backed_up_as_of_one_moment,
        what_is_gone_or_edited_is_so_in_a_backup,
        a_restore_begins_a_generation_that_says_where_it_parted,
        what_is_no_whole_backup_touches_nothing,
        there_is_no_backup_of_nothing;
    generations:
        what_is_said_of_another_history_is_not_taken_for_this_one;
    audit:
        a_record_is_written_once_and_ends_once,
        the_oldest_records_go_and_nothing_else;
    credentials:
        a_token_is_used_once_and_its_certificate_lets_in,
        what_is_revoked_stays_so_until_the_robot_enrols_again,
        there_is_one_first_owner_and_each_password_is_another;
    estops:
        a_stop_is_latched_once_and_released_once,
        only_who_is_there_releases_and_a_release_may_come_first,
        the_robots_of_the_fleet_come_in_pages;
    cards:
        cards_come_in_the_order_in_which_they_were_written,
        who_has_an_open_command_is_busy;
    readers:
        a_read_that_is_given_up_half_way_shows_nobody_the_past;
    service:
        accounts_are_made_once_and_keep_their_kind,
        names_are_told_apart_byte_by_byte,
        groups_pairs_and_their_history_are_for_their_members,
        a_router_is_told_all_heads_when_it_comes_and_every_commit_after_that;
}
