-- Version 1. Ids are binary, numbers are integers, times are milliseconds since the Unix epoch.

CREATE TABLE conversations (
    id BLOB NOT NULL PRIMARY KEY,
    head INTEGER NOT NULL,
    membership INTEGER NOT NULL,
    owner_epoch INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE members (
    conversation BLOB NOT NULL,
    account INTEGER NOT NULL,
    joined INTEGER NOT NULL,
    "left" INTEGER,
    PRIMARY KEY (conversation, account, joined)
) WITHOUT ROWID;

CREATE INDEX members_by_account ON members (account, conversation);

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
