-- Version 1. Ids are binary, numbers are integers, times are milliseconds since the Unix epoch.

CREATE TABLE accounts (
    account INTEGER NOT NULL PRIMARY KEY,
    fleet TEXT NOT NULL,
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,
    capabilities BLOB,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (fleet, name)
) WITHOUT ROWID;

CREATE TABLE conversations (
    id BLOB NOT NULL PRIMARY KEY,
    head INTEGER NOT NULL,
    membership INTEGER NOT NULL,
    owner_epoch INTEGER NOT NULL,
    name TEXT NOT NULL,
    history_open INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Which group a request made, so that its repeat is answered with the same group.
CREATE TABLE created_groups (
    creator INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    conversation BLOB NOT NULL,
    PRIMARY KEY (creator, message_id)
) WITHOUT ROWID;

CREATE TABLE members (
    conversation BLOB NOT NULL,
    account INTEGER NOT NULL,
    joined INTEGER NOT NULL,
    "left" INTEGER,
    PRIMARY KEY (conversation, account, joined)
) WITHOUT ROWID;

CREATE INDEX members_by_account ON members (account, conversation);

-- Written behind: after a crash they may lag, never lead.
CREATE TABLE marks (
    conversation BLOB NOT NULL,
    account INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    read INTEGER NOT NULL,
    PRIMARY KEY (conversation, account)
) WITHOUT ROWID;

CREATE TABLE messages (
    conversation BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    content BLOB NOT NULL,
    priority INTEGER NOT NULL,
    deliver_before_ms INTEGER NOT NULL,
    committed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (conversation, sequence)
) WITHOUT ROWID;

-- Apart from the messages, because ids outlive them.
CREATE TABLE message_ids (
    conversation BLOB NOT NULL,
    sender INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    digest BLOB NOT NULL,
    committed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (conversation, sender, message_id)
) WITHOUT ROWID;
