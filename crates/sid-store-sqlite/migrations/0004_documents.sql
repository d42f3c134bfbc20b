-- Schema 4: documents. `owner_kind`, `a` and `b` as in `partitions`. `waits_since`: NULL unless its newest bytes are to be read. The bytes
-- stand last: whoever reads the other columns does not read their pages.
CREATE TABLE documents (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    owner_kind  INTEGER NOT NULL,
    a           BLOB NOT NULL,
    b           BLOB NOT NULL,
    source_conv BLOB,
    digest      TEXT NOT NULL,
    waits_since INTEGER,
    held_until  INTEGER,
    attempts    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    content     BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX documents_by_age ON documents (tenant, created_at, id);
CREATE INDEX documents_by_owner ON documents (tenant, owner_kind, a, b, digest);
CREATE INDEX documents_by_source ON documents (tenant, source_conv) WHERE source_conv IS NOT NULL;
CREATE INDEX documents_unread ON documents (waits_since) WHERE waits_since IS NOT NULL;
