-- Schema 4: calls that wait for somebody's word.
CREATE TABLE approvals (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    conv        INTEGER NOT NULL,
    agent       BLOB NOT NULL,
    user        BLOB,
    state       TEXT NOT NULL,
    asked_at    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX approvals_by_conversation ON approvals (conv);
CREATE INDEX approvals_by_time ON approvals (tenant, asked_at, id);
CREATE INDEX approvals_due ON approvals (expires_at) WHERE state = 'pending';
