-- Schema 4: webhooks, and what they are to be told.

-- The document is the webhook; the other columns are what is looked at. `events`: the names with a space on either side; empty = all.
CREATE TABLE webhooks (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    is_on       INTEGER NOT NULL,
    events      TEXT NOT NULL,
    is_failing  INTEGER NOT NULL,
    not_before  INTEGER,
    created_at  INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- `next_at`: NULL when it is over, or its webhook is disabled. `seq`: the order in which they were written.
CREATE TABLE deliveries (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    webhook     BLOB NOT NULL,
    event       TEXT NOT NULL,
    subject     BLOB NOT NULL,
    agent       BLOB,
    user        BLOB,
    conv        BLOB,
    facts       TEXT NOT NULL,
    at          INTEGER NOT NULL,
    state       TEXT NOT NULL DEFAULT 'pending',
    attempts    INTEGER NOT NULL DEFAULT 0,
    attempts_before INTEGER NOT NULL DEFAULT 0,
    next_at     INTEGER,
    held_until  INTEGER,
    history     TEXT NOT NULL DEFAULT '[]',
    body        TEXT,
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_waiting ON deliveries (tenant, webhook, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_held ON deliveries (tenant, webhook) WHERE held_until IS NOT NULL;
CREATE INDEX deliveries_by_time ON deliveries (tenant, webhook, at, id);
CREATE INDEX deliveries_pending ON deliveries (tenant, webhook, conv, seq) WHERE state = 'pending';
CREATE INDEX deliveries_by_user ON deliveries (tenant, user) WHERE user IS NOT NULL;
CREATE INDEX deliveries_by_agent ON deliveries (tenant, agent) WHERE agent IS NOT NULL;
CREATE INDEX deliveries_by_conversation ON deliveries (tenant, conv) WHERE conv IS NOT NULL;
CREATE INDEX deliveries_by_age ON deliveries (at) WHERE next_at IS NULL;

-- What a turn writes is told by triggers, so that a turn of a tenant without webhooks makes no statement for them: the end of a run, and a
-- question. What else there is to tell is told by who writes it.
CREATE TRIGGER runs_are_told AFTER UPDATE OF status ON runs
WHEN NEW.status >= 2 AND OLD.status < 2 AND EXISTS (SELECT 1 FROM webhooks w WHERE w.tenant = NEW.tenant AND w.is_on)
BEGIN
    INSERT INTO deliveries (tenant, id, webhook, event, subject, agent, user, conv, facts, at, next_at)
    SELECT NEW.tenant, randomblob(16), w.id, e.event, NEW.id, c.agent, c.user, c.id, json_object('stop_reason', NEW.stop_reason), NEW.ended_at,
        NEW.ended_at
    FROM (SELECT 1 AS place, 'message.answered' AS event WHERE NEW.status = 2 AND NEW.stop_reason <> 'client_calls' AND EXISTS (
            SELECT 1 FROM messages m WHERE m.tenant = NEW.tenant AND m.id = substr(NEW.stimulus, 1, 16) AND m.role = 0)
        UNION ALL SELECT 2, CASE NEW.status WHEN 2 THEN 'run.completed' WHEN 3 THEN 'run.failed' ELSE 'run.cancelled' END) e
    JOIN conversations c ON c.conv = NEW.conv
    JOIN webhooks w ON w.tenant = NEW.tenant AND w.is_on AND (w.events = '' OR instr(w.events, ' ' || e.event || ' ') > 0)
    ORDER BY e.place;
END;

CREATE TRIGGER approvals_are_told AFTER INSERT ON approvals
WHEN EXISTS (SELECT 1 FROM webhooks w WHERE w.tenant = NEW.tenant AND w.is_on)
BEGIN
    INSERT INTO deliveries (tenant, id, webhook, event, subject, agent, user, conv, facts, at, next_at)
    SELECT NEW.tenant, randomblob(16), w.id, 'approval.requested', NEW.id, NEW.agent, NEW.user, c.id,
        json_object('state', NEW.state, 'run', json_extract(NEW.doc, '$.run')), NEW.asked_at, NEW.asked_at
    FROM webhooks w JOIN conversations c ON c.conv = NEW.conv
    WHERE w.tenant = NEW.tenant AND w.is_on AND (w.events = '' OR instr(w.events, ' approval.requested ') > 0);
END;
