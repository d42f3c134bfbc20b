-- Schema 2: what tenants may use up, and what they have.

-- Where the operator has set something.
CREATE TABLE tenant_limits (
    tenant      INTEGER PRIMARY KEY REFERENCES tenants (tenant),
    limits      TEXT NOT NULL
) STRICT;

-- Tokens of the steps of each day (UTC, `YYYY-MM-DD`): written with the step. Steps from before schema 2 are not in it.
CREATE TABLE token_ledger (
    tenant      INTEGER NOT NULL,
    day         TEXT NOT NULL,
    tokens      INTEGER NOT NULL,
    PRIMARY KEY (tenant, day)
) STRICT, WITHOUT ROWID;

-- Tokens that a run has reserved for the step that is under way; `run` is the run's id.
CREATE TABLE token_reservations (
    tenant      INTEGER NOT NULL,
    run         BLOB NOT NULL,
    tokens      INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, run)
) STRICT, WITHOUT ROWID;
