-- Sid on Postgres, schema 2: what tenants may use up, and what they have.

-- Where the operator has set something. Reached by functions alone.
CREATE TABLE sid.tenant_limits (
    tenant      uuid PRIMARY KEY,
    limits      text NOT NULL
);

-- Requests that all servers together were asked for. Reached by functions alone.
CREATE TABLE sid.request_counts (
    tenant      uuid PRIMARY KEY,
    requests    bigint NOT NULL
) WITH (fillfactor = 50);

-- Tokens of the steps of each day (UTC): written with the step. In 16 rows a day, so that the steps of a tenant seldom wait for each
-- other. Steps from before schema 2 are not in it.
CREATE TABLE sid.token_ledger (
    tenant      uuid NOT NULL,
    day         date NOT NULL,
    slot        smallint NOT NULL,
    tokens      bigint NOT NULL,
    PRIMARY KEY (tenant, day, slot)
) WITH (fillfactor = 50);

-- Tokens that a run has reserved for the step that is under way.
CREATE TABLE sid.token_reservations (
    tenant      uuid NOT NULL,
    run         uuid NOT NULL,
    tokens      bigint NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, run)
) WITH (fillfactor = 50);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['tenant_limits', 'request_counts', 'token_ledger', 'token_reservations'] LOOP
        EXECUTE format('ALTER TABLE sid.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sid.%I FORCE ROW LEVEL SECURITY', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['token_ledger', 'token_reservations'] LOOP
        EXECUTE format('CREATE POLICY of_tenant ON sid.%I TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant())', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sid.%I TO sid_app', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['tenant_limits', 'request_counts'] LOOP
        EXECUTE format('CREATE POLICY of_engine ON sid.%I TO sid_engine USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON sid.%I TO sid_engine', t);
    END LOOP;
END $$;

-- What a tenant has used, and what its other runs have reserved: one snapshot. The tenant was entered.
CREATE FUNCTION sid.tokens_used(p_tenant uuid, p_run uuid, OUT day bigint, OUT month bigint, OUT reserved bigint)
LANGUAGE sql VOLATILE AS $$
    WITH today AS (SELECT (sid.now() AT TIME ZONE 'UTC')::date AS d, sid.now() AS at)
    SELECT
        (SELECT coalesce(sum(l.tokens), 0)::bigint FROM sid.token_ledger l WHERE l.tenant = p_tenant AND l.day = today.d),
        (SELECT coalesce(sum(l.tokens), 0)::bigint FROM sid.token_ledger l WHERE l.tenant = p_tenant
            AND l.day >= date_trunc('month', today.d)::date AND l.day < (date_trunc('month', today.d) + interval '1 month')::date),
        (SELECT coalesce(sum(r.tokens), 0)::bigint FROM sid.token_reservations r WHERE r.tenant = p_tenant AND r.run IS DISTINCT FROM p_run
            AND r.expires_at > today.at)
    FROM today
$$;

CREATE FUNCTION sid.token_use(p_tenant uuid, p_now text, OUT day bigint, OUT month bigint, OUT reserved bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    SELECT u.day, u.month, u.reserved INTO day, month, reserved FROM sid.tokens_used(p_tenant, NULL) u;
END $$;

-- Reserves tokens for a run's next step in place of what it had, unless a limit (0 = none) is reached. `p_tokens` null: only gives back.
CREATE FUNCTION sid.reserve_tokens(p_tenant uuid, p_now text, p_run uuid, p_tokens bigint, p_ttl_us bigint, p_day bigint, p_month bigint,
    OUT granted boolean, OUT day bigint, OUT month bigint, OUT reserved bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    IF p_tokens IS NULL THEN
        DELETE FROM sid.token_reservations r WHERE r.tenant = p_tenant AND r.run = p_run;
        RETURN;
    END IF;
    -- One after the other inside a tenant: what is looked at next is what the one before has left. `rsrv` in ASCII keeps it apart from
    -- other locks.
    PERFORM pg_advisory_xact_lock(hashtextextended(p_tenant::text, 1920168566));
    SELECT u.day, u.month, u.reserved INTO day, month, reserved FROM sid.tokens_used(p_tenant, p_run) u;
    granted := (p_day = 0 OR day + reserved < p_day) AND (p_month = 0 OR month + reserved < p_month);
    DELETE FROM sid.token_reservations r WHERE r.tenant = p_tenant AND (r.expires_at <= sid.now() OR r.run = p_run);
    IF granted THEN
        INSERT INTO sid.token_reservations (tenant, run, tokens, expires_at)
        VALUES (p_tenant, p_run, p_tokens, sid.now() + p_ttl_us * interval '1 microsecond');
    END IF;
END $$;

-- A step was recorded: its tokens are used, and reserved no more. In the transaction of the step, so that the ledger is their sum.
CREATE FUNCTION sid.settle_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_usage json := NEW.doc::json->'usage';
    v_tokens bigint := coalesce((v_usage->>'prompt_tokens')::bigint, 0) + coalesce((v_usage->>'completion_tokens')::bigint, 0);
BEGIN
    INSERT INTO sid.token_ledger AS l (tenant, day, slot, tokens)
    VALUES (NEW.tenant, (sid.now() AT TIME ZONE 'UTC')::date, get_byte(uuid_send(NEW.run), 15) & 15, v_tokens)
    ON CONFLICT (tenant, day, slot) DO UPDATE SET tokens = l.tokens + excluded.tokens;
    DELETE FROM sid.token_reservations r WHERE r.tenant = NEW.tenant AND r.run = NEW.run;
    RETURN NULL;
END $$;
CREATE TRIGGER settle_tokens AFTER INSERT ON sid.steps FOR EACH ROW EXECUTE FUNCTION sid.settle_tokens();

CREATE FUNCTION sid.tenant_limits(p_tenant uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT l.limits FROM sid.tenant_limits l WHERE l.tenant = p_tenant
$$;

-- Answers false when the tenant is not there.
CREATE FUNCTION sid.set_tenant_limits(p_tenant uuid, p_limits text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM sid.tenants t WHERE t.id = p_tenant) THEN
        RETURN false;
    END IF;
    INSERT INTO sid.tenant_limits (tenant, limits) VALUES (p_tenant, p_limits)
    ON CONFLICT (tenant) DO UPDATE SET limits = excluded.limits;
    RETURN true;
END $$;

-- Counts requests; answers how many there were in all. In the order of tenants, so that two servers never wait for each other.
CREATE FUNCTION sid.add_requests(p_tenants uuid[], p_requests bigint[]) RETURNS TABLE (o_tenant uuid, o_requests bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO sid.request_counts AS c (tenant, requests)
    SELECT x.tenant, x.requests FROM unnest(p_tenants, p_requests) AS x(tenant, requests) ORDER BY x.tenant
    ON CONFLICT (tenant) DO UPDATE SET requests = c.requests + excluded.requests
    RETURNING c.tenant, c.requests
$$;

-- `sid.claim` of schema 1, which servers of that schema go on calling, with a limit of the leases that a worker may hold of one tenant.
CREATE FUNCTION sid.claim(p_now text, p_worker uuid, p_want int, p_per_tenant int, p_ttl_us bigint, p_after uuid)
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
        SELECT x.tenant, x.id, x.head_no, h.held + row_number() OVER (PARTITION BY x.tenant ORDER BY x.head_no) AS turn,
            h.own + row_number() OVER (PARTITION BY x.tenant ORDER BY x.head_no) AS own_turn
        FROM candidates x JOIN (
            SELECT turns.tenant, l.held, l.own FROM turns CROSS JOIN LATERAL (
                SELECT count(*) AS held, count(*) FILTER (WHERE c.holder = p_worker) AS own FROM sid.conversations c
                WHERE c.tenant = turns.tenant AND c.head_no IS NOT NULL AND c.expires_at > v_now) l) h ON h.tenant = x.tenant
    ), taken AS (
        SELECT c.tenant, c.id FROM ranked JOIN sid.conversations c ON c.tenant = ranked.tenant AND c.id = ranked.id
        WHERE c.head_no IS NOT NULL AND (c.expires_at IS NULL OR c.expires_at <= v_now) AND ranked.own_turn <= p_per_tenant
        ORDER BY ranked.turn, ranked.head_no LIMIT p_want FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE sid.conversations c SET epoch = c.epoch + 1, holder = p_worker, ttl_us = p_ttl_us, rev = c.rev + 1,
        expires_at = v_now + p_ttl_us * interval '1 microsecond'
    FROM taken WHERE c.tenant = taken.tenant AND c.id = taken.id
    -- The status may be older than the head: only "running" can be relied on.
    RETURNING c.tenant, c.id, c.agent_id, c.user_id, c.head, (SELECT r.status FROM sid.runs r WHERE r.tenant = c.tenant AND r.id = c.head),
        c.epoch, c.expires_at;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOREACH f IN ARRAY ARRAY[
        'sid.tokens_used(uuid, uuid)', 'sid.token_use(uuid, text)', 'sid.settle_tokens()',
        'sid.reserve_tokens(uuid, text, uuid, bigint, bigint, bigint, bigint)', 'sid.tenant_limits(uuid)', 'sid.set_tenant_limits(uuid, text)',
        'sid.add_requests(uuid[], bigint[])', 'sid.claim(text, uuid, int, int, bigint, uuid)'
    ]::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        IF (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = f) THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
        END IF;
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
