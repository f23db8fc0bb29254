-- Version 9: credentials. Secrets are kept as hashes; keys of robots never come here. Every
-- statement finds done what an interrupted run has done.

-- One-time tokens with which robots enrol, by SHA-256 of what is presented. `used_key` is that of
-- the public key which used it, so that the same robot may ask again.
CREATE TABLE IF NOT EXISTS enrolment_tokens (
    digest BINARY(32) NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL,
    name_pattern VARCHAR(64) NOT NULL,
    joins BLOB NOT NULL,
    role BIGINT NOT NULL,
    made_by BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    used_at_ms BIGINT NOT NULL,
    used_key VARBINARY(32) NOT NULL,
    KEY enrolment_tokens_by_age (expires_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Accounts whose certificates are known one by one. `revoked_at_ms` is not 0: none of them is good.
CREATE TABLE IF NOT EXISTS enrolled (
    account BIGINT NOT NULL PRIMARY KEY,
    revoked_at_ms BIGINT NOT NULL,
    reason VARCHAR(512) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS certificates (
    serial VARBINARY(32) NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL,
    issued_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    KEY certificates_by_account (account, issued_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What gateways are told: `s` and a serial number, until that would have expired by itself, or `n`
-- and a subject, until the account enrols again.
CREATE TABLE IF NOT EXISTS revocations (
    entry VARBINARY(200) NOT NULL PRIMARY KEY,
    expires_at_ms BIGINT NOT NULL,
    KEY revocations_by_age (expires_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Operators who log in with a password. Each password is another generation.
CREATE TABLE IF NOT EXISTS passwords (
    account BIGINT NOT NULL PRIMARY KEY,
    hash VARCHAR(255) NOT NULL,
    is_one_time BIGINT NOT NULL,
    is_owner BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `first_owner`: its account. `revocations`: how often they have changed.
CREATE TABLE IF NOT EXISTS credential_facts (
    fact VARCHAR(32) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
