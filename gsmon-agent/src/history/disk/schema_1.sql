-- Names, each once. 0 stands for no word.
CREATE TABLE server (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE measure (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

-- Samples that are in no block yet: one row per interval and 8 servers. id is seq * 64 + group.
CREATE TABLE journal (id INTEGER PRIMARY KEY, unix_ms INTEGER NOT NULL, samples BLOB NOT NULL) STRICT;

-- Samples (tier 0), roll-ups of a minute (1), roll-ups of an hour (2). seq rises with the time of writing and not with
-- the clock; that of a roll-up is the newest that it contains.
CREATE TABLE block (
    tier INTEGER NOT NULL,
    server INTEGER NOT NULL REFERENCES server,
    seq INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (tier, server, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    server INTEGER NOT NULL REFERENCES server,
    unix_ms INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    word INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (server, unix_ms, kind, word)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    server INTEGER NOT NULL REFERENCES server,
    id TEXT NOT NULL,
    external_id TEXT,
    room TEXT,
    map INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    begun_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    seen_ms INTEGER NOT NULL,
    players_peak INTEGER NOT NULL,
    joins INTEGER NOT NULL,
    leaves INTEGER NOT NULL,
    cpu_basis TEXT NOT NULL,
    cpu_ns INTEGER,
    run_queue_wait_ns INTEGER,
    rx_packets INTEGER,
    rx_bytes INTEGER,
    tx_packets INTEGER,
    tx_bytes INTEGER,
    minor_faults INTEGER,
    major_faults INTEGER,
    disk_read_bytes INTEGER,
    disk_write_bytes INTEGER,
    read_calls INTEGER,
    write_calls INTEGER,
    peak_rss_bytes INTEGER,
    PRIMARY KEY (server, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE transition (
    server INTEGER NOT NULL REFERENCES server,
    began_ms INTEGER NOT NULL,
    from_phase INTEGER NOT NULL,
    to_phase INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    session TEXT,
    cpu_ns INTEGER,
    rx_bytes INTEGER,
    tx_bytes INTEGER,
    change_cpu_cores REAL,
    change_rss_bytes REAL,
    PRIMARY KEY (server, began_ms, from_phase, to_phase)
) STRICT, WITHOUT ROWID;

CREATE TABLE life (
    server INTEGER NOT NULL REFERENCES server,
    began_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    took_ms INTEGER NOT NULL,
    cpu_ns INTEGER,
    peak_rss_bytes INTEGER,
    PRIMARY KEY (server, began_ms, kind)
) STRICT, WITHOUT ROWID;
