-- Version 9: the order in which capability cards were written. Every statement finds done what an
-- interrupted run has done.

CREATE TABLE IF NOT EXISTS card_head (
    only_row BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO card_head VALUES (1, 1);

CREATE TABLE IF NOT EXISTS cards (
    account BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    KEY cards_by_revision (revision, account)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO cards SELECT account, 1 FROM accounts WHERE capabilities IS NOT NULL;
