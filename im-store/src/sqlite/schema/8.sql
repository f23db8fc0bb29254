-- Version 8: commands, and what becomes of each at each target.

-- The fencing number of a plan. `commands` counts those that were stored under it, so that storing
-- one and taking the next epoch always meet in this row.
CREATE TABLE plan_epochs (
    plan_id BLOB NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    request BLOB NOT NULL,
    commands INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX plan_epochs_by_age ON plan_epochs (changed_at_ms);

CREATE TABLE commands (
    command BLOB NOT NULL PRIMARY KEY,
    plan_id BLOB NOT NULL,
    step TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    issuer INTEGER NOT NULL,
    action TEXT NOT NULL,
    arguments TEXT NOT NULL,
    digest BLOB NOT NULL,
    deadline_ms INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    is_cancelled INTEGER NOT NULL,
    cancel_reason TEXT NOT NULL,
    is_open INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX commands_by_plan ON commands (plan_id, step, attempt);
CREATE INDEX commands_by_age ON commands (is_open, deadline_ms);

-- States are numbered so that those in which a robot has not begun (1, 2), and those in which more is
-- expected (1 to 4), are the lowest. `deadline_ms` is the command's: a robot's own are found by it.
CREATE TABLE outcomes (
    command BLOB NOT NULL,
    account INTEGER NOT NULL,
    deadline_ms INTEGER NOT NULL,
    state INTEGER NOT NULL,
    reason TEXT NOT NULL,
    result TEXT NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (command, account)
) WITHOUT ROWID;

CREATE INDEX outcomes_by_account ON outcomes (account, deadline_ms);
