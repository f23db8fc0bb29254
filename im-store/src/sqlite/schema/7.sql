-- Version 7: the index of words. It is written behind the messages, and made anew from them whenever
-- it is not there: no backup holds it.

-- Which line of the index is which entry.
CREATE TABLE search_entries (
    id INTEGER NOT NULL PRIMARY KEY,
    conversation BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    UNIQUE (conversation, sequence)
);

-- Words in ASCII, made by us; without the text itself.
CREATE VIRTUAL TABLE search_words USING fts5(
    words, content = '', contentless_delete = 1, tokenize = 'ascii'
);

-- Up to where each conversation is indexed.
CREATE TABLE search_progress (
    conversation BLOB NOT NULL PRIMARY KEY,
    indexed INTEGER NOT NULL
) WITHOUT ROWID;
