-- Version 3. The generations of this history: the first, and one more for each restore of a backup.
-- Their names are random, so that two restores of one backup are told apart.

CREATE TABLE IF NOT EXISTS generations (
    ordinal BIGINT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL UNIQUE,
    started_at_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO generations
VALUES (0, CAST(CONV(LEFT(MD5(UUID()), 15), 16, 10) AS SIGNED) + 1, 0);

-- The heads with which a generation began: where it parted from the one before. A conversation
-- without a row had no entries then.
CREATE TABLE IF NOT EXISTS partings (
    conversation BINARY(16) NOT NULL,
    ordinal BIGINT NOT NULL,
    head BIGINT NOT NULL,
    PRIMARY KEY (conversation, ordinal)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
