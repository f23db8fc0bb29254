-- Version 8: commands, and what becomes of each at each target. Every statement finds done what an
-- interrupted run has done.

-- The fencing number of a plan. `commands` counts those that were stored under it, so that storing
-- one and taking the next epoch always meet in this row, on every node of a cluster.
CREATE TABLE IF NOT EXISTS plan_epochs (
    plan_id BINARY(16) NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    holder BIGINT NOT NULL,
    request BINARY(16) NOT NULL,
    commands BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    KEY plan_epochs_by_age (changed_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS commands (
    command BINARY(16) NOT NULL PRIMARY KEY,
    plan_id BINARY(16) NOT NULL,
    step VARCHAR(64) NOT NULL,
    attempt BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    issuer BIGINT NOT NULL,
    action VARCHAR(64) NOT NULL,
    arguments MEDIUMTEXT NOT NULL,
    digest BINARY(16) NOT NULL,
    deadline_ms BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    is_cancelled BOOLEAN NOT NULL,
    cancel_reason VARCHAR(512) NOT NULL,
    is_open BOOLEAN NOT NULL,
    KEY commands_by_plan (plan_id, step, attempt),
    KEY commands_by_age (is_open, deadline_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- States are numbered so that those in which a robot has not begun (1, 2), and those in which more is
-- expected (1 to 4), are the lowest. `deadline_ms` is the command's: a robot's own are found by it.
CREATE TABLE IF NOT EXISTS outcomes (
    command BINARY(16) NOT NULL,
    account BIGINT NOT NULL,
    deadline_ms BIGINT NOT NULL,
    state BIGINT NOT NULL,
    reason VARCHAR(512) NOT NULL,
    result TEXT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (command, account),
    KEY outcomes_by_account (account, deadline_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
