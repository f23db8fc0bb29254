-- Version 2: what retention has dropped, what a conversation weighs, and which entries say others
-- anew.

-- Entries up to `trimmed` are gone. `bytes`: the contents of those that are kept.
ALTER TABLE conversations ADD COLUMN trimmed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE conversations SET bytes =
    (SELECT COALESCE(SUM(LENGTH(content)), 0) FROM messages WHERE conversation = id);

-- So that a recall finds the edits of what it takes back.
CREATE TABLE edits (
    conversation BLOB NOT NULL,
    target INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (conversation, target, sequence)
) WITHOUT ROWID;

-- Ids beyond their horizon are forgotten by age.
CREATE INDEX message_ids_by_age ON message_ids (committed_at_ms);
