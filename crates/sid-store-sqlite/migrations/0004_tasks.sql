-- Schema 4: tasks. The document is the task; the other columns are what it is found by.
CREATE TABLE tasks (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    agent       BLOB NOT NULL,
    user        BLOB,
    creator     BLOB,
    parent      BLOB,
    conv        BLOB NOT NULL,
    report_to   BLOB,
    state       TEXT NOT NULL,
    run         BLOB,
    is_gated    INTEGER NOT NULL,
    begins      INTEGER NOT NULL,
    due_at      INTEGER,
    created_at  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX tasks_by_age ON tasks (tenant, created_at, id);
CREATE INDEX tasks_by_user ON tasks (tenant, user, created_at) WHERE user IS NOT NULL;
CREATE INDEX tasks_by_conversation ON tasks (tenant, conv);
CREATE INDEX tasks_by_report ON tasks (tenant, report_to) WHERE report_to IS NOT NULL;
CREATE INDEX tasks_by_parent ON tasks (tenant, parent) WHERE parent IS NOT NULL;
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_with_runs ON tasks (tenant, run) WHERE run IS NOT NULL;
