//! The kinds of frames: the numbers of the public protocol, frozen, and the methods between tiers.

/// Kinds of the public protocol. A request's answer has its kind plus one, or is [`client::ERROR`].
///
/// The numbers are part of the specification and never change.
pub mod client {
    /// C→S, first: `Hello`.
    pub const HELLO: u16 = 1;
    /// S→C: `Welcome`.
    pub const WELCOME: u16 = 2;
    /// Both ways: `Ping`.
    pub const PING: u16 = 3;
    /// Both ways: `Pong`.
    pub const PONG: u16 = 4;
    /// C→S: `Send`.
    pub const SEND: u16 = 5;
    /// S→C: `SendAck`.
    pub const SEND_ACK: u16 = 6;
    /// S→C: `Push`.
    pub const PUSH: u16 = 7;
    /// S→C: `Head`.
    pub const HEAD: u16 = 8;
    /// C→S: `Marks`. No answer. (9 has no answer, so 10 is free to be a request.)
    pub const MARKS: u16 = 9;
    /// C→S: `Pull`.
    pub const PULL: u16 = 10;
    /// S→C: `PullPage`.
    pub const PULL_PAGE: u16 = 11;
    /// S→C: `Error`, in answer to any request, or with correlation 0 before the connection closes.
    pub const ERROR: u16 = 12;
    /// S→C: `GoAway`.
    pub const GO_AWAY: u16 = 13;
    /// S→C: `Ephemeral`.
    pub const EPHEMERAL: u16 = 14;
    /// S→C: `MembershipNotice`.
    pub const MEMBERSHIP_NOTICE: u16 = 15;
    /// S→C: `Gateways`.
    pub const GATEWAYS: u16 = 16;
    /// C→S: `CreateGroup`; answered with `GroupCreated`.
    pub const CREATE_GROUP: u16 = 20;
    /// C→S: `ChangeMembers`; answered with `MembersChanged`.
    pub const CHANGE_MEMBERS: u16 = 22;
    /// C→S: `ListMembers`; answered with `MemberPage`.
    pub const LIST_MEMBERS: u16 = 24;
    /// C→S: `ListConversations`; answered with `ConversationPage`.
    pub const LIST_CONVERSATIONS: u16 = 26;
    /// C→S: `Announce`; answered with `Announced`.
    pub const ANNOUNCE: u16 = 28;
    /// C→S: `FindAccounts`; answered with `AccountsFound`.
    pub const FIND_ACCOUNTS: u16 = 30;
    /// C→S: `ListLacking`; answered with `LackingPage`.
    pub const LIST_LACKING: u16 = 32;
    /// C→S: `ListOnline`; answered with `OnlinePage`.
    pub const LIST_ONLINE: u16 = 34;
    /// C→S: `DescribeGroup`; answered with `GroupDescription`.
    pub const DESCRIBE_GROUP: u16 = 36;
    /// C→S: `ChangeGroup`; answered with `GroupChanged`.
    pub const CHANGE_GROUP: u16 = 38;
    /// C→S: `ChangeRoles`; answered with `RolesChanged`.
    pub const CHANGE_ROLES: u16 = 40;
    /// C→S: `SearchHistory`; answered with `HistoryFound`.
    pub const SEARCH_HISTORY: u16 = 42;

    /// C→S: a `Send` of an `Estop` or an `EstopRelease`; answered with `SendAck`.
    pub const ESTOP: u16 = 56;
    /// S→C: `EstopNotice`.
    pub const ESTOP_NOTICE: u16 = 58;
    /// C→S: `EstopConfirm`. No answer.
    pub const ESTOP_CONFIRM: u16 = 59;
    /// S→C: `EstopSent`.
    pub const ESTOP_SENT: u16 = 61;
    /// C→S: `ListEstops`; answered with `EstopPage`.
    pub const LIST_ESTOPS: u16 = 62;

    /// The requests that a gateway answers itself, with the other tiers or without them.
    pub const ANSWERED_BY_GATEWAY: [u16; 2] = [ESTOP, LIST_ESTOPS];
    /// C→S: `SendCommand`; answered with `CommandSent`.
    pub const SEND_COMMAND: u16 = 44;
    /// C→S: `ReportOutcomes`; answered with `OutcomesReported`.
    pub const REPORT_OUTCOMES: u16 = 46;
    /// C→S: `CancelCommand`; answered with `CommandCancelled`.
    pub const CANCEL_COMMAND: u16 = 48;
    /// C→S: `GetCommand`; answered with `CommandStatus`.
    pub const GET_COMMAND: u16 = 50;
    /// S→C: `CommandStatus`, in answer to `GetCommand`, or with correlation 0 when something changed.
    pub const COMMAND_STATUS: u16 = 51;
    /// C→S: `ListOrders`; answered with `OrderPage`.
    pub const LIST_ORDERS: u16 = 52;
    /// S→C: `OrderPage`, in answer to `ListOrders`, or with correlation 0 when there are new ones.
    pub const ORDER_PAGE: u16 = 53;
    /// C→S: `TakeEpoch`; answered with `EpochTaken`.
    pub const TAKE_EPOCH: u16 = 54;

    /// C→S: `CreateMedia`; answered with `MediaCreated`.
    pub const CREATE_MEDIA: u16 = 500;
    /// C→S: `OpenMedia`; answered with `MediaOpened`.
    pub const OPEN_MEDIA: u16 = 502;
    /// C→S: `ListMedia`; answered with `MediaPage`.
    pub const LIST_MEDIA: u16 = 504;

    /// C→S: `QueryRobots`; answered with `RobotsFound`.
    pub const QUERY_ROBOTS: u16 = 70;
    /// C→S: `WatchRobots`; answered with `RobotsWatched`.
    pub const WATCH_ROBOTS: u16 = 72;
    /// S→C: `RobotsWatched`, in answer to `WatchRobots`, or with correlation 0 when something changed.
    pub const ROBOTS_WATCHED: u16 = 73;
    /// C→S: `SetLive`; answered with `LiveSet`.
    pub const SET_LIVE: u16 = 74;

    /// C→S: `Watch`; answered with `Watched`.
    pub const WATCH: u16 = 96;
    /// S→C: `Watched`, in answer to `Watch`, or with correlation 0 when something was committed.
    pub const WATCHED: u16 = 97;

    /// C→S, in the place of `Hello`: `Enrol`; answered with `Enrolled`.
    pub const ENROL: u16 = 90;
    /// C→S, in the place of `Hello`: `Login`; answered with `LoggedIn`.
    pub const LOGIN: u16 = 92;
    /// C→S: `ChangeCredentials`; answered with `CredentialsChanged`.
    pub const CHANGE_CREDENTIALS: u16 = 94;

    /// The requests that a gateway passes on to the logic tier as they are.
    pub const PASSED_TO_LOGIC: [u16; 28] = [
        SEND,
        PULL,
        CREATE_GROUP,
        CHANGE_MEMBERS,
        LIST_MEMBERS,
        LIST_CONVERSATIONS,
        ANNOUNCE,
        FIND_ACCOUNTS,
        LIST_LACKING,
        LIST_ONLINE,
        DESCRIBE_GROUP,
        CHANGE_GROUP,
        CHANGE_ROLES,
        SEARCH_HISTORY,
        SEND_COMMAND,
        REPORT_OUTCOMES,
        CANCEL_COMMAND,
        GET_COMMAND,
        LIST_ORDERS,
        TAKE_EPOCH,
        CREATE_MEDIA,
        OPEN_MEDIA,
        LIST_MEDIA,
        QUERY_ROBOTS,
        WATCH_ROBOTS,
        SET_LIVE,
        WATCH,
        CHANGE_CREDENTIALS,
    ];

    /// Of these, the ones whose answer may be as long as a frame.
    pub const ANSWERED_WITH_A_PAGE: [u16; 12] = [
        PULL,
        LIST_MEMBERS,
        LIST_CONVERSATIONS,
        FIND_ACCOUNTS,
        LIST_LACKING,
        LIST_ONLINE,
        SEARCH_HISTORY,
        GET_COMMAND,
        LIST_ORDERS,
        LIST_MEDIA,
        QUERY_ROBOTS,
        WATCH_ROBOTS,
    ];

    /// The kind of the answer to a request.
    #[must_use]
    pub const fn answer(request: u16) -> u16 {
        request + 1
    }
}

/// Methods between our own tiers, by the tier that serves them. See `internal.proto`.
pub mod method {
    /// Store: `Append` → `Appended`.
    pub const APPEND: u16 = 101;
    /// Store: `CreateConversation` → `ConversationCreated`.
    pub const CREATE_CONVERSATION: u16 = 102;
    /// Store: `Read` → `PullPage`.
    pub const READ: u16 = 103;
    /// Store, a notice: `AccountMarks`.
    pub const WRITE_MARKS: u16 = 104;
    /// Store: `EnsureAccount` → `Account`.
    pub const ENSURE_ACCOUNT: u16 = 105;
    /// Store: `SetCapabilities` → empty.
    pub const SET_CAPABILITIES: u16 = 106;
    /// Store: `LookUpAccounts` → `AccountList`.
    pub const LOOK_UP_ACCOUNTS: u16 = 107;
    /// Store: `Memberships` → `MembershipsPage`.
    pub const STORE_MEMBERSHIPS: u16 = 108;
    /// Store: `Members` → `MembersPage`.
    pub const MEMBERS: u16 = 109;
    /// Store: `Lacking` → `LackingPage`.
    pub const LACKING: u16 = 110;
    /// Store: `Describe` → `GroupDescription`.
    pub const DESCRIBE: u16 = 111;
    /// Store: `Search` → `HistoryFound`.
    pub const SEARCH: u16 = 112;
    /// Store: `OpenCommand` → `CommandSent`.
    pub const OPEN_COMMAND: u16 = 115;
    /// Store: `StoreReports` → `OutcomesReported`.
    pub const STORE_REPORTS: u16 = 116;
    /// Store: `StoreCancel` → `CommandCancelled`.
    pub const STORE_CANCEL: u16 = 117;
    /// Store: `ReadCommands` → `CommandRead`, `OrderPage` or `Reached`.
    pub const READ_COMMANDS: u16 = 118;
    /// Store: `StoreTakeEpoch` → `EpochTaken`.
    pub const STORE_TAKE_EPOCH: u16 = 119;

    /// Store: `StoreMedia` → `MediaRecord`.
    pub const STORE_MEDIA: u16 = 175;
    /// Store: `StepMedia` → `MediaRecord`.
    pub const STORE_MEDIA_STEP: u16 = 176;
    /// Store: `SweepMedia` → `SweptMedia`.
    pub const STORE_MEDIA_SWEEP: u16 = 177;
    /// Store: `ReadMedia` → `MediaRecord`.
    pub const READ_MEDIA: u16 = 178;
    /// Store: `ListMediaRecords` → `MediaPage`.
    pub const LIST_MEDIA_RECORDS: u16 = 179;

    /// Store: `EstopWrite` → `Appended`.
    pub const ESTOP_WRITE: u16 = 125;
    /// Store: `ListEstopRecords` → `EstopList`.
    pub const ESTOP_LIST: u16 = 126;
    /// Store: `EstopTargets` → `MembersPage`.
    pub const ESTOP_ROBOTS: u16 = 127;

    /// Store: `AuditRecord` → empty.
    pub const AUDIT_WRITE: u16 = 168;
    /// Store: `ListAudit` → `AuditPage`.
    pub const AUDIT_LIST: u16 = 169;
    /// Store: `ListCommands` → `CommandList`.
    pub const LIST_COMMANDS: u16 = 170;

    /// Store: `CardsSince` → `CardPage`.
    pub const CARDS_SINCE: u16 = 135;
    /// Store: `BusyAmong` → `Reached`.
    pub const BUSY_AMONG: u16 = 136;

    /// Store: `WriteCredentials` → `CredentialsWritten`.
    pub const WRITE_CREDENTIALS: u16 = 145;
    /// Store: `ReadCredentials` → `CredentialsRead`.
    pub const READ_CREDENTIALS: u16 = 146;
    /// Store: `ListRevocations` → `Revocations`.
    pub const STORE_REVOCATIONS: u16 = 147;

    /// Logic: `Authenticate` → `Authenticated`.
    pub const AUTHENTICATE: u16 = 201;
    /// Logic: `ClientRequest` → `ClientReply`.
    pub const CLIENT_REQUEST: u16 = 202;
    /// Logic: `CheckMembers` → `CheckedMembers`.
    pub const CHECK_MEMBERS: u16 = 203;
    /// Logic, a notice: `AccountMarks`.
    pub const PASS_MARKS: u16 = 204;
    /// Logic: `Memberships` → `MembershipsPage`.
    pub const MEMBERSHIPS: u16 = 205;

    /// Logic: `ListEstopRecords` → `EstopList`.
    pub const ESTOP_RECORDS: u16 = 212;
    /// Logic: `EstopTargets` → `MembersPage`.
    pub const ESTOP_TARGETS: u16 = 213;
    /// Logic: `EstopCommit` → `SendAck`.
    pub const ESTOP_COMMIT: u16 = 214;

    /// Logic: `StepMedia` → `MediaRecord`.
    pub const MEDIA_STEP: u16 = 245;
    /// Logic: `SweepMedia` → `SweptMedia`.
    pub const MEDIA_SWEEP: u16 = 246;

    /// Logic: `EnrolRobot` → `Enrolled`.
    pub const ENROL_ROBOT: u16 = 227;
    /// Logic: `LogIn` → `LoggedIn`.
    pub const LOG_IN: u16 = 228;
    /// Logic: `ListRevocations` → `Revocations`.
    pub const REVOCATIONS: u16 = 229;

    /// Router: `Register` → `Registered`.
    pub const REGISTER: u16 = 301;
    /// Router, a notice: `Unregister`.
    pub const UNREGISTER: u16 = 302;
    /// Router, a notice: `Commits`.
    pub const COMMITS: u16 = 303;
    /// Router, a notice: `Heads`.
    pub const HEADS: u16 = 304;
    /// Router, a notice: `PassEphemeral`.
    pub const PASS_EPHEMERAL: u16 = 305;
    /// Router: `Online` → `OnlineAccounts`.
    pub const ONLINE: u16 = 306;
    /// Router, a notice: `TellAccounts`.
    pub const TELL_ACCOUNTS: u16 = 307;

    /// Router, a notice: `EstopGossip`.
    pub const PASS_ESTOP: u16 = 310;

    /// Router, a notice: `PassLive`.
    pub const PASS_LIVE: u16 = 318;
    /// Router: `LiveSince` → `LivePage`.
    pub const LIVE_SINCE: u16 = 319;

    /// Gateway, a notice: `Fanout`.
    pub const FANOUT: u16 = 321;
    /// Gateway, a notice: `HeadHints`.
    pub const HEAD_HINTS: u16 = 322;
    /// Gateway, a notice: `MembershipMoved`.
    pub const MEMBERSHIP_MOVED: u16 = 323;
    /// Gateway, a notice: `Resync`.
    pub const RESYNC: u16 = 324;
    /// Gateway, a notice: `FanoutEphemeral`.
    pub const FANOUT_EPHEMERAL: u16 = 325;
    /// Gateway, a notice: `TellAccounts`.
    pub const TELL_SESSIONS: u16 = 326;

    /// Gateway, a notice: `EstopGossip`.
    pub const ESTOP_GOSSIP: u16 = 328;

    /// Router: `Watches` → empty.
    pub const WATCHES: u16 = 350;
    /// Gateway, a notice: `WatchedEntries`.
    pub const WATCHED_ENTRIES: u16 = 353;

    /// Router, a notice: `CutSessions`.
    pub const PASS_CUT: u16 = 346;
    /// Gateway, a notice: `CutSessions`.
    pub const CUT_SESSIONS: u16 = 345;
    /// Router, a notice: `ShareMarks`.
    pub const PASS_SHARED_MARKS: u16 = 348;
    /// Gateway, a notice: `ShareMarks`.
    pub const SHARED_MARKS: u16 = 349;

    /// Whether notices of this method overtake what waits on a link, at both of its ends.
    #[must_use]
    pub const fn is_urgent(method: u16) -> bool {
        matches!(method, PASS_ESTOP | ESTOP_GOSSIP)
    }

    /// The answer to any request of a link, when it succeeded.
    pub const OK: u16 = 1;
    /// The answer to any request of a link, when it failed: an `im.v1.Error`.
    pub const FAILED: u16 = 2;
}
