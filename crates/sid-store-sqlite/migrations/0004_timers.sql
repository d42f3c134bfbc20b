-- Schema 4: timers, and what is due.
CREATE TABLE timers (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    agent       BLOB NOT NULL,
    user        BLOB,
    conv        BLOB,
    -- NULL unless it is active.
    next_due    INTEGER,
    -- Somebody answers what is due of it until then.
    held_until  INTEGER,
    is_done     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX timers_by_due ON timers (next_due) WHERE next_due IS NOT NULL;
CREATE INDEX timers_by_owner ON timers (tenant, agent, user);
CREATE INDEX timers_by_user ON timers (tenant, user);
CREATE INDEX timers_by_conversation ON timers (tenant, conv) WHERE conv IS NOT NULL;
