-- Version 9: the audit of what is administered. `code` and `message` are of the refusal, if it is one.

CREATE TABLE IF NOT EXISTS audit (
    audit BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    account BIGINT NOT NULL,
    action VARCHAR(64) NOT NULL,
    target VARCHAR(256) NOT NULL,
    request BLOB NOT NULL,
    address VARCHAR(64) NOT NULL,
    state BIGINT NOT NULL,
    code BIGINT NOT NULL,
    message BLOB NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
