//! Every message of the specification, public and internal, comes back from its bytes as it was.
//!
//! The messages are made from the `.proto` files themselves, so that none can be forgotten: the
//! list below is compared with what the files declare.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use protocol::content;
use protocol::wire::{self, internal};

/// Decodes by the generated type and encodes again.
type Again = fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>;

fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    M::decode(bytes).map(|message| message.encode_to_vec())
}

macro_rules! all {
    ($($package:literal $module:ident: $($message:ident)+;)+) => {
        &[$($((concat!($package, ".", stringify!($message)), again::<$module::$message>)),+),+]
    };
}

const MESSAGES: &[(&str, Again)] = all! {
    "im.v1" wire:
        Hello Welcome Limits Account CapabilityCard ActionSpec Membership Ping Pong Error GoAway
        Announce Announced Send SendAck Push Entry Head Marks Mark Pull PullPage Ephemeral Content
        Text Data Instruction Plan Step Command StepUpdate Summary MembershipChange MemberChange
        MembershipNotice CreateGroup GroupCreated ChangeMembers MembersChanged ListMembers
        MemberPage ListConversations ConversationPage FindAccounts AccountsFound Gateways
        ListLacking LackingPage MemberMarks Recall Edit ListOnline OnlinePage
        CommandKey OutcomeCounts TargetOutcome SendCommand CommandSent ReportOutcomes OutcomeReport
        OutcomesReported CancelCommand CommandCancelled GetCommand CommandStatus ListOrders
        OrderPage Order TakeEpoch EpochTaken
        Attribute ChangeGroup ChangeRoles DescribeGroup EarthPlace EmergencyStop Estop
        EstopConfirm EstopMissing EstopNotice EstopPage EstopRelease EstopSent EstopStatus
        GroupChange GroupChanged GroupDescription HistoryFound ListEstops MapPlace Media Pose
        RoleChange RolesChanged SearchHistory Velocity
        CreateMedia MediaCreated MediaUrl OpenMedia MediaOpened MediaItem ListMedia MediaPage
        ProtocolLimits Capability TypedAttribute AttributeList ActionParameter Fact QueryFault
        QueryRobots RobotsFound FoundRobot LiveAttribute WatchRobots RobotsWatched SetLive LiveSet
        RobotSelection
        Watch WatchFilter WatchGap Watched
        Enrol Enrolled Login LoggedIn ChangeCredentials CredentialsChanged MakeEnrolmentToken EnrolmentTokenMade RenewCertificate RefreshToken RevokeRobot RobotRevoked SetPassword InitialiseFleet PasswordSet;
    "im.internal.v1" internal:
        Authenticate Authenticated ClientRequest ClientReply CheckMembers CheckedMembers
        AccountMarks AccountMark Memberships MembershipsPage Append Appended CreateConversation
        ConversationCreated Read EnsureAccount SetCapabilities LookUpAccounts AccountList Members
        MembersPage Commits Commit Heads PassEphemeral Register Registered Unregister Fanout
        HeadHints MembershipMoved Resync FanoutEphemeral Lacking Online OnlineAccounts
        OpenCommand StoreReports StoreCancel ReadCommands CommandRead OrdersOf Reach Reached
        StoreTakeEpoch TellAccounts
        Attributes Describe EstopCommit EstopGossip EstopList EstopProgress EstopTargets
        EstopWrite ListEstopRecords Search
        StoreMedia MediaQuota MediaRecord StepMedia SweepMedia SweptMedia ReadMedia
        ListMediaRecords
        AuditPage AuditRecord CommandList ListAudit ListCommands ListedCommand
        CardsSince CardPage CardRow BusyAmong PassLive LiveSince LivePage LiveOf LiveValue
        FleetWatch WatchedEntries WatchedEntry Watches
        EnrolRobot LogIn ListRevocations Revocations WriteCredentials CredentialsWritten KeepEnrolmentToken EnrolmentToken Admit Revoke KeepPassword ReadCredentials CredentialsRead Password CutSessions ShareMarks;
};

fn specification() -> DescriptorPool {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = [
        "im/v1/group.proto",
        "im/internal/v1/internal.proto",
        "im/internal/v1/watch.proto",
    ];
    let set = protox::compile(files, [&proto]).unwrap();
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

/// How deep messages nest in what is made here.
const DEPTH_MAX: u32 = 4;

/// A message with about half of its fields set, to anything that their types allow.
fn anything(of: &MessageDescriptor, rng: &mut TestRng, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        if rng.random_bool(0.5) {
            continue;
        }
        let value = if field.is_list() {
            let length = rng.random_range(1..4);
            Value::List((0..length).map(|_| one(&field, rng, depth)).collect())
        } else {
            one(&field, rng, depth)
        };
        message.set_field(&field, value);
    }
    message
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the types that the specification does not use"
)]
fn one(field: &FieldDescriptor, rng: &mut TestRng, depth: u32) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(rng.random()),
        Kind::Double => Value::F64(rng.random()),
        Kind::Int32 => Value::I32(rng.random()),
        Kind::Uint32 => Value::U32(rng.random()),
        Kind::Uint64 => Value::U64(rng.random()),
        Kind::Bytes => {
            let length = rng.random_range(0..64);
            Value::Bytes((0..length).map(|_| rng.random::<u8>()).collect())
        }
        Kind::String => Value::String(text(rng)),
        Kind::Enum(of) => {
            let values: Vec<_> = of.values().map(|value| value.number()).collect();
            Value::EnumNumber(values[rng.random_range(0..values.len())])
        }
        Kind::Message(of) if depth < DEPTH_MAX => Value::Message(anything(&of, rng, depth + 1)),
        Kind::Message(of) => Value::Message(DynamicMessage::new(of)),
        other => panic!(
            "{}: {other:?} is a type that we do not use",
            field.full_name()
        ),
    }
}

/// Text as people write it: Latin, Chinese, emoji, controls.
fn text(rng: &mut TestRng) -> String {
    let letters = ['a', '7', '箱', '，', '🤖', '\n', '\u{0}', 'é'];
    let length = rng.random_range(0..24);
    (0..length)
        .map(|_| letters[rng.random_range(0..letters.len())])
        .collect()
}

#[test]
fn the_list_has_every_message_of_the_specification() {
    let listed: BTreeSet<_> = MESSAGES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let declared = specification();
    let declared: BTreeSet<_> = declared
        .all_messages()
        .map(|m| m.full_name().to_owned())
        .collect();
    assert_eq!(listed, declared);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_comes_back(mut rng in any::<u64>().prop_perturb(|_, rng| rng)) {
        let specification = specification();
        for (name, again) in MESSAGES {
            let of = specification.get_message_by_name(name).unwrap();
            let message = anything(&of, &mut rng, 0);
            let bytes = message.encode_to_vec();
            prop_assert_eq!(again(&bytes).unwrap(), bytes, "{}: {}", name, message);
        }
    }

    #[test]
    fn a_content_comes_back_with_its_kind(mut rng in any::<u64>().prop_perturb(|_, rng| rng)) {
        let of = specification().get_message_by_name("im.v1.Content").unwrap();
        let bytes = anything(&of, &mut rng, 0).encode_to_vec();
        if let Ok(said) = content::decode(&bytes) {
            let kind = content::kind_of(&said);
            let back = content::decode(&content::encode(said.clone())).unwrap();
            prop_assert_eq!(content::kind_of(&back), kind);
            prop_assert_eq!(back, said);
        } else {
            prop_assert!(bytes.is_empty());
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_content_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(refusal) = content::decode(&bytes) {
            prop_assert!(!refusal.is_retryable());
        }
    }
}

#[test]
fn an_empty_content_is_refused() {
    assert!(content::decode(&[]).is_err());
}
