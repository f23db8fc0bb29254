-- Version 6: roles of members; attributes of groups, and their end.

-- 1 owner, 2 admin, 3 member, 4 observer.
ALTER TABLE members ADD COLUMN role INTEGER NOT NULL DEFAULT 3;
-- An encoded list; none: none.
ALTER TABLE conversations ADD COLUMN attributes BLOB;
-- The entry by which a group was dissolved; 0 while it lives.
ALTER TABLE conversations ADD COLUMN dissolved INTEGER NOT NULL DEFAULT 0;

-- Operators and planners could change the groups that they were in, and still can; who made a group
-- owns it, or else one of them.
UPDATE members SET role = 2
WHERE "left" IS NULL AND substr(conversation, 1, 8) = X'0000000000000000'
AND account IN (SELECT account FROM accounts WHERE kind IN (2, 3));
UPDATE members SET role = 1
WHERE "left" IS NULL AND role = 2
AND EXISTS (SELECT 1 FROM created_groups g
    WHERE g.creator = members.account AND g.conversation = members.conversation);
UPDATE members SET role = 1
WHERE "left" IS NULL AND role = 2
AND NOT EXISTS (SELECT 1 FROM members o
    WHERE o.conversation = members.conversation AND o."left" IS NULL AND o.role = 1)
AND account = (SELECT MIN(a.account) FROM members a
    WHERE a.conversation = members.conversation AND a."left" IS NULL AND a.role = 2);
