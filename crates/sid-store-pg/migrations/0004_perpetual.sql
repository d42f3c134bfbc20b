-- Sid on Postgres, schema 4: whose turn it is, what agents begin by themselves, quiet hours, diary pages that are made again.

-- `turn`: microseconds of the Unix time at which it is the run's turn. Runs from before have none, and theirs is their number: it is smaller.
ALTER TABLE sid.runs ADD COLUMN priority smallint NOT NULL DEFAULT 0, ADD COLUMN turn bigint;
ALTER TABLE sid.users ADD COLUMN quiet_hours text;
-- `tries` > 0: not due before `touched_at`. Servers of schema 3 try at once.
ALTER TABLE sid.diary_dirty ADD COLUMN tries int NOT NULL DEFAULT 0;

-- Runs that nobody asked for at that moment, and tokens of their steps, by hours (UTC). Kept for two days.
CREATE TABLE sid.self_begun (
    tenant      uuid NOT NULL,
    hour        timestamptz NOT NULL,
    agent_id    uuid NOT NULL,
    runs        bigint NOT NULL,
    tokens      bigint NOT NULL,
    PRIMARY KEY (tenant, hour, agent_id)
) WITH (fillfactor = 50);
ALTER TABLE sid.self_begun ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.self_begun FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.self_begun TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.self_begun TO sid_app;

-- Counts what the agent of a conversation has begun by itself. The tenant was entered.
CREATE FUNCTION sid.add_self_begun(p_tenant uuid, p_conv uuid, p_runs bigint, p_tokens bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sid.self_begun s WHERE s.tenant = p_tenant AND s.hour < sid.now() - interval '2 days';
    INSERT INTO sid.self_begun AS s (tenant, hour, agent_id, runs, tokens)
    SELECT p_tenant, date_trunc('hour', sid.now(), 'UTC'), c.agent_id, p_runs, p_tokens FROM sid.conversations c
    WHERE c.tenant = p_tenant AND c.id = p_conv
    ON CONFLICT (tenant, hour, agent_id) DO UPDATE SET runs = s.runs + excluded.runs, tokens = s.tokens + excluded.tokens;
END $$;

-- What an agent and its tenant have begun by themselves: in this hour, and in this day (UTC).
CREATE FUNCTION sid.self_begun_use(p_tenant uuid, p_now text, p_agent uuid, OUT o_now timestamptz, OUT agent_hour bigint, OUT agent_runs bigint,
    OUT agent_tokens bigint, OUT tenant_hour bigint, OUT tenant_runs bigint, OUT tenant_tokens bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    SELECT sid.now(), sum(s.runs) FILTER (WHERE s.agent_id = p_agent AND s.hour = date_trunc('hour', sid.now(), 'UTC')),
        sum(s.runs) FILTER (WHERE s.agent_id = p_agent), sum(s.tokens) FILTER (WHERE s.agent_id = p_agent),
        sum(s.runs) FILTER (WHERE s.hour = date_trunc('hour', sid.now(), 'UTC')), sum(s.runs), sum(s.tokens)
    INTO o_now, agent_hour, agent_runs, agent_tokens, tenant_hour, tenant_runs, tenant_tokens
    FROM sid.self_begun s WHERE s.tenant = p_tenant AND s.hour >= date_trunc('day', sid.now(), 'UTC');
END $$;

-- As before, but the runs that wait are told in the order of their turns.
CREATE OR REPLACE FUNCTION sid.peek(p_tenant uuid, p_now text, p_conv uuid, p_run uuid, p_ids uuid[], p_principal bytea, p_key text, p_lock boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_conv uuid := p_conv;
    v_out json;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    IF v_conv IS NULL THEN
        SELECT r.conv INTO v_conv FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = p_run;
    END IF;
    IF p_lock THEN
        PERFORM 1 FROM sid.conversations c WHERE c.tenant = p_tenant AND c.id = v_conv FOR UPDATE;
    END IF;
    SELECT json_build_object(
        'now', sid.now(),
        'conv', (SELECT row_to_json(x) FROM (
            SELECT c.*, u.timezone AS zone, p.has_met FROM sid.conversations c
            JOIN sid.partitions p ON p.tenant = c.tenant AND p.part = c.part
            LEFT JOIN sid.users u ON u.tenant = c.tenant AND u.id = c.user_id
            WHERE c.tenant = p_tenant AND c.id = v_conv) x),
        'head', (SELECT row_to_json(r) FROM sid.conversations c JOIN sid.runs r ON r.tenant = c.tenant AND r.id = c.head
            WHERE c.tenant = p_tenant AND c.id = v_conv),
        'queue', (SELECT json_agg(q) FROM (SELECT r.* FROM sid.conversations c JOIN sid.runs r ON r.tenant = c.tenant AND r.conv = c.id
            AND r.status = 0 AND r.id <> c.head WHERE c.tenant = p_tenant AND c.id = v_conv
            ORDER BY coalesce(r.turn, r.number), r.number LIMIT 4) q),
        'depth', (SELECT count(*) FROM sid.runs r WHERE r.tenant = p_tenant AND r.conv = v_conv AND r.status = 0),
        'run', (SELECT row_to_json(r) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = p_run),
        'known', (SELECT json_agg(k.id) FROM sid.message_ids k WHERE k.tenant = p_tenant AND k.id = ANY (p_ids)),
        'used', (SELECT json_build_object('fingerprint', encode(i.fingerprint, 'hex'), 'run', (
                SELECT row_to_json(r) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = i.run))
            FROM sid.idempotency i WHERE i.tenant = p_tenant AND i.principal = p_principal AND i.key = p_key
                AND i.at > sid.now() - interval '24 hours')
    ) INTO v_out;
    RETURN v_out::text;
END $$;

-- As before, but of the runs that wait the one with the earliest turn is the head, and work is found by the head's turn: `head_no`. What a server of
-- schema 3 says of it is its number, and not read. What agents begin by themselves is counted.
CREATE OR REPLACE FUNCTION sid.write(p_tenant uuid, p_now text, p jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_conv uuid := (p->'conv'->>'id')::uuid;
    v_part bigint := (p->'conv'->>'part')::bigint;
    v_at timestamptz := (p->>'at')::timestamptz;
    v_number bigint;
    v_turn bigint;
    v_head uuid := (p->'conv'->>'head')::uuid;
    v_forget timestamptz;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    PERFORM 1 FROM sid.conversations c WHERE c.tenant = p_tenant AND c.id = v_conv AND c.rev = (p->'conv'->>'rev')::bigint FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p ? 'new_run' THEN
        -- Drawn under the lock: numbers grow in the order of the queue.
        v_number := nextval('sid.run_numbers');
        INSERT INTO sid.runs (tenant, id, number, conv, status, limits, usage, stimulus, waiting, created_at, started_at, priority, turn)
        SELECT p_tenant, r.id, v_number, v_conv, r.status, r.limits, r.usage, r.stimulus, r.waiting, v_at, CASE WHEN r.status = 1 THEN v_at END,
            coalesce(r.priority, 0),
            -- Never before one of the same priority that waits already, whatever the clock does.
            greatest((extract(epoch FROM v_at) * 1000000)::bigint + coalesce(r.patience_us, 0), (SELECT max(coalesce(o.turn, o.number)) FROM sid.runs o
                WHERE o.tenant = p_tenant AND o.conv = v_conv AND o.status = 0 AND o.priority = coalesce(r.priority, 0)))
        FROM jsonb_to_record(p->'new_run') AS r(id uuid, status smallint, limits text, usage text, stimulus uuid[], waiting text,
            priority smallint, patience_us bigint)
        RETURNING turn INTO v_turn;
        -- A head that waits as well, and whose turn is later, gives its place up.
        SELECT (p->'new_run'->>'id')::uuid INTO v_head FROM sid.conversations c JOIN sid.runs h ON h.tenant = c.tenant AND h.id = c.head
        WHERE c.tenant = p_tenant AND c.id = v_conv AND c.holder IS NULL AND h.status = 0 AND coalesce(h.turn, h.number) > v_turn
            AND c.head = v_head;
        v_head := coalesce(v_head, (p->'conv'->>'head')::uuid);
        IF coalesce((p->'new_run'->>'priority')::smallint, 0) > 0 THEN
            PERFORM sid.add_self_begun(p_tenant, v_conv, 1, 0);
        END IF;
    END IF;
    UPDATE sid.conversations c SET
        rev = c.rev + 1,
        last_seq = x.last_seq,
        queue_start = x.queue_start,
        last_at = x.last_at,
        head = v_head,
        -- The turn of the head: what work is found by.
        head_no = CASE WHEN v_head IS NULL THEN NULL WHEN v_head = c.head THEN c.head_no
            ELSE (SELECT coalesce(r.turn, r.number) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = v_head) END,
        epoch = CASE WHEN x.lease THEN x.epoch ELSE c.epoch END,
        holder = CASE WHEN x.lease THEN x.holder ELSE c.holder END,
        expires_at = CASE WHEN x.lease THEN x.expires_at ELSE c.expires_at END,
        ttl_us = CASE WHEN x.lease THEN x.ttl_us ELSE c.ttl_us END
    FROM jsonb_to_record(p->'conv') AS x(last_seq bigint, queue_start bigint, last_at timestamptz, lease boolean,
        epoch bigint, holder uuid, expires_at timestamptz, ttl_us bigint)
    WHERE c.tenant = p_tenant AND c.id = v_conv;
    IF p ? 'used' THEN
        v_forget := sid.now() - interval '24 hours';
        DELETE FROM sid.idempotency i WHERE i.tenant = p_tenant AND i.at <= v_forget;
        INSERT INTO sid.idempotency (tenant, principal, key, fingerprint, run, at)
        SELECT p_tenant, decode(u.principal, 'hex'), u.key, decode(u.fingerprint, 'hex'), u.run, v_at
        FROM jsonb_to_record(p->'used') AS u(principal text, key text, fingerprint text, run uuid);
    END IF;
    IF p ? 'cancel' THEN
        UPDATE sid.runs r SET cancel = true WHERE r.tenant = p_tenant AND r.id = (p->>'cancel')::uuid AND r.status < 2;
    END IF;
    IF p ? 'runs' THEN
        UPDATE sid.runs r SET status = x.status, stop_reason = x.stop_reason, error = x.error, steps = x.steps, usage = x.usage,
            commits = x.commits, commit_epoch = x.commit_epoch, calls = x.calls, events = x.events, started_at = x.started_at,
            ended_at = x.ended_at, waiting = NULL
        FROM jsonb_to_recordset(p->'runs') AS x(id uuid, status smallint, stop_reason text, error text, steps int, usage text, commits bigint,
            commit_epoch bigint, calls text, events bigint, started_at timestamptz, ended_at timestamptz)
        WHERE r.tenant = p_tenant AND r.id = x.id;
    END IF;
    IF p ? 'ids' THEN
        INSERT INTO sid.message_ids (tenant, id, part, conv, seq)
        SELECT p_tenant, x.id, v_part, v_conv, x.seq FROM jsonb_to_recordset(p->'ids') AS x(id uuid, seq bigint);
    END IF;
    IF p ? 'placed' THEN
        UPDATE sid.message_ids k SET seq = x.seq FROM jsonb_to_recordset(p->'placed') AS x(id uuid, seq bigint)
        WHERE k.tenant = p_tenant AND k.id = x.id;
    END IF;
    IF p ? 'messages' THEN
        PERFORM sid.place(p_tenant, v_part, v_conv, v_at, p->'messages');
    END IF;
    IF p ? 'quotes' THEN
        INSERT INTO sid.quotes (tenant, quoted, quoting)
        SELECT p_tenant, x.quoted, x.quoting FROM jsonb_to_recordset(p->'quotes') AS x(quoted uuid, quoting uuid) ON CONFLICT DO NOTHING;
    END IF;
    IF p ? 'days' THEN
        INSERT INTO sid.diary_dirty AS d (tenant, part, level, start, ends, touched_at)
        SELECT p_tenant, v_part, 0, x::date, x::date + 1, v_at FROM jsonb_array_elements_text(p->'days') AS x
        ON CONFLICT (tenant, part, level, start) DO UPDATE SET touched_at = greatest(d.touched_at, excluded.touched_at);
    END IF;
    IF p ? 'steps' THEN
        INSERT INTO sid.steps (tenant, run, number, doc, tail, recalled)
        SELECT p_tenant, x.run, x.number, x.doc, x.tail, x.recalled
        FROM jsonb_to_recordset(p->'steps') AS x(run uuid, number int, doc text, tail text, recalled text)
        ON CONFLICT (tenant, run, number) DO UPDATE SET doc = excluded.doc, tail = excluded.tail, recalled = excluded.recalled;
    END IF;
    IF p ? 'self_begun_tokens' THEN
        PERFORM sid.add_self_begun(p_tenant, v_conv, 0, (p->>'self_begun_tokens')::bigint);
    END IF;
    IF p ? 'events' THEN
        INSERT INTO sid.events (tenant, run, seq, at, kind, body)
        SELECT p_tenant, x.run, x.seq, v_at, x.kind, x.body
        FROM jsonb_to_recordset(p->'events') AS x(run uuid, seq bigint, kind text, body text);
    END IF;
    IF p ? 'summary' THEN
        UPDATE sid.conversation_heads h SET summary = p->>'summary' WHERE h.tenant = p_tenant AND h.conv = v_conv;
    END IF;
    IF p ? 'prefix' THEN
        UPDATE sid.conversation_heads h SET prefix = p->>'prefix' WHERE h.tenant = p_tenant AND h.conv = v_conv;
    END IF;
    IF p ? 'outbox' THEN
        INSERT INTO sid.outbox (tenant, topic, part, subject, at)
        SELECT p_tenant, x.topic, v_part, x.subject, v_at FROM jsonb_to_recordset(p->'outbox') AS x(topic text, subject uuid);
    END IF;
    RETURN true;
END $$;
-- A function that is replaced loses what was set for it.
ALTER FUNCTION sid.peek(uuid, text, uuid, uuid, uuid[], bytea, text, boolean) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION sid.write(uuid, text, jsonb) SET plan_cache_mode = force_generic_plan;

-- `sid.diary_due` of schema 1, which servers of schema 3 go on calling, without what is not to be tried again yet.
CREATE FUNCTION sid.diary_to_write(p_now timestamptz, p_level smallint, p_below smallint, p_last date, p_latest date, p_start date, p_part bigint, p_limit bigint)
RETURNS TABLE (o_start date, o_part bigint, o_ends date, o_tenant uuid, o_kind smallint, o_a uuid, o_b uuid, o_zone text, o_below date[], o_tries int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.start, d.part, d.ends, d.tenant, o.kind, o.a, o.b, u.timezone,
        (SELECT array_agg(x.ends) FROM sid.diary_dirty x WHERE x.tenant = d.tenant AND x.part = d.part AND x.level = p_below
            AND x.start >= d.start AND x.start < d.ends AND (x.tries = 0 OR x.touched_at <= p_now)), d.tries
    FROM sid.diary_dirty d JOIN sid.partitions o ON o.tenant = d.tenant AND o.part = d.part
    LEFT JOIN sid.users u ON u.tenant = d.tenant AND u.id = CASE o.kind WHEN 4 THEN o.b WHEN 2 THEN o.a END
    WHERE d.level = p_level AND d.start <= p_last AND d.ends <= p_latest AND (d.start, d.part) > (p_start, p_part)
        AND (d.tries = 0 OR d.touched_at <= p_now)
    ORDER BY d.start, d.part LIMIT p_limit
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOREACH f IN ARRAY ARRAY[
        'sid.add_self_begun(uuid, uuid, bigint, bigint)', 'sid.self_begun_use(uuid, text, uuid)',
        'sid.diary_to_write(timestamptz, smallint, smallint, date, date, date, bigint, bigint)'
    ]::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        IF (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = f) THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
        END IF;
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;

-- As before, in the order of the heads' turns; of two with the same the one that was accepted first.
CREATE OR REPLACE FUNCTION sid.claim(p_now text, p_worker uuid, p_want int, p_per_tenant int, p_ttl_us bigint, p_after uuid)
RETURNS TABLE (o_tenant uuid, o_conv uuid, o_agent uuid, o_user uuid, o_run uuid, o_status smallint, o_epoch bigint, o_expires timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
BEGIN
    RETURN QUERY
    WITH RECURSIVE oldest AS (
        SELECT c.tenant, c.id, c.head, c.head_no FROM sid.conversations c
        WHERE c.head_no IS NOT NULL AND (c.expires_at IS NULL OR c.expires_at <= v_now) ORDER BY c.head_no LIMIT p_want * 4 + 32
    ), later (tenant, n) AS (
        SELECT (SELECT c.tenant FROM sid.conversations c WHERE c.head_no IS NOT NULL AND c.tenant > p_after ORDER BY c.tenant LIMIT 1), 1
        UNION ALL
        SELECT (SELECT c.tenant FROM sid.conversations c WHERE c.head_no IS NOT NULL AND c.tenant > later.tenant ORDER BY c.tenant LIMIT 1), n + 1
        FROM later WHERE later.tenant IS NOT NULL AND n < 64
    ), earlier (tenant, n) AS (
        SELECT (SELECT c.tenant FROM sid.conversations c WHERE c.head_no IS NOT NULL ORDER BY c.tenant LIMIT 1), (SELECT max(n) FROM later)
        UNION ALL
        SELECT (SELECT c.tenant FROM sid.conversations c WHERE c.head_no IS NOT NULL AND c.tenant > earlier.tenant ORDER BY c.tenant LIMIT 1), n + 1
        FROM earlier WHERE earlier.tenant IS NOT NULL AND n < 64
    ), turns AS (
        SELECT later.tenant FROM later UNION SELECT earlier.tenant FROM earlier UNION SELECT oldest.tenant FROM oldest
    ), candidates AS (
        SELECT oldest.tenant, oldest.id, oldest.head, oldest.head_no FROM oldest
        UNION
        SELECT w.tenant, w.id, w.head, w.head_no FROM turns CROSS JOIN LATERAL (
            SELECT c.tenant, c.id, c.head, c.head_no FROM sid.conversations c WHERE c.tenant = turns.tenant AND c.head_no IS NOT NULL
            -- Of runs with the same turn the one that was accepted first is found below.
            AND (c.expires_at IS NULL OR c.expires_at <= v_now) ORDER BY c.head_no FETCH FIRST p_want ROWS WITH TIES) w
    ), ranked AS (
        SELECT x.tenant, x.id, x.head_no, r.number, h.held + row_number() OVER (PARTITION BY x.tenant ORDER BY x.head_no, r.number) AS turn,
            h.own + row_number() OVER (PARTITION BY x.tenant ORDER BY x.head_no, r.number) AS own_turn
        FROM candidates x JOIN sid.runs r ON r.tenant = x.tenant AND r.id = x.head JOIN (
            SELECT turns.tenant, l.held, l.own FROM turns CROSS JOIN LATERAL (
                SELECT count(*) AS held, count(*) FILTER (WHERE c.holder = p_worker) AS own FROM sid.conversations c
                WHERE c.tenant = turns.tenant AND c.head_no IS NOT NULL AND c.expires_at > v_now) l) h ON h.tenant = x.tenant
    ), taken AS (
        SELECT c.tenant, c.id FROM ranked JOIN sid.conversations c ON c.tenant = ranked.tenant AND c.id = ranked.id
        WHERE c.head_no IS NOT NULL AND (c.expires_at IS NULL OR c.expires_at <= v_now) AND ranked.own_turn <= p_per_tenant
        ORDER BY ranked.turn, ranked.head_no, ranked.number LIMIT p_want FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE sid.conversations c SET epoch = c.epoch + 1, holder = p_worker, ttl_us = p_ttl_us, rev = c.rev + 1,
        expires_at = v_now + p_ttl_us * interval '1 microsecond'
    FROM taken WHERE c.tenant = taken.tenant AND c.id = taken.id
    -- The status may be older than the head: only "running" can be relied on.
    RETURNING c.tenant, c.id, c.agent_id, c.user_id, c.head, (SELECT r.status FROM sid.runs r WHERE r.tenant = c.tenant AND r.id = c.head),
        c.epoch, c.expires_at;
END $$;
