-- Blocks of tier 3 are events of a day that has passed, of tier 4 players' lines of an hour.

-- Players' lines, by minute and pseudonym, that are in no block yet: one row per server and interval that ended a minute.
CREATE TABLE line (
    server INTEGER NOT NULL REFERENCES server,
    seq INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (server, seq)
) STRICT, WITHOUT ROWID;
