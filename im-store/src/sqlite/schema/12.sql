-- Version 9: credentials. Secrets are kept as hashes; keys of robots never come here.

-- One-time tokens with which robots enrol, by SHA-256 of what is presented. `used_key` is that of
-- the public key which used it, so that the same robot may ask again.
CREATE TABLE enrolment_tokens (
    digest BLOB NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    name_pattern TEXT NOT NULL,
    joins BLOB NOT NULL,
    role INTEGER NOT NULL,
    made_by INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    used_key BLOB NOT NULL
) WITHOUT ROWID;

CREATE INDEX enrolment_tokens_by_age ON enrolment_tokens (expires_at_ms);

-- Accounts whose certificates are known one by one. `revoked_at_ms` is not 0: none of them is good.
CREATE TABLE enrolled (
    account INTEGER NOT NULL PRIMARY KEY,
    revoked_at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE certificates (
    serial BLOB NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX certificates_by_account ON certificates (account, issued_at_ms);

-- What gateways are told: `s` and a serial number, until that would have expired by itself, or `n`
-- and a subject, until the account enrols again.
CREATE TABLE revocations (
    entry BLOB NOT NULL PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX revocations_by_age ON revocations (expires_at_ms);

-- Operators who log in with a password. Each password is another generation.
CREATE TABLE passwords (
    account INTEGER NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    is_one_time INTEGER NOT NULL,
    is_owner INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- `first_owner`: its account. `revocations`: how often they have changed.
CREATE TABLE credential_facts (
    fact TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
