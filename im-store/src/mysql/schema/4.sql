-- Version 4: ids in the order of their time. Those of a batch are neighbours, whoever sends them and
-- wherever to, and old ones are found without an index of their own. Every statement finds done what
-- an interrupted run has done.

ALTER TABLE message_ids
    DROP PRIMARY KEY,
    ADD PRIMARY KEY (message_id, conversation, sender),
    DROP INDEX IF EXISTS message_ids_by_age;
