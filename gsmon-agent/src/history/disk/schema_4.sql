-- What detectors found, with a sentence and the evidence as JSON. One that is found again keeps its row.
CREATE TABLE finding (
    server INTEGER NOT NULL REFERENCES server,
    began_ms INTEGER NOT NULL,
    detector TEXT NOT NULL,
    last_ms INTEGER NOT NULL,
    severity TEXT NOT NULL,
    says TEXT NOT NULL,
    evidence TEXT NOT NULL,
    PRIMARY KEY (server, began_ms, detector)
) STRICT, WITHOUT ROWID;
