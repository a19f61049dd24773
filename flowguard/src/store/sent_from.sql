-- The address that a mail server saw (of IPv6 the first of its 64 bits' network), so that replies to
-- one address are told from those to another; empty: it is not known, as in all rows until now. The
-- checksum of a row without it is as it was.
CREATE TABLE reply_by_address (
    at INTEGER NOT NULL,
    source INTEGER NOT NULL,
    class INTEGER NOT NULL,
    text INTEGER NOT NULL,
    server TEXT NOT NULL,
    sent_from TEXT NOT NULL,
    count INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (at, source, class, text, server, sent_from)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO reply_by_address
    SELECT at, source, class, text, server, '', count, checksum FROM reply;
DROP TABLE reply;
ALTER TABLE reply_by_address RENAME TO reply;
