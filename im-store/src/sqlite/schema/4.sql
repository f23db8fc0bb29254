-- Version 4: ids in the order of their time. Those of a batch are neighbours, whoever sends them and
-- wherever to, and old ones are found without an index of their own.

CREATE TABLE message_ids_by_time (
    conversation BLOB NOT NULL,
    sender INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    digest BLOB NOT NULL,
    committed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (message_id, conversation, sender)
) WITHOUT ROWID;

INSERT INTO message_ids_by_time
SELECT conversation, sender, message_id, sequence, digest, committed_at_ms
FROM message_ids ORDER BY message_id;

DROP TABLE message_ids;
ALTER TABLE message_ids_by_time RENAME TO message_ids;
