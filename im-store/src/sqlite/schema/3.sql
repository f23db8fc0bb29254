-- Version 3. The generations of this history: the first, and one more for each restore of a backup.
-- Their names are random, so that two restores of one backup are told apart.

CREATE TABLE generations (
    ordinal INTEGER NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL UNIQUE,
    started_at_ms INTEGER NOT NULL
);

INSERT INTO generations VALUES (0, (random() & 1152921504606846975) + 1, 0);

-- The heads with which a generation began: where it parted from the one before. A conversation
-- without a row had no entries then.
CREATE TABLE partings (
    conversation BLOB NOT NULL,
    ordinal INTEGER NOT NULL,
    head INTEGER NOT NULL,
    PRIMARY KEY (conversation, ordinal)
) WITHOUT ROWID;
