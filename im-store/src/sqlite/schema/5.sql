-- Version 5: emergency stops. One is in force while `released_at_ms` is 0.

CREATE TABLE estops (
    stop BLOB NOT NULL PRIMARY KEY,
    conversation BLOB NOT NULL,
    fleet INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    reason BLOB NOT NULL,
    sent_at_ms INTEGER NOT NULL,
    stored_at_ms INTEGER NOT NULL,
    released_at_ms INTEGER NOT NULL,
    released_by INTEGER NOT NULL,
    release_reason BLOB NOT NULL
) WITHOUT ROWID;

CREATE INDEX estops_by_release ON estops (released_at_ms, stop);
