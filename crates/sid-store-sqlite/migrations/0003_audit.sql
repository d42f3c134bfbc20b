-- Schema 3: the audit log. Times may repeat, `entry` does not.
CREATE TABLE audit (
    entry       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    key         BLOB NOT NULL,
    user        BLOB,
    agent       BLOB,
    operation   TEXT NOT NULL,
    subject     BLOB,
    resource    TEXT,
    status      INTEGER NOT NULL,
    request     TEXT
) STRICT;
CREATE INDEX audit_by_time ON audit (tenant, at, entry);
CREATE INDEX audit_by_user ON audit (tenant, user, at, entry) WHERE user IS NOT NULL;
CREATE INDEX audit_by_subject ON audit (tenant, subject, at, entry) WHERE subject IS NOT NULL;
-- Not bound to a tenant: what is to be dropped.
CREATE INDEX audit_by_age ON audit (at);
