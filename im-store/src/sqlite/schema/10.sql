-- Version 9: the audit of what is administered. `code` and `message` are of the refusal, if it is one.

CREATE TABLE audit (
    audit INTEGER NOT NULL PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    account INTEGER NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    request BLOB NOT NULL,
    address TEXT NOT NULL,
    state INTEGER NOT NULL,
    code INTEGER NOT NULL,
    message BLOB NOT NULL
);
