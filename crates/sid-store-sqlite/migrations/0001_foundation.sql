-- Sid's embedded store, schema 1.
--
-- Ids are 16-byte blobs, times are nanoseconds since 1970 (UTC), documents that no query looks into are JSON.
-- `tenant` is the small number of a row in `tenants`. Every id is looked up together with it; the numbers `conv`, `run`, `part`,
-- `block` and `rid` are known only from a row that was found this way.
-- `rid` numbers every searchable record of every kind in the order it was written; its two low bits tell the kind
-- (0 message, 1 passage, 2 diary page). A record that is written anew gets a new `rid`.

CREATE TABLE tenants (
    tenant      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB NOT NULL UNIQUE,
    name        TEXT NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL
) STRICT;

-- API keys belong to the operator: authentication looks them up before it knows a tenant.
CREATE TABLE api_keys (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB NOT NULL UNIQUE,
    hash        TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL,
    tenant_id   BLOB,
    user_id     BLOB,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT;

CREATE TABLE users (
    tenant       INTEGER NOT NULL,
    id           BLOB NOT NULL,
    handle       TEXT NOT NULL,
    display_name TEXT NOT NULL,
    timezone     TEXT,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, handle)
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_age ON users (tenant, created_at, id);

CREATE TABLE teams (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE team_members (
    tenant      INTEGER NOT NULL,
    user        BLOB NOT NULL,
    team        BLOB NOT NULL,
    PRIMARY KEY (tenant, user, team)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_members_by_team ON team_members (tenant, team);

CREATE TABLE agents (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    name        TEXT NOT NULL,
    spec        TEXT NOT NULL,
    teams       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

CREATE INDEX agents_by_age ON agents (tenant, created_at, id);

CREATE TABLE agent_teams (
    tenant      INTEGER NOT NULL,
    agent       BLOB NOT NULL,
    team        BLOB NOT NULL,
    PRIMARY KEY (tenant, agent, team)
) STRICT, WITHOUT ROWID;

-- A memory partition: one owner. `kind`: 0 tenant, 1 team, 2 user, 3 agent, 4 pair; `a` and `b` are its ids (pair: agent, user).
-- `has_met`: the agent's block templates were made into blocks. `is_full_text`: new records go into `full_text`, too; those up to
-- `fill_end` are still brought there, and have been up to `filled_to`.
CREATE TABLE partitions (
    part         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    a            BLOB NOT NULL,
    b            BLOB NOT NULL,
    records      INTEGER NOT NULL DEFAULT 0,
    has_met      INTEGER NOT NULL DEFAULT 0,
    is_full_text INTEGER NOT NULL DEFAULT 0,
    filled_to    INTEGER NOT NULL DEFAULT -1,
    fill_end     INTEGER NOT NULL DEFAULT -1,
    UNIQUE (tenant, kind, a, b)
) STRICT;
CREATE INDEX partitions_by_user ON partitions (tenant, b) WHERE kind = 4;
CREATE INDEX partitions_to_fill ON partitions (part) WHERE filled_to < fill_end;

-- `head`: the oldest run that has not ended. `holder`: the worker whose lease has `epoch`.
CREATE TABLE conversations (
    conv        INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    part        INTEGER NOT NULL,
    agent       BLOB NOT NULL,
    user        BLOB,
    app_key     TEXT,
    last_seq    INTEGER NOT NULL DEFAULT 0,
    queue_start INTEGER NOT NULL DEFAULT 1,
    created_at  INTEGER NOT NULL,
    last_at     INTEGER,
    epoch       INTEGER NOT NULL DEFAULT 0,
    holder      BLOB,
    expires_at  INTEGER,
    ttl         INTEGER,
    head        INTEGER,
    UNIQUE (tenant, id)
) STRICT;
CREATE UNIQUE INDEX conversations_by_key ON conversations (tenant, agent, ifnull(user, x''), app_key) WHERE app_key IS NOT NULL;
CREATE INDEX conversations_by_age ON conversations (tenant, created_at, id);
CREATE INDEX conversations_by_agent ON conversations (tenant, agent, created_at, id);
CREATE INDEX conversations_by_user ON conversations (tenant, user, created_at, id);
CREATE INDEX conversations_by_part ON conversations (tenant, part);
-- Not bound to a tenant: the engine's own search for work.
CREATE INDEX conversations_with_work ON conversations (head) WHERE head IS NOT NULL;

-- The large, seldom written half of a conversation.
CREATE TABLE conversation_heads (
    conv        INTEGER PRIMARY KEY,
    summary     TEXT NOT NULL,
    prefix      TEXT
) STRICT;

-- `status`: 0 queued, 1 running, 2 completed, 3 failed, 4 cancelled. `waiting`: messages until the first claim.
CREATE TABLE runs (
    run         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    conv        INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    stop_reason TEXT,
    error       TEXT,
    limits      TEXT NOT NULL,
    steps       INTEGER NOT NULL DEFAULT 0,
    usage       TEXT NOT NULL,
    commits     INTEGER NOT NULL DEFAULT 0,
    commit_epoch INTEGER NOT NULL DEFAULT 0,
    cancel      INTEGER NOT NULL DEFAULT 0,
    stimulus    BLOB NOT NULL,
    waiting     TEXT,
    calls       TEXT,
    events      INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    started_at  INTEGER,
    ended_at    INTEGER,
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX runs_by_conversation ON runs (tenant, conv, run);
CREATE INDEX runs_queued ON runs (conv, run) WHERE status = 0;
CREATE INDEX runs_cancelled ON runs (run) WHERE cancel = 1 AND status < 2;

-- Ids of messages that wait with their run: taken, as those of placed messages are.
CREATE TABLE waiting_messages (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    run         INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_messages_by_run ON waiting_messages (run);

CREATE TABLE steps (
    tenant      INTEGER NOT NULL,
    run         INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    UNIQUE (tenant, run, number)
) STRICT;

CREATE TABLE events (
    tenant      INTEGER NOT NULL,
    run         INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    body        TEXT NOT NULL,
    PRIMARY KEY (tenant, run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    tenant      INTEGER NOT NULL,
    principal   BLOB NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    run         BLOB NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (tenant, principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (at);

-- `part` is null for messages that search never finds. `written_at` is the store's clock, `at` is when it was said.
CREATE TABLE messages (
    rid         INTEGER PRIMARY KEY,
    tenant      INTEGER NOT NULL,
    conv        INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    id          BLOB NOT NULL,
    part        INTEGER,
    run         BLOB,
    role        INTEGER NOT NULL,
    text        TEXT NOT NULL,
    extra       TEXT,
    speaker     TEXT,
    at          INTEGER NOT NULL,
    written_at  INTEGER NOT NULL,
    tokens      INTEGER,
    UNIQUE (tenant, conv, seq),
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX messages_by_part ON messages (part) WHERE part IS NOT NULL;
CREATE INDEX messages_by_time ON messages (part, at) WHERE part IS NOT NULL;

-- Tool results that quote messages: what erasure redacts.
CREATE TABLE quotes (
    tenant      INTEGER NOT NULL,
    quoted      BLOB NOT NULL,
    quoting     INTEGER NOT NULL,
    PRIMARY KEY (tenant, quoted, quoting)
) STRICT, WITHOUT ROWID;

CREATE INDEX quotes_by_quoting ON quotes (quoting);

CREATE TABLE passages (
    rid         INTEGER PRIMARY KEY,
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    part        INTEGER NOT NULL,
    text        TEXT NOT NULL,
    tags        TEXT NOT NULL,
    at          INTEGER NOT NULL,
    provenance  TEXT NOT NULL,
    source_conv BLOB,
    created_at  INTEGER NOT NULL,
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX passages_by_part ON passages (part);
CREATE INDEX passages_by_age ON passages (part, created_at, id);
CREATE INDEX passages_by_source ON passages (tenant, source_conv) WHERE source_conv IS NOT NULL;

-- `level`: 0 day, 1 week, 2 month; `start` in days since 1970-01-01.
CREATE TABLE diary (
    rid         INTEGER PRIMARY KEY,
    tenant      INTEGER NOT NULL,
    part        INTEGER NOT NULL,
    level       INTEGER NOT NULL,
    start       INTEGER NOT NULL,
    id          BLOB NOT NULL,
    text        TEXT NOT NULL,
    messages    TEXT NOT NULL,
    is_floor    INTEGER NOT NULL,
    written_at  INTEGER NOT NULL,
    UNIQUE (tenant, part, level, start),
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX diary_by_part ON diary (part);

-- Periods with something newer than their page. `ends`: the first day after.
CREATE TABLE diary_dirty (
    tenant      INTEGER NOT NULL,
    part        INTEGER NOT NULL,
    level       INTEGER NOT NULL,
    start       INTEGER NOT NULL,
    ends        INTEGER NOT NULL,
    touched_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, part, level, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX diary_due ON diary_dirty (level, start, part, ends);

CREATE TABLE blocks (
    block       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    part        INTEGER NOT NULL,
    label       TEXT NOT NULL,
    description TEXT NOT NULL,
    value       TEXT NOT NULL,
    limit_chars INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (tenant, id),
    UNIQUE (tenant, part, label)
) STRICT;

CREATE TABLE block_versions (
    tenant      INTEGER NOT NULL,
    block       INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    edit        TEXT NOT NULL,
    value_after TEXT NOT NULL,
    provenance  TEXT NOT NULL,
    source_conv BLOB,
    source_user BLOB,
    at          INTEGER NOT NULL,
    UNIQUE (tenant, block, version)
) STRICT;
CREATE INDEX block_versions_by_conversation ON block_versions (tenant, source_conv) WHERE source_conv IS NOT NULL;
CREATE INDEX block_versions_by_user ON block_versions (tenant, source_user) WHERE source_user IS NOT NULL;

-- `access`: 0 read, 1 write.
CREATE TABLE block_links (
    tenant      INTEGER NOT NULL,
    agent       BLOB NOT NULL,
    block       INTEGER NOT NULL,
    access      INTEGER NOT NULL,
    PRIMARY KEY (tenant, agent, block)
) STRICT, WITHOUT ROWID;
CREATE INDEX block_links_by_block ON block_links (block);

-- Embedding generations; every record up to `done_to` has its vectors.
CREATE TABLE generations (
    generation  INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE,
    dimensions  INTEGER,
    done_to     INTEGER NOT NULL DEFAULT -1
) STRICT;

-- One row per chunk, f32 little endian; a record that cannot be embedded has one row with an empty vector.
CREATE TABLE vectors (
    tenant      INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    rid         INTEGER NOT NULL,
    chunk       INTEGER NOT NULL,
    first_byte  INTEGER NOT NULL,
    end_byte    INTEGER NOT NULL,
    vector      BLOB NOT NULL,
    UNIQUE (rid, generation, chunk)
) STRICT;

-- Full text of large partitions. Rows are `rid`s; a token is the partition's number and a hash of the stem, so that the list of
-- a word never holds records of two partitions. No text is kept, no positions either: hits are scored from the records.
CREATE VIRTUAL TABLE full_text USING fts5 (
    tokens, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
