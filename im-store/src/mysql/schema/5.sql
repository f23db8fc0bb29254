-- Version 5: emergency stops. One is in force while `released_at_ms` is 0. Every statement finds done
-- what an interrupted run has done.

CREATE TABLE IF NOT EXISTS estops (
    stop BINARY(16) NOT NULL PRIMARY KEY,
    conversation BINARY(16) NOT NULL,
    fleet BIGINT NOT NULL,
    sender BIGINT NOT NULL,
    reason VARBINARY(512) NOT NULL,
    sent_at_ms BIGINT NOT NULL,
    stored_at_ms BIGINT NOT NULL,
    released_at_ms BIGINT NOT NULL,
    released_by BIGINT NOT NULL,
    release_reason VARBINARY(512) NOT NULL,
    KEY estops_by_release (released_at_ms, stop)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
