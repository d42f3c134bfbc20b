-- Schema 4: whose turn it is, what agents begin by themselves, quiet hours, diary pages that are made again.

-- `turn`: of the runs that wait the earliest goes first. NULL in runs from before: their own time.
ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN turn INTEGER;

-- Runs that nobody asked for at that moment, and tokens of their steps, by hours (UTC). Kept for two days.
CREATE TABLE self_begun (
    tenant      INTEGER NOT NULL,
    hour        INTEGER NOT NULL,
    agent       BLOB NOT NULL,
    runs        INTEGER NOT NULL,
    tokens      INTEGER NOT NULL,
    PRIMARY KEY (tenant, hour, agent)
) STRICT, WITHOUT ROWID;

ALTER TABLE users ADD COLUMN quiet_hours TEXT;

-- More than 0: not due before `touched_at`.
ALTER TABLE diary_dirty ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
