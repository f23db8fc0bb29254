-- Version 2: what retention has dropped, what a conversation weighs, and which entries say others
-- anew. Every statement finds done what an interrupted run has done.

-- Entries up to `trimmed` are gone. `bytes`: the contents of those that are kept.
ALTER TABLE conversations
    ADD COLUMN IF NOT EXISTS trimmed BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS bytes BIGINT NOT NULL DEFAULT 0;
UPDATE conversations SET bytes =
    (SELECT COALESCE(SUM(LENGTH(content)), 0) FROM messages WHERE conversation = id);

-- So that a recall finds the edits of what it takes back.
CREATE TABLE IF NOT EXISTS edits (
    conversation BINARY(16) NOT NULL,
    target BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (conversation, target, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ids beyond their horizon are forgotten by age.
CREATE INDEX IF NOT EXISTS message_ids_by_age ON message_ids (committed_at_ms);
