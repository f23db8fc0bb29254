-- Version 9: media that gateways keep, and the messages that refer to them. Every statement finds
-- done what an interrupted run has done.

-- `refs` counts the rows of media_refs: what refers to a media and what removes it meet in this row,
-- on every node of a cluster. States: 1 uploading, 2 complete, 3 being removed. `changed_at_ms` is
-- when it was made, went on, was completed or lost a reference.
CREATE TABLE IF NOT EXISTS media (
    media BINARY(16) NOT NULL PRIMARY KEY,
    owner BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 BINARY(32) NOT NULL,
    media_type VARBINARY(127) NOT NULL,
    name VARBINARY(255) NOT NULL,
    state BIGINT NOT NULL,
    refs BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    KEY media_by_owner (owner, media),
    KEY media_by_age (refs, changed_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS media_refs (
    conversation BINARY(16) NOT NULL,
    sequence BIGINT NOT NULL,
    media BINARY(16) NOT NULL,
    PRIMARY KEY (conversation, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What an account has, whatever its state; account 0: all of them together.
CREATE TABLE IF NOT EXISTS media_usage (
    owner BIGINT NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL,
    unfinished BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
