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
-- A function that is replaced loses what was set for it.
ALTER FUNCTION sid.peek(uuid, text, uuid, uuid, uuid[], bytea, text, boolean) SET plan_cache_mode = force_generic_plan;

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
        'sid.self_begun_use(uuid, text, uuid)',
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
