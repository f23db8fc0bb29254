-- Version 1. Ids are binary, numbers are signed integers below 2^63, times are milliseconds since
-- the Unix epoch. Account names are bytes, so that no collation ever makes two of them one.
-- Every statement finds done what an interrupted run has done: a definition commits by itself.

CREATE TABLE IF NOT EXISTS accounts (
    account BIGINT NOT NULL PRIMARY KEY,
    fleet VARBINARY(255) NOT NULL,
    name VARBINARY(255) NOT NULL,
    kind INT NOT NULL,
    capabilities MEDIUMBLOB,
    created_at_ms BIGINT NOT NULL,
    UNIQUE KEY accounts_by_name (fleet, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS conversations (
    id BINARY(16) NOT NULL PRIMARY KEY,
    head BIGINT NOT NULL,
    membership BIGINT NOT NULL,
    owner_epoch BIGINT NOT NULL,
    name VARCHAR(1024) NOT NULL,
    history_open BOOLEAN NOT NULL,
    created_at_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which group a request made, so that its repeat is answered with the same group.
CREATE TABLE IF NOT EXISTS created_groups (
    creator BIGINT NOT NULL,
    message_id BINARY(16) NOT NULL,
    conversation BINARY(16) NOT NULL,
    PRIMARY KEY (creator, message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS members (
    conversation BINARY(16) NOT NULL,
    account BIGINT NOT NULL,
    joined BIGINT NOT NULL,
    `left` BIGINT,
    PRIMARY KEY (conversation, account, joined),
    KEY members_by_account (account, conversation)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Written behind: after a crash they may lag, never lead.
CREATE TABLE IF NOT EXISTS marks (
    conversation BINARY(16) NOT NULL,
    account BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    `read` BIGINT NOT NULL,
    PRIMARY KEY (conversation, account)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS messages (
    conversation BINARY(16) NOT NULL,
    sequence BIGINT NOT NULL,
    sender BIGINT NOT NULL,
    message_id BINARY(16) NOT NULL,
    kind INT NOT NULL,
    content MEDIUMBLOB NOT NULL,
    priority INT NOT NULL,
    deliver_before_ms BIGINT NOT NULL,
    committed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (conversation, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Apart from the messages, because ids outlive them.
CREATE TABLE IF NOT EXISTS message_ids (
    conversation BINARY(16) NOT NULL,
    sender BIGINT NOT NULL,
    message_id BINARY(16) NOT NULL,
    sequence BIGINT NOT NULL,
    digest BINARY(16) NOT NULL,
    committed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (conversation, sender, message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
