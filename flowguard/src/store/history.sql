-- Checksum of the body; null in records of a flowguard that had none.
ALTER TABLE verdict ADD COLUMN checksum INTEGER;
CREATE INDEX verdict_since ON verdict (since) WHERE NOT open;

-- Names and texts are long and come again: rows point to them.
CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    package TEXT,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE text (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE,
    checksum INTEGER NOT NULL
) STRICT;

-- What a source did in a class (0 direct, 1 submission, 2 relay) since `at`, seconds since 1970,
-- for a minute or an hour; only where something happened.
CREATE TABLE minute (
    at INTEGER NOT NULL,
    source INTEGER NOT NULL,
    class INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    would_deny INTEGER NOT NULL,
    destinations INTEGER NOT NULL,
    retransmits INTEGER NOT NULL,
    established INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    timed_out INTEGER NOT NULL,
    redirected INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    replies_2xx INTEGER NOT NULL,
    replies_3xx INTEGER NOT NULL,
    replies_4xx INTEGER NOT NULL,
    replies_5xx INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    encrypted INTEGER NOT NULL,
    open_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (at, source, class)
) STRICT, WITHOUT ROWID;
CREATE TABLE hour (
    at INTEGER NOT NULL,
    source INTEGER NOT NULL,
    class INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    would_deny INTEGER NOT NULL,
    destinations INTEGER NOT NULL,
    retransmits INTEGER NOT NULL,
    established INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    timed_out INTEGER NOT NULL,
    redirected INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    replies_2xx INTEGER NOT NULL,
    replies_3xx INTEGER NOT NULL,
    replies_4xx INTEGER NOT NULL,
    replies_5xx INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    encrypted INTEGER NOT NULL,
    open_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (at, source, class)
) STRICT, WITHOUT ROWID;

-- Replies that said no, by the minute: how often which text by which server.
CREATE TABLE reply (
    at INTEGER NOT NULL,
    source INTEGER NOT NULL,
    class INTEGER NOT NULL,
    text INTEGER NOT NULL,
    server TEXT NOT NULL,
    count INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (at, source, class, text, server)
) STRICT, WITHOUT ROWID;

-- What operators ordered, what was refused included.
CREATE TABLE audit (
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
