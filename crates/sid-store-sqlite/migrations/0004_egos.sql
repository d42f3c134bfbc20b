-- Schema 4: egos. The document is what was put.
CREATE TABLE egos (
    tenant      INTEGER NOT NULL,
    name        TEXT NOT NULL,
    doc         TEXT NOT NULL,
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;
