-- Sid on Postgres, schema 1: what spans tenants. Each function does one thing, with the rights of `sid_engine`.

-- Takes up to `p_want` conversations that have work and no living lease. Tenants take turns, the one with the fewest leases first; inside a
-- tenant the oldest work comes first. `p_after`: the tenant at which the look at single tenants begins, so that each gets its chance.
CREATE FUNCTION sid.claim(p_now text, p_worker uuid, p_want int, p_ttl_us bigint, p_after uuid)
RETURNS TABLE (o_tenant uuid, o_conv uuid, o_agent uuid, o_user uuid, o_run uuid, o_status smallint, o_epoch bigint, o_expires timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
BEGIN
    RETURN QUERY
    WITH RECURSIVE oldest AS (
        SELECT c.tenant, c.id, c.head_no FROM sid.conversations c
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
        SELECT oldest.tenant, oldest.id, oldest.head_no FROM oldest
        UNION
        SELECT w.tenant, w.id, w.head_no FROM turns CROSS JOIN LATERAL (
            SELECT c.tenant, c.id, c.head_no FROM sid.conversations c WHERE c.tenant = turns.tenant AND c.head_no IS NOT NULL
            AND (c.expires_at IS NULL OR c.expires_at <= v_now) ORDER BY c.head_no LIMIT p_want) w
    ), ranked AS (
        SELECT x.tenant, x.id, x.head_no, h.held + row_number() OVER (PARTITION BY x.tenant ORDER BY x.head_no) AS turn
        FROM candidates x JOIN (
            SELECT turns.tenant, (SELECT count(*) FROM sid.conversations c WHERE c.tenant = turns.tenant AND c.head_no IS NOT NULL
                AND c.expires_at > v_now) AS held FROM turns) h ON h.tenant = x.tenant
    ), taken AS (
        SELECT c.tenant, c.id FROM ranked JOIN sid.conversations c ON c.tenant = ranked.tenant AND c.id = ranked.id
        WHERE c.head_no IS NOT NULL AND (c.expires_at IS NULL OR c.expires_at <= v_now)
        ORDER BY ranked.turn, ranked.head_no LIMIT p_want FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE sid.conversations c SET epoch = c.epoch + 1, holder = p_worker, ttl_us = p_ttl_us, rev = c.rev + 1,
        expires_at = v_now + p_ttl_us * interval '1 microsecond'
    FROM taken WHERE c.tenant = taken.tenant AND c.id = taken.id
    -- The status may be older than the head: only "running" can be relied on.
    RETURNING c.tenant, c.id, c.agent_id, c.user_id, c.head, (SELECT r.status FROM sid.runs r WHERE r.tenant = c.tenant AND r.id = c.head),
        c.epoch, c.expires_at;
END $$;

-- Prolongs leases that still hold.
CREATE FUNCTION sid.renew(p_now text, p_ttl_us bigint, p_tenants uuid[], p_convs uuid[], p_runs uuid[], p_epochs bigint[])
RETURNS TABLE (o_conv uuid, o_expires timestamptz, o_epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
BEGIN
    RETURN QUERY
    UPDATE sid.conversations c SET expires_at = v_now + p_ttl_us * interval '1 microsecond', ttl_us = p_ttl_us
    FROM unnest(p_tenants, p_convs, p_runs, p_epochs) AS x(tenant, conv, run, epoch)
    WHERE c.tenant = x.tenant AND c.id = x.conv AND c.epoch = x.epoch AND c.holder IS NOT NULL AND c.head = x.run
    RETURNING c.id, c.expires_at, c.epoch;
END $$;

-- How many events each of these runs has: what a poller that follows many runs asks.
CREATE FUNCTION sid.progress(p_tenants uuid[], p_runs uuid[]) RETURNS TABLE (o_tenant uuid, o_run uuid, o_events bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.tenant, r.id, r.events FROM unnest(p_tenants, p_runs) AS x(tenant, run) JOIN sid.runs r ON r.tenant = x.tenant AND r.id = x.run
$$;

-- Records without vectors in a generation, oldest first.
CREATE FUNCTION sid.pending(p_generation text, p_limit bigint)
RETURNS TABLE (o_tenant uuid, o_kind smallint, o_a uuid, o_b uuid, o_record int, o_id uuid, o_speaker text, o_text text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_generation int := -1;
    v_done bigint := -1;
BEGIN
    SELECT g.id, g.done_to INTO v_generation, v_done FROM sid.generations g WHERE g.name = p_generation;
    v_generation := coalesce(v_generation, -1);
    v_done := coalesce(v_done, -1);
    RETURN QUERY
    SELECT w.tenant, p.kind, p.a, p.b, w.record, w.id, w.speaker, w.text FROM (
        (SELECT m.tenant, m.part, m.rid, 0 AS record, m.id, m.speaker, m.text FROM sid.messages m WHERE m.rid > v_done AND NOT EXISTS (
            SELECT FROM sid.vectors v WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = v_generation AND v.rid = m.rid)
            ORDER BY m.rid LIMIT p_limit)
        UNION ALL
        (SELECT m.tenant, m.part, m.rid, 1, m.id, NULL, m.text FROM sid.passages m WHERE m.rid > v_done AND NOT EXISTS (
            SELECT FROM sid.vectors v WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = v_generation AND v.rid = m.rid)
            ORDER BY m.rid LIMIT p_limit)
        UNION ALL
        (SELECT m.tenant, m.part, m.rid, 2, m.id, NULL, m.text FROM sid.diary m WHERE m.rid > v_done AND NOT EXISTS (
            SELECT FROM sid.vectors v WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = v_generation AND v.rid = m.rid)
            ORDER BY m.rid LIMIT p_limit)
    ) w JOIN sid.partitions p ON p.tenant = w.tenant AND p.part = w.part
    ORDER BY w.rid LIMIT p_limit;
END $$;

-- A generation by name, made if it is not there. The first vectors say how long all are.
CREATE FUNCTION sid.open_generation(p_name text, p_dimensions int, OUT o_id int, OUT o_dimensions int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT g.id, g.dimensions INTO o_id, o_dimensions FROM sid.generations g WHERE g.name = p_name;
    IF o_id IS NULL OR (o_dimensions IS NULL AND p_dimensions IS NOT NULL) THEN
        INSERT INTO sid.generations AS g (name, dimensions) VALUES (p_name, p_dimensions)
        ON CONFLICT (name) DO UPDATE SET dimensions = coalesce(g.dimensions, excluded.dimensions)
        RETURNING g.id, g.dimensions INTO o_id, o_dimensions;
    END IF;
END $$;

-- Moves a generation on to right before the first record that still waits, but never past a number that a transaction under way may
-- still bring.
CREATE FUNCTION sid.advance_generation(p_generation int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g sid.generations;
    v_first bigint;
    v_done bigint;
BEGIN
    SELECT * INTO g FROM sid.generations x WHERE x.id = p_generation FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF g.barrier_xid IS NOT NULL AND pg_snapshot_xmin(pg_current_snapshot()) >= g.barrier_xid THEN
        g.settled := g.barrier_rid;
        g.barrier_xid := NULL;
    END IF;
    SELECT least(
        (SELECT min(m.rid) FROM (SELECT m.rid FROM sid.messages m WHERE m.rid > g.done_to AND NOT EXISTS (SELECT FROM sid.vectors v
            WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = g.id AND v.rid = m.rid) ORDER BY m.rid LIMIT 1) m),
        (SELECT min(m.rid) FROM (SELECT m.rid FROM sid.passages m WHERE m.rid > g.done_to AND NOT EXISTS (SELECT FROM sid.vectors v
            WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = g.id AND v.rid = m.rid) ORDER BY m.rid LIMIT 1) m),
        (SELECT min(m.rid) FROM (SELECT m.rid FROM sid.diary m WHERE m.rid > g.done_to AND NOT EXISTS (SELECT FROM sid.vectors v
            WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = g.id AND v.rid = m.rid) ORDER BY m.rid LIMIT 1) m)
    ) INTO v_first;
    v_done := greatest(g.done_to, least(coalesce(v_first - 1, g.settled), g.settled));
    IF g.barrier_xid IS NULL THEN
        SELECT s.last_value * 4 + 3 FROM sid.rids s INTO g.barrier_rid;
        g.barrier_xid := pg_snapshot_xmax(pg_current_snapshot());
    END IF;
    UPDATE sid.generations x SET done_to = v_done, settled = g.settled, barrier_rid = g.barrier_rid, barrier_xid = g.barrier_xid
    WHERE x.id = p_generation;
END $$;

-- Marked periods of one level that may be over, after (`p_start`, `p_part`). `o_below`: ends of marked periods of the level below.
CREATE FUNCTION sid.diary_due(p_level smallint, p_below smallint, p_last date, p_latest date, p_start date, p_part bigint, p_limit bigint)
RETURNS TABLE (o_start date, o_part bigint, o_ends date, o_tenant uuid, o_kind smallint, o_a uuid, o_b uuid, o_zone text, o_below date[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.start, d.part, d.ends, d.tenant, o.kind, o.a, o.b, u.timezone,
        (SELECT array_agg(x.ends) FROM sid.diary_dirty x WHERE x.tenant = d.tenant AND x.part = d.part AND x.level = p_below
            AND x.start >= d.start AND x.start < d.ends)
    FROM sid.diary_dirty d JOIN sid.partitions o ON o.tenant = d.tenant AND o.part = d.part
    LEFT JOIN sid.users u ON u.tenant = d.tenant AND u.id = CASE o.kind WHEN 4 THEN o.b WHEN 2 THEN o.a END
    WHERE d.level = p_level AND d.start <= p_last AND d.ends <= p_latest AND (d.start, d.part) > (p_start, p_part)
    ORDER BY d.start, d.part LIMIT p_limit
$$;

-- Tenants and keys: the operator's side.
CREATE FUNCTION sid.make_tenant(p_id uuid, p_name text, p_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO sid.tenants (id, name, created_at) VALUES (p_id, p_name, p_at)
$$;

CREATE FUNCTION sid.all_tenants() RETURNS TABLE (o_id uuid, o_name text, o_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.id, t.name, t.created_at FROM sid.tenants t ORDER BY t.created_at, t.id
$$;

-- Answers false when the key's tenant or user is not there.
CREATE FUNCTION sid.put_key(p_id uuid, p_hash text, p_name text, p_role text, p_tenant uuid, p_user uuid, p_created timestamptz,
    p_expires timestamptz, p_revoked timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (p_tenant IS NOT NULL AND NOT EXISTS (SELECT FROM sid.tenants t WHERE t.id = p_tenant))
        OR (p_user IS NOT NULL AND NOT EXISTS (SELECT FROM sid.users u WHERE u.tenant = p_tenant AND u.id = p_user)) THEN
        RETURN false;
    END IF;
    INSERT INTO sid.api_keys (id, hash, name, role, tenant, user_id, created_at, expires_at, revoked_at)
    VALUES (p_id, p_hash, p_name, p_role, p_tenant, p_user, p_created, p_expires, p_revoked)
    ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, name = excluded.name, role = excluded.role, tenant = excluded.tenant,
        user_id = excluded.user_id, created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at;
    RETURN true;
END $$;

-- One key by its hash, or those of a tenant, or all.
CREATE FUNCTION sid.find_keys(p_hash text, p_tenant uuid)
RETURNS TABLE (o_id uuid, o_name text, o_role text, o_hash text, o_created timestamptz, o_expires timestamptz, o_revoked timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.id, k.name, k.role, k.hash, k.created_at, k.expires_at, k.revoked_at FROM sid.api_keys k
    WHERE (p_hash IS NULL OR k.hash = p_hash) AND (p_tenant IS NULL OR k.tenant = p_tenant) ORDER BY k.created_at, k.id
$$;

CREATE FUNCTION sid.revoke_key(p_id uuid, p_at timestamptz)
RETURNS TABLE (o_id uuid, o_name text, o_role text, o_hash text, o_created timestamptz, o_expires timestamptz, o_revoked timestamptz)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE sid.api_keys k SET revoked_at = coalesce(k.revoked_at, p_at) WHERE k.id = p_id
    RETURNING k.id, k.name, k.role, k.hash, k.created_at, k.expires_at, k.revoked_at
$$;

-- Keys of a user of the tenant that was entered.
CREATE FUNCTION sid.forget_keys(p_user uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM sid.api_keys k WHERE k.tenant = nullif(current_setting('sid.tenant', true), '')::uuid AND k.user_id = p_user
$$;

-- The oldest rows of the outbox. Whoever has dealt with them drops them, so none that was committed late is passed by.
CREATE FUNCTION sid.read_outbox(p_limit bigint)
RETURNS TABLE (o_id bigint, o_tenant uuid, o_topic text, o_part bigint, o_subject uuid, o_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.id, x.tenant, x.topic, x.part, x.subject, x.at FROM sid.outbox x ORDER BY x.id LIMIT p_limit
$$;

CREATE FUNCTION sid.drop_outbox(p_ids bigint[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM sid.outbox x WHERE x.id = ANY (p_ids) RETURNING 1) SELECT count(*) FROM gone
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'sid' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        IF (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = f) THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
        END IF;
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
