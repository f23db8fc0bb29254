-- Version 9: media that gateways keep, and the messages that refer to them.

-- `refs` counts the rows of media_refs: what refers to a media and what removes it meet in this row.
-- States: 1 uploading, 2 complete, 3 being removed. `changed_at_ms` is when it was made, went on,
-- was completed or lost a reference.
CREATE TABLE media (
    media BLOB NOT NULL PRIMARY KEY,
    owner INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    media_type BLOB NOT NULL,
    name BLOB NOT NULL,
    state INTEGER NOT NULL,
    refs INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX media_by_owner ON media (owner, media);
CREATE INDEX media_by_age ON media (refs, changed_at_ms);

CREATE TABLE media_refs (
    conversation BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    media BLOB NOT NULL,
    PRIMARY KEY (conversation, sequence)
) WITHOUT ROWID;

-- What an account has, whatever its state; account 0: all of them together.
CREATE TABLE media_usage (
    owner INTEGER NOT NULL PRIMARY KEY,
    bytes INTEGER NOT NULL,
    unfinished INTEGER NOT NULL
) WITHOUT ROWID;
