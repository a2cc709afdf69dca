-- Blocks of minutes may have sketches of ten minutes (their first byte says so). Older blocks stay as they are.

-- Spikes of CPU or tick time, named by the figure that rose, with what each came from as JSON.
CREATE TABLE spike (
    server INTEGER NOT NULL REFERENCES server,
    began_ms INTEGER NOT NULL,
    measure INTEGER NOT NULL REFERENCES measure,
    lasted_ms INTEGER NOT NULL,
    peak REAL NOT NULL,
    usual REAL NOT NULL,
    deviations REAL NOT NULL,
    causes TEXT NOT NULL,
    not_measured TEXT NOT NULL,
    PRIMARY KEY (server, began_ms, measure)
) STRICT, WITHOUT ROWID;
