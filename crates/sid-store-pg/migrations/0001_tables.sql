-- Sid on Postgres, schema 1: tables.
--
-- Every table of a tenant's data leads with `tenant` in its keys, so that a shard map or Citus can split by it. Times are `timestamptz`;
-- columns that no query looks into hold JSON as plain text (`json` would refuse nothing more and be parsed once more).
-- `part` numbers memory partitions: one owner each. `rid` numbers searchable records of every kind; it is drawn under the partition's
-- row lock, so inside one partition a larger number is a later commit. Its two low bits tell the kind (0 message, 1 passage, 2 page).

CREATE SCHEMA sid;

CREATE SEQUENCE sid.rids;
CREATE SEQUENCE sid.run_numbers;

CREATE TABLE sid.schema_version (
    version     int PRIMARY KEY,
    applied_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sid.tenants (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CONSTRAINT tenants_name UNIQUE,
    created_at  timestamptz NOT NULL
);

-- Keys belong to the operator: authentication looks them up before it knows a tenant. Reached by functions alone.
CREATE TABLE sid.api_keys (
    id          uuid PRIMARY KEY,
    hash        text NOT NULL CONSTRAINT api_keys_hash UNIQUE,
    name        text NOT NULL,
    role        text NOT NULL,
    tenant      uuid,
    user_id     uuid,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz
);
CREATE INDEX api_keys_by_tenant ON sid.api_keys (tenant, user_id);

CREATE TABLE sid.users (
    tenant       uuid NOT NULL,
    id           uuid NOT NULL,
    handle       text NOT NULL,
    display_name text NOT NULL,
    timezone     text,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, handle)
);
CREATE INDEX users_by_age ON sid.users (tenant, created_at, id);

CREATE TABLE sid.teams (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
);

CREATE TABLE sid.team_members (
    tenant      uuid NOT NULL,
    user_id     uuid NOT NULL,
    team_id     uuid NOT NULL,
    PRIMARY KEY (tenant, user_id, team_id)
);
CREATE INDEX team_members_by_team ON sid.team_members (tenant, team_id);

CREATE TABLE sid.agents (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    spec        text NOT NULL,
    teams       text NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
);
CREATE INDEX agents_by_age ON sid.agents (tenant, created_at, id);

CREATE TABLE sid.agent_teams (
    tenant      uuid NOT NULL,
    agent_id    uuid NOT NULL,
    team_id     uuid NOT NULL,
    PRIMARY KEY (tenant, agent_id, team_id)
);

-- `kind`: 0 tenant, 1 team, 2 user, 3 agent, 4 pair; `a` and `b` are its ids (pair: agent, user), nil where there is none.
-- `version`: the last number that a change of it has drawn from `rids`. Copies in memory that are older than `reload_from` are read anew.
-- `has_met`: the agent's block templates were made into blocks. `filled_to`: older records are in `postings` (-1: none is).
CREATE TABLE sid.partitions (
    tenant      uuid NOT NULL,
    part        bigint GENERATED ALWAYS AS IDENTITY,
    kind        smallint NOT NULL,
    a           uuid NOT NULL,
    b           uuid NOT NULL,
    records     bigint NOT NULL DEFAULT 0,
    version     bigint NOT NULL DEFAULT 0,
    reload_from bigint NOT NULL DEFAULT 0,
    has_met     boolean NOT NULL DEFAULT false,
    filled_to   bigint NOT NULL DEFAULT -1,
    PRIMARY KEY (tenant, part),
    UNIQUE (tenant, kind, a, b)
) WITH (fillfactor = 80);
CREATE INDEX partitions_by_user ON sid.partitions (tenant, b) WHERE kind = 4;

-- `head`: the oldest run that has not ended, `head_no` its number. `holder`: the worker whose lease has `epoch`. `rev` grows with
-- every write to the conversation or to its queue of runs: what was read before is still true while `rev` is the same.
CREATE TABLE sid.conversations (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    part        bigint NOT NULL,
    agent_id    uuid NOT NULL,
    user_id     uuid,
    app_key     text,
    last_seq    bigint NOT NULL DEFAULT 0,
    queue_start bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    last_at     timestamptz,
    rev         bigint NOT NULL DEFAULT 0,
    epoch       bigint NOT NULL DEFAULT 0,
    holder      uuid,
    expires_at  timestamptz,
    ttl_us      bigint,
    head        uuid,
    head_no     bigint,
    PRIMARY KEY (tenant, id),
    CHECK ((head IS NULL) = (head_no IS NULL)),
    CHECK ((holder IS NULL) = (expires_at IS NULL) AND (holder IS NULL OR head IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX conversations_by_key ON sid.conversations
    (tenant, agent_id, (coalesce(user_id, '00000000-0000-0000-0000-000000000000'::uuid)), app_key) WHERE app_key IS NOT NULL;
CREATE INDEX conversations_by_age ON sid.conversations (tenant, created_at, id);
CREATE INDEX conversations_by_agent ON sid.conversations (tenant, agent_id, created_at, id);
CREATE INDEX conversations_by_user ON sid.conversations (tenant, user_id, created_at, id);
CREATE INDEX conversations_by_part ON sid.conversations (tenant, part);
-- The engine's own search for work: across tenants by age, and tenant by tenant for fairness.
CREATE INDEX conversations_with_work ON sid.conversations (head_no) WHERE head_no IS NOT NULL;
CREATE INDEX conversations_with_work_of ON sid.conversations (tenant, head_no) WHERE head_no IS NOT NULL;

-- The large, seldom written half of a conversation.
CREATE TABLE sid.conversation_heads (
    tenant      uuid NOT NULL,
    conv        uuid NOT NULL,
    summary     text NOT NULL,
    prefix      text,
    PRIMARY KEY (tenant, conv)
);

-- `number`: the order of acceptance. `status`: 0 queued, 1 running, 2 completed, 3 failed, 4 cancelled. `waiting`: messages until the
-- first claim. A run that has not ended is its conversation's head or waits behind it, so a claim always reaches it.
CREATE TABLE sid.runs (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    number      bigint NOT NULL,
    conv        uuid NOT NULL,
    status      smallint NOT NULL CHECK (status BETWEEN 0 AND 4),
    stop_reason text,
    error       text,
    limits      text NOT NULL,
    steps       int NOT NULL DEFAULT 0,
    usage       text NOT NULL,
    commits     bigint NOT NULL DEFAULT 0,
    commit_epoch bigint NOT NULL DEFAULT 0,
    cancel      boolean NOT NULL DEFAULT false,
    stimulus    uuid[] NOT NULL,
    waiting     text,
    calls       text,
    events      bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz,
    PRIMARY KEY (tenant, id),
    CHECK ((status >= 2) = (ended_at IS NOT NULL) AND (status >= 2) = (stop_reason IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX runs_by_conversation ON sid.runs (tenant, conv, number);
CREATE INDEX runs_queued ON sid.runs (tenant, conv, number) WHERE status = 0;

CREATE TABLE sid.steps (
    tenant      uuid NOT NULL,
    run         uuid NOT NULL,
    number      int NOT NULL,
    doc         text NOT NULL,
    tail        text,
    recalled    text NOT NULL,
    PRIMARY KEY (tenant, run, number)
);

-- The log that streams follow: written often, dropped early. Split by run, so that vacuum has small tables to walk.
CREATE TABLE sid.events (
    tenant      uuid NOT NULL,
    run         uuid NOT NULL,
    seq         bigint NOT NULL,
    at          timestamptz NOT NULL,
    kind        text NOT NULL,
    body        text NOT NULL,
    PRIMARY KEY (tenant, run, seq)
) PARTITION BY HASH (run);

CREATE TABLE sid.idempotency (
    tenant      uuid NOT NULL,
    principal   bytea NOT NULL,
    key         text NOT NULL,
    fingerprint bytea NOT NULL,
    run         uuid NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, principal, key)
);
CREATE INDEX idempotency_by_age ON sid.idempotency (tenant, at);
CREATE INDEX idempotency_by_run ON sid.idempotency (tenant, run);

-- Every message's id, also while it waits with a run (`seq` is null then): `messages` is split by owner and cannot keep ids unique itself.
CREATE TABLE sid.message_ids (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    part        bigint NOT NULL,
    conv        uuid NOT NULL,
    seq         bigint,
    PRIMARY KEY (tenant, id)
);

-- `rid` is null for messages that search never finds. `at` is when it was said, `written_at` when it was placed.
-- Split by owner: all that one turn or one search reads lies in one of the parts.
CREATE TABLE sid.messages (
    tenant      uuid NOT NULL,
    part        bigint NOT NULL,
    conv        uuid NOT NULL,
    seq         bigint NOT NULL,
    id          uuid NOT NULL,
    rid         bigint,
    run         uuid,
    role        smallint NOT NULL,
    text        text NOT NULL,
    extra       text,
    speaker     text,
    at          timestamptz NOT NULL,
    written_at  timestamptz NOT NULL,
    tokens      bigint,
    PRIMARY KEY (tenant, part, conv, seq)
) PARTITION BY HASH (part);
CREATE INDEX messages_by_rid ON sid.messages (tenant, part, rid) WHERE rid IS NOT NULL;
CREATE INDEX messages_by_time ON sid.messages (tenant, part, at) WHERE rid IS NOT NULL;
CREATE INDEX messages_in_order ON sid.messages (rid) WHERE rid IS NOT NULL;

DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format('CREATE TABLE sid.messages_%s PARTITION OF sid.messages FOR VALUES WITH (MODULUS 16, REMAINDER %s)', i, i);
    END LOOP;
    FOR i IN 0..7 LOOP
        EXECUTE format('CREATE TABLE sid.events_%s PARTITION OF sid.events FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
    END LOOP;
END $$;

-- Tool results that quote messages: what erasure redacts.
CREATE TABLE sid.quotes (
    tenant      uuid NOT NULL,
    quoted      uuid NOT NULL,
    quoting     uuid NOT NULL,
    PRIMARY KEY (tenant, quoted, quoting)
);
CREATE INDEX quotes_by_quoting ON sid.quotes (tenant, quoting);

CREATE TABLE sid.passages (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    part        bigint NOT NULL,
    rid         bigint NOT NULL,
    text        text NOT NULL,
    tags        text NOT NULL,
    at          timestamptz NOT NULL,
    provenance  text NOT NULL,
    source_conv uuid,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX passages_by_rid ON sid.passages (tenant, part, rid);
CREATE INDEX passages_by_age ON sid.passages (tenant, part, created_at, id);
CREATE INDEX passages_by_time ON sid.passages (tenant, part, at);
CREATE INDEX passages_by_source ON sid.passages (tenant, source_conv) WHERE source_conv IS NOT NULL;
CREATE INDEX passages_in_order ON sid.passages (rid);

-- `level`: 0 day, 1 week, 2 month.
CREATE TABLE sid.diary (
    tenant      uuid NOT NULL,
    part        bigint NOT NULL,
    level       smallint NOT NULL CHECK (level BETWEEN 0 AND 2),
    start       date NOT NULL,
    id          uuid NOT NULL,
    rid         bigint NOT NULL,
    text        text NOT NULL,
    messages    text NOT NULL,
    is_floor    boolean NOT NULL,
    written_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, part, level, start),
    CONSTRAINT diary_id UNIQUE (tenant, id)
);
CREATE INDEX diary_by_rid ON sid.diary (tenant, part, rid);
CREATE INDEX diary_in_order ON sid.diary (rid);

-- Periods with something newer than their page. `ends`: the first day after.
CREATE TABLE sid.diary_dirty (
    tenant      uuid NOT NULL,
    part        bigint NOT NULL,
    level       smallint NOT NULL,
    start       date NOT NULL,
    ends        date NOT NULL,
    touched_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, part, level, start)
);
CREATE INDEX diary_due ON sid.diary_dirty (level, start, tenant, part);

-- What is gone from a partition: copies in memory take it out. `kind` as in `rid`. Pruned by raising the partition's `reload_from`.
CREATE TABLE sid.removals (
    tenant      uuid NOT NULL,
    part        bigint NOT NULL,
    change      bigint NOT NULL,
    kind        smallint NOT NULL,
    id          uuid NOT NULL,
    PRIMARY KEY (tenant, part, change)
);

CREATE TABLE sid.blocks (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    part        bigint NOT NULL,
    label       text NOT NULL,
    description text NOT NULL,
    value       text NOT NULL,
    limit_chars bigint NOT NULL,
    version     bigint NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, part, label)
) WITH (fillfactor = 80);

CREATE TABLE sid.block_versions (
    tenant      uuid NOT NULL,
    block       uuid NOT NULL,
    version     bigint NOT NULL,
    edit        text NOT NULL,
    value_after text NOT NULL,
    provenance  text NOT NULL,
    source_conv uuid,
    source_user uuid,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, block, version)
);
CREATE INDEX block_versions_by_conversation ON sid.block_versions (tenant, source_conv) WHERE source_conv IS NOT NULL;

-- `access`: 0 read, 1 write.
CREATE TABLE sid.block_links (
    tenant      uuid NOT NULL,
    agent_id    uuid NOT NULL,
    block       uuid NOT NULL,
    access      smallint NOT NULL,
    PRIMARY KEY (tenant, agent_id, block)
);
CREATE INDEX block_links_by_block ON sid.block_links (tenant, block);

-- Embedding generations: names of models, no tenant's data. Every record up to `done_to` has its vectors. `barrier_rid` was the last
-- number drawn when `barrier_xid` was the next transaction: once all older transactions are over, no record below it can still come.
CREATE TABLE sid.generations (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    dimensions  int,
    done_to     bigint NOT NULL DEFAULT -1,
    settled     bigint NOT NULL DEFAULT -1,
    barrier_rid bigint NOT NULL DEFAULT -1,
    barrier_xid xid8
);

-- One row per chunk, f32 little endian; a record that cannot be embedded has one row with an empty vector. `change` is drawn like `rid`.
CREATE TABLE sid.vectors (
    tenant      uuid NOT NULL,
    part        bigint NOT NULL,
    generation  int NOT NULL,
    rid         bigint NOT NULL,
    chunk       int NOT NULL,
    change      bigint NOT NULL,
    first_byte  bigint NOT NULL,
    end_byte    bigint NOT NULL,
    vector      bytea NOT NULL,
    PRIMARY KEY (tenant, part, generation, rid, chunk)
);
CREATE INDEX vectors_by_change ON sid.vectors (tenant, part, generation, change);
ALTER TABLE sid.vectors ALTER COLUMN vector SET STORAGE EXTERNAL;

-- Where words stand in the older records of large partitions: a row lists the records of one stretch that have the word, newest last.
-- `token` is a hash of the stem. Only btree and `bigint`: row-level security keeps GIN's operators from being used as index conditions.
CREATE TABLE sid.postings (
    tenant      uuid NOT NULL,
    part        bigint NOT NULL,
    token       bigint NOT NULL,
    last_rid    bigint NOT NULL,
    rids        bigint[] NOT NULL,
    PRIMARY KEY (tenant, part, token, last_rid)
);

-- What other systems (a vector index, webhooks) must hear of, written with the change itself. Filled only when the store is told to.
CREATE TABLE sid.outbox (
    tenant      uuid NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    topic       text NOT NULL,
    part        bigint,
    subject     uuid NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX outbox_in_order ON sid.outbox (id);
