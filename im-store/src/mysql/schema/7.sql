-- Version 7: the index of words. It is written behind the messages, and made anew from them whenever
-- it is not there: no backup holds it. Every statement finds done what an interrupted run has done.

-- Words in ASCII, made by us: no parser for Chinese is needed, and no setting of the server's.
CREATE TABLE IF NOT EXISTS search_entries (
    conversation BINARY(16) NOT NULL,
    sequence BIGINT NOT NULL,
    words MEDIUMTEXT NOT NULL,
    PRIMARY KEY (conversation, sequence),
    FULLTEXT KEY search_words (words)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Up to where each conversation is indexed.
CREATE TABLE IF NOT EXISTS search_progress (
    conversation BINARY(16) NOT NULL PRIMARY KEY,
    indexed BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
