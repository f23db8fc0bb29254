-- Version 9: the order in which capability cards were written.

CREATE TABLE card_head (
    only_row INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO card_head VALUES (1, 1);

CREATE TABLE cards (
    account INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX cards_by_revision ON cards (revision, account);

INSERT INTO cards SELECT account, 1 FROM accounts WHERE capabilities IS NOT NULL;
