-- Version 6: roles of members; attributes of groups, and their end. Every statement finds done what
-- an interrupted run has done.

-- 1 owner, 2 admin, 3 member, 4 observer.
ALTER TABLE members ADD COLUMN IF NOT EXISTS role INT NOT NULL DEFAULT 3;
-- An encoded list; none: none. The entry by which a group was dissolved; 0 while it lives.
ALTER TABLE conversations
    ADD COLUMN IF NOT EXISTS attributes MEDIUMBLOB,
    ADD COLUMN IF NOT EXISTS dissolved BIGINT NOT NULL DEFAULT 0;

-- Operators and planners could change the groups that they were in, and still can; who made a group
-- owns it, or else one of them.
UPDATE members SET role = 2
WHERE `left` IS NULL AND role = 3 AND LEFT(conversation, 8) = X'0000000000000000'
AND account IN (SELECT account FROM accounts WHERE kind IN (2, 3));
UPDATE members SET role = 1
WHERE `left` IS NULL AND role = 2
AND EXISTS (SELECT 1 FROM created_groups g
    WHERE g.creator = members.account AND g.conversation = members.conversation);
UPDATE members m
JOIN (SELECT conversation, MIN(account) AS account, MIN(role) AS least FROM members
    WHERE `left` IS NULL AND role < 3 GROUP BY conversation) a
ON a.conversation = m.conversation AND a.account = m.account AND a.least = 2
SET m.role = 1 WHERE m.`left` IS NULL;
