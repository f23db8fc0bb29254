//! Every bound of the protocol, with its unit and the reason for its size.
//!
//! A server may lower what it accepts (it says so in `Welcome.limits`); nothing raises it.

/// The newest protocol version, and so far the only one.
pub const PROTOCOL_VERSION: u32 = 1;

/// The frame header, length field included, in bytes.
pub const FRAME_HEADER_BYTES: usize = 16;

/// The longest client frame, header included, in bytes, as it travels and after decompression.
///
/// NATS ships 1 MiB and Zenoh 64 KiB; a plan of a few hundred steps fits in 256 KiB, and large
/// objects are not messages.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// The longest frame before a session is established, in bytes: a hello with a token.
pub const HELLO_FRAME_BYTES_MAX: usize = 16 * 1024;

/// The longest frame between our own tiers, in bytes: a batch of client frames.
pub const INTERNAL_FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest `content` of a message, in bytes. Leaves room for the entry around it.
pub const CONTENT_BYTES_MAX: usize = FRAME_BYTES_MAX - 4 * 1024;

/// Bodies shorter than this are sent as they are, in bytes: zstd gains little below it.
pub const COMPRESS_ABOVE_BYTES: usize = 1024;

/// Requests of one session that may wait for their answer at once.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Of these, how many may be for pages: the answers of a session that does not read them wait in its
/// outbox, and each may be as long as a frame. One more is refused as rate limited.
pub const PAGES_IN_FLIGHT_MAX: usize = 16;

/// Entries in one `PullPage`.
pub const PULL_PAGE_ENTRIES_MAX: u32 = 512;

/// The contents of one `PullPage` together, in bytes; at least one entry is always returned.
pub const PULL_PAGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

/// Entries in one `HistoryFound`.
pub const FOUND_PER_PAGE_MAX: u32 = 100;

/// Accounts, and kinds, in one `SearchHistory`.
pub const SEARCH_CONDITIONS_MAX: usize = 64;

/// Conversations of which somebody who watches is told that there is a gap; beyond it there is one
/// of any conversation.
pub const WATCH_GAPS_MAX: usize = 1024;

/// Values of one condition of a `WatchFilter`.
pub const WATCH_CONDITIONS_MAX: usize = 64;

/// A word of a `WatchFilter`, in bytes.
pub const WATCH_WORD_BYTES_MAX: usize = 256;

/// Marks in one `Marks` frame.
pub const MARKS_PER_FRAME_MAX: usize = 1024;

/// A group's name, in characters.
pub const GROUP_NAME_CHARS_MAX: usize = 128;

/// An account's name, in bytes. Names are `[A-Za-z0-9._-]`, with `~NUMBER` behind it in those of
/// sub-accounts.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;

/// Records of the audit, or commands, in one page.
pub const ADMIN_ROWS_PER_PAGE_MAX: u32 = 128;

/// The body of a request in a record of the audit, in bytes: what is longer is cut.
pub const AUDIT_REQUEST_BYTES_MAX: usize = 2048;

/// The message of a refusal in a record of the audit, in bytes.
pub const AUDIT_MESSAGE_BYTES_MAX: usize = 512;

/// Members of one group.
pub const GROUP_MEMBERS_MAX: usize = 10_000;

/// Attributes of one group.
pub const GROUP_ATTRIBUTES_MAX: usize = 64;

/// The attributes of one group together, keys and values, in bytes.
pub const GROUP_ATTRIBUTES_BYTES_MAX: usize = 16 * 1024;

/// The key of an attribute, in bytes.
pub const ATTRIBUTE_KEY_BYTES_MAX: usize = 64;

/// The value of an attribute, in bytes.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 4 * 1024;

/// Conversations of one account, pairs included.
pub const CONVERSATIONS_PER_ACCOUNT_MAX: usize = 10_000;

/// Memberships in one page, and in `Welcome`.
pub const MEMBERSHIPS_PER_PAGE_MAX: u32 = 1024;

/// Members in one `MemberPage`.
pub const MEMBERS_PER_PAGE_MAX: u32 = 256;

/// Members in one `LackingPage`.
pub const LACKING_PER_PAGE_MAX: u32 = 1024;

/// Accounts in one `OnlinePage`.
pub const ONLINE_PER_PAGE_MAX: u32 = 512;

/// Names in one `FindAccounts`.
pub const FIND_ACCOUNTS_MAX: usize = 256;

/// A capability card, encoded, in bytes.
pub const CAPABILITY_CARD_BYTES_MAX: usize = 32 * 1024;

/// Accounts that one message mentions.
pub const MENTIONS_MAX: usize = 64;

/// The reference of a media, in bytes.
pub const MEDIA_REFERENCE_BYTES_MAX: usize = 512;

/// The type of a media, in bytes: two names of 63 and a slash.
pub const MEDIA_TYPE_BYTES_MAX: usize = 127;

/// The name of a media's file, in bytes.
pub const MEDIA_NAME_BYTES_MAX: usize = 255;

/// Media in one `MediaPage`.
pub const MEDIA_PER_PAGE_MAX: u32 = 256;

/// The key of an ephemeral message, in bytes.
pub const EPHEMERAL_KEY_BYTES_MAX: usize = 128;

/// Heads in one Pong: some 8 KiB. More wait for the next one.
pub const HEADS_PER_PONG_MAX: usize = 256;

/// Addresses in a list of gateways. More are left out: a fleet of a million robots has fewer.
pub const GATEWAYS_LISTED_MAX: usize = 64;

/// An address in such a list, in bytes: the longest DNS name and a port.
pub const GATEWAY_ADDRESS_BYTES_MAX: usize = 253 + 6;

/// Emergency stops that are in force at once. One more is refused: everybody has stopped by then.
pub const ESTOPS_MAX: usize = 1024;

/// Released ones that are remembered, so that a late repeat is ignored. Beyond: the oldest goes.
pub const ESTOPS_RELEASED_MAX: usize = 4096;

/// Stops in one release, and in a Hello.
pub const ESTOPS_PER_FRAME_MAX: usize = 64;

/// Why somebody stops or releases, in bytes.
pub const ESTOP_REASON_BYTES_MAX: usize = 512;

/// Robots in one `EstopPage`.
pub const ESTOP_MISSING_PER_PAGE_MAX: u32 = 1024;

/// Capabilities of one card, its attributes, those of a capability, its actions, and the values of a
/// list.
pub const CARD_LIST_MAX: usize = 64;

/// The name of a capability, an attribute or an action, in characters.
pub const CARD_NAME_CHARS_MAX: usize = 64;

/// A text in a card, in bytes; the descriptions for people, in bytes.
pub const CARD_TEXT_BYTES_MAX: usize = 256;

/// A description in a card, in bytes.
pub const CARD_DESCRIPTION_BYTES_MAX: usize = 4 * 1024;

/// The unit of a number, in bytes.
pub const UNIT_BYTES_MAX: usize = 16;

/// Parameters of an action, its preconditions, and its effects.
pub const ACTION_PARTS_MAX: usize = 32;

/// Arguments of a fact.
pub const FACT_ARGUMENTS_MAX: usize = 8;

/// Live attributes of one robot: they are in memory, of every robot, in every process of logic.
pub const LIVE_ATTRIBUTES_MAX: usize = 16;

/// The text of a live attribute, in bytes.
pub const LIVE_TEXT_BYTES_MAX: usize = 64;

/// For how long a live attribute is believed, in milliseconds.
pub const LIVE_AGE_MS_MAX: u64 = 5 * 60 * 1000;

/// How often a robot says its live attributes again, in milliseconds, as VDA 5050 has it for its
/// states.
pub const LIVE_INTERVAL_MS: u64 = 30_000;

/// An expression of a query, in bytes.
pub const QUERY_BYTES_MAX: usize = 1024;

/// Robots in one `RobotsFound`.
pub const ROBOTS_PER_PAGE_MAX: u32 = 256;

/// Robots that meet the condition of a watch: their ids fit in a frame.
pub const WATCHED_ROBOTS_MAX: usize = 10_000;

/// For how long a watch is kept after it was asked for, in milliseconds.
pub const WATCH_LEASE_MS: u32 = 30_000;

/// Targets of one command: a group's members.
pub const COMMAND_TARGETS_MAX: usize = GROUP_MEMBERS_MAX;

/// The id of a step, and the name of an action, in bytes.
pub const COMMAND_WORD_BYTES_MAX: usize = 64;

/// The arguments of a command, in bytes: beside 10,000 targets they fit in a frame.
pub const COMMAND_ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

/// How far ahead the deadline of a command may be, in milliseconds: seven days.
pub const COMMAND_DEADLINE_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// The reason of an outcome, in bytes.
pub const OUTCOME_REASON_BYTES_MAX: usize = 512;

/// What an action returned, in bytes.
pub const OUTCOME_RESULT_BYTES_MAX: usize = 4 * 1024;

/// Reports in one `ReportOutcomes`.
pub const REPORTS_PER_FRAME_MAX: usize = 256;

/// Outcomes in one `CommandStatus`.
pub const OUTCOMES_PER_PAGE_MAX: u32 = 1024;

/// The outcomes of one `CommandStatus` together, in bytes; at least one is always returned.
pub const OUTCOME_PAGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

/// Orders in one `OrderPage`.
pub const ORDERS_PER_PAGE_MAX: u32 = 64;

/// How often a client sends a Ping by default, in milliseconds: the address tables that connections
/// pass through forget them after minutes. Who must be missed sooner asks for less.
pub const HEARTBEAT_INTERVAL_MS_DEFAULT: u32 = 60_000;

/// How long the SDK waits for the outcome of a send by default, in milliseconds.
pub const SEND_TIMEOUT_MS_DEFAULT: u64 = 30_000;

const _: () = {
    assert!(HELLO_FRAME_BYTES_MAX < FRAME_BYTES_MAX);
    assert!(CONTENT_BYTES_MAX + 1024 < FRAME_BYTES_MAX);
    assert!(PULL_PAGE_BYTES_MAX < FRAME_BYTES_MAX);
    // One full client frame and its envelope always fit on an internal link.
    assert!(FRAME_BYTES_MAX * 2 < INTERNAL_FRAME_BYTES_MAX);
    assert!(CAPABILITY_CARD_BYTES_MAX < CONTENT_BYTES_MAX);
    // An id has at most ten bytes.
    assert!(COMMAND_TARGETS_MAX * 10 + COMMAND_ARGUMENTS_BYTES_MAX + 1024 < FRAME_BYTES_MAX);
    assert!(PAGES_IN_FLIGHT_MAX < REQUESTS_IN_FLIGHT_MAX);
};
