//! Every public message comes back from its bytes as it was, whatever its fields hold.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use protocol::content::{self, Content};
use protocol::wire::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

/// Text as people write it: Latin, Chinese, emoji, controls.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[一-龥A-Za-z0-9，。🤖\n]{0,24}"]
}

fn few<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, 0..4)
}

prop_compose! {
    fn card()(model in text(), actions in few((text(), text(), text()))) -> CapabilityCard {
        let actions = actions
            .into_iter()
            .map(|(name, description, arguments_schema_json)| ActionSpec {
                name,
                description,
                arguments_schema_json,
            })
            .collect();
        CapabilityCard { model, actions }
    }
}

prop_compose! {
    fn account()(
        account_id: u64, kind in 0..4i32, name in text(), capabilities in prop::option::of(card()),
    ) -> Account {
        Account { account_id, kind, name, capabilities }
    }
}

prop_compose! {
    fn membership()(
        conversation_id in bytes(), name in text(), head: u64, joined_sequence: u64,
        readable_from: u64, delivered: u64, read: u64,
    ) -> Membership {
        Membership {
            conversation_id, name, head, joined_sequence, readable_from, delivered, read,
        }
    }
}

prop_compose! {
    fn entry()(
        conversation_id in bytes(), sequence: u64, sender: u64, client_message_id in bytes(),
        kind in 0..10i32, content in bytes(), committed_at_ms: u64, priority in 0..5i32,
        deliver_before_ms: u64,
    ) -> Entry {
        Entry {
            conversation_id, sequence, sender, client_message_id, kind, content, committed_at_ms,
            priority, deliver_before_ms,
        }
    }
}

prop_compose! {
    fn step()(
        step_id in text(), robot: u64, robot_name in text(), action in text(),
        arguments_json in text(), depends_on in few(text()), time_limit_ms: u64,
    ) -> Step {
        Step { step_id, robot, robot_name, action, arguments_json, depends_on, time_limit_ms }
    }
}

prop_compose! {
    fn member_change()(account_id: u64, name in text(), kind in 0..4i32, joined: bool)
        -> MemberChange { MemberChange { account_id, name, kind, joined } }
}

#[allow(
    clippy::too_many_lines,
    reason = "one arm for each case of the content"
)]
fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        text().prop_map(content::text),
        text().prop_map(content::instruction),
        (text(), bytes()).prop_map(|(schema, payload)| Content::Data(Data { schema, payload })),
        (bytes(), any::<u32>(), few(step()), text(), text()).prop_map(
            |(instruction_id, version, steps, model, note)| {
                Content::Plan(Plan {
                    instruction_id,
                    version,
                    steps,
                    model,
                    note,
                })
            }
        ),
        (
            bytes(),
            any::<u32>(),
            text(),
            any::<u32>(),
            text(),
            text(),
            any::<u64>(),
            bytes()
        )
            .prop_map(
                |(
                    instruction_id,
                    plan_version,
                    step_id,
                    attempt,
                    action,
                    arguments_json,
                    deadline_at_ms,
                    report_to,
                )| Content::Command(Command {
                    instruction_id,
                    plan_version,
                    step_id,
                    attempt,
                    action,
                    arguments_json,
                    deadline_at_ms,
                    report_to,
                })
            ),
        (
            bytes(),
            any::<u32>(),
            text(),
            any::<u32>(),
            0..8i32,
            any::<u32>(),
            text(),
            text()
        )
            .prop_map(
                |(
                    instruction_id,
                    plan_version,
                    step_id,
                    attempt,
                    state,
                    progress_percent,
                    reason,
                    result_json,
                )| Content::StepUpdate(StepUpdate {
                    instruction_id,
                    plan_version,
                    step_id,
                    attempt,
                    state,
                    progress_percent,
                    reason,
                    result_json,
                })
            ),
        (
            bytes(),
            0..4i32,
            text(),
            any::<u32>(),
            any::<u32>(),
            any::<u32>(),
            any::<u64>(),
            any::<u64>()
        )
            .prop_map(
                |(
                    instruction_id,
                    outcome,
                    text,
                    steps_planned,
                    steps_finished,
                    steps_failed,
                    prompt_tokens,
                    completion_tokens,
                )| Content::Summary(Summary {
                    instruction_id,
                    outcome,
                    text,
                    steps_planned,
                    steps_finished,
                    steps_failed,
                    prompt_tokens,
                    completion_tokens,
                })
            ),
        few(member_change()).prop_map(|changes| Content::Membership(MembershipChange { changes })),
    ]
}

/// `name: strategy;` makes one property test each: bytes and back.
macro_rules! round_trips {
    ($($name:ident: $strategy:expr;)+) => {
        proptest! {
            $(#[test]
            fn $name(message in $strategy) {
                let bytes = message.encode_to_vec();
                prop_assert_eq!(same_type(&message, &bytes), message);
            })+
        }
    };
}

fn same_type<M: Message + Default>(_: &M, bytes: &[u8]) -> M {
    M::decode(bytes).unwrap()
}

round_trips! {
    hello: (any::<u32>(), any::<u32>(), few(0..2i32), text(), text()).prop_map(
        |(min_version, max_version, features, client_name, token)| Hello {
            min_version, max_version, features, client_name, token,
        });
    welcome: (any::<u32>(), few(0..2i32), any::<u64>(), prop::option::of(account()),
        any::<u32>(), any::<u64>(), any::<[u32; 4]>(), few(membership())).prop_map(
        |(version, features, session_id, account, heartbeat_interval_ms, server_time_ms, limits,
            memberships)| Welcome {
            version, features, session_id, account, heartbeat_interval_ms, server_time_ms,
            limits: Some(Limits {
                frame_bytes_max: limits[0],
                content_bytes_max: limits[1],
                requests_in_flight_max: limits[2],
                compress_above_bytes: limits[3],
            }),
            memberships,
        });
    ping: any::<u64>().prop_map(|sent_at_ms| Ping { sent_at_ms });
    pong: any::<(u64, u64)>().prop_map(|(ping_sent_at_ms, answered_at_ms)| Pong {
        ping_sent_at_ms, answered_at_ms,
    });
    error: (0..22i32, text(), any::<bool>(), any::<u32>()).prop_map(
        |(code, message, retryable, retry_after_ms)| Error {
            code, message, retryable, retry_after_ms,
        });
    go_away: (text(), any::<u32>(), any::<bool>()).prop_map(
        |(reason, grace_ms, reconnect)| GoAway { reason, grace_ms, reconnect });
    announce: prop::option::of(card()).prop_map(|capabilities| Announce { capabilities });
    send: (bytes(), bytes(), 0..10i32, bytes(), 0..5i32, any::<u64>(), text()).prop_map(
        |(conversation_id, client_message_id, kind, content, priority, deliver_before_ms,
            ephemeral_key)| Send {
            conversation_id, client_message_id, kind, content, priority, deliver_before_ms,
            ephemeral_key,
        });
    send_ack: any::<(u64, u64, bool)>().prop_map(|(sequence, committed_at_ms, duplicate)| SendAck {
        sequence, committed_at_ms, duplicate,
    });
    push: few(entry()).prop_map(|entries| Push { entries });
    head: (bytes(), any::<u64>()).prop_map(|(conversation_id, head)| Head {
        conversation_id, head,
    });
    marks: few((bytes(), any::<u64>(), any::<u64>())).prop_map(|marks| Marks {
        marks: marks.into_iter().map(|(conversation_id, delivered, read)| Mark {
            conversation_id, delivered, read,
        }).collect(),
    });
    pull: (bytes(), any::<u64>(), any::<u32>()).prop_map(
        |(conversation_id, after_sequence, limit)| Pull { conversation_id, after_sequence, limit });
    pull_page: (bytes(), few(entry()), any::<u64>(), any::<u64>()).prop_map(
        |(conversation_id, entries, head, trimmed_up_to)| PullPage {
            conversation_id, entries, head, trimmed_up_to,
        });
    ephemeral: (bytes(), any::<u64>(), text(), 0..10i32, bytes(), any::<u64>()).prop_map(
        |(conversation_id, sender, key, kind, content, sent_at_ms)| Ephemeral {
            conversation_id, sender, key, kind, content, sent_at_ms,
        });
    membership_notice: (prop::option::of(membership()), any::<bool>()).prop_map(
        |(membership, joined)| MembershipNotice { membership, joined });
    create_group: (bytes(), text(), few(any::<u64>()), any::<bool>()).prop_map(
        |(client_message_id, name, members, history_open)| CreateGroup {
            client_message_id, name, members, history_open,
        });
    group_created: (bytes(), any::<u64>()).prop_map(|(conversation_id, head)| GroupCreated {
        conversation_id, head,
    });
    change_members: (bytes(), bytes(), few(any::<u64>()), few(any::<u64>())).prop_map(
        |(conversation_id, client_message_id, add, remove)| ChangeMembers {
            conversation_id, client_message_id, add, remove,
        });
    members_changed: any::<u64>().prop_map(|sequence| MembersChanged { sequence });
    list_members: (bytes(), any::<u64>(), any::<u32>()).prop_map(
        |(conversation_id, after_account_id, limit)| ListMembers {
            conversation_id, after_account_id, limit,
        });
    member_page: (few(account()), any::<u64>(), any::<bool>()).prop_map(
        |(members, membership_sequence, more)| MemberPage { members, membership_sequence, more });
    list_conversations: (bytes(), any::<u32>()).prop_map(
        |(after_conversation_id, limit)| ListConversations { after_conversation_id, limit });
    conversation_page: (few(membership()), any::<bool>()).prop_map(
        |(memberships, more)| ConversationPage { memberships, more });
    find_accounts: few(text()).prop_map(|names| FindAccounts { names });
    accounts_found: few(account()).prop_map(|accounts| AccountsFound { accounts });
}

proptest! {
    #[test]
    fn contents_come_back_with_their_kind(said in any_content()) {
        let kind = content::kind_of(&said);
        let back = content::decode(&content::encode(said.clone())).unwrap();
        prop_assert_eq!(content::kind_of(&back), kind);
        prop_assert_eq!(back, said);
    }

    #[test]
    fn arbitrary_bytes_are_a_content_or_a_refusal(bytes in bytes()) {
        if let Err(refusal) = content::decode(&bytes) {
            prop_assert!(!refusal.is_retryable());
        }
    }
}

#[test]
fn an_empty_content_is_refused() {
    assert!(content::decode(&[]).is_err());
}
