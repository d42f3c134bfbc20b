-- Sid on Postgres, schema 2: events by day, so that old ones go as whole tables.
--
-- A run's id begins with the time it was made at (UUIDv7), so a range of ids is a day: all events of a run lie in one part, also those that are
-- written after midnight, and a look by run goes to that part alone. Parts live in a schema of their own that belongs to `sid_engine`, as
-- the table does: whoever makes and drops parts must own them. Servers reach events through `sid.events` only.
--
-- What schema 1 left becomes one part more, where it is: nothing is copied. From the lock on until the end of this transaction nobody reads or
-- writes events; that is the time in which Postgres reads the old parts once, to see that no id lies beyond the bound (about a second for
-- a few million events). So these are the last statements of the step.

DO $$
BEGIN
    -- Whoever hands a table or a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
END $$;
CREATE SCHEMA sid_events AUTHORIZATION sid_engine;

-- The smallest id of a run that is made at the beginning of this day, in UTC, or later.
CREATE FUNCTION sid.first_run(p_day date) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM p_day::timestamp) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

-- Makes the part of one day, unless it is there.
CREATE FUNCTION sid.make_event_day(p_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    v_name text := 'day_' || to_char(p_day, 'YYYYMMDD');
BEGIN
    IF to_regclass('sid_events.' || v_name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE sid_events.%I (LIKE sid.events INCLUDING ALL)', v_name);
    EXECUTE format('ALTER TABLE sid_events.%I ENABLE ROW LEVEL SECURITY', v_name);
    EXECUTE format('ALTER TABLE sid_events.%I FORCE ROW LEVEL SECURITY', v_name);
    -- Attached and not made as a part: so those who read and write other parts go on meanwhile.
    EXECUTE format('ALTER TABLE sid.events ATTACH PARTITION sid_events.%I FOR VALUES FROM (%L) TO (%L)', v_name, sid.first_run(p_day),
        sid.first_run(p_day + 1));
EXCEPTION
    -- Somebody else makes it; somebody holds what is to be locked; or nobody made it in time and its events are in `rest`, from where they
    -- go by their age. Its events have a place in each case.
    WHEN duplicate_table OR unique_violation OR lock_not_available OR check_violation THEN
        RETURN;
END $$;

-- One piece of what is to be done now and then; answers whether there is more. Parts are made for days ahead. Parts go whose runs were all made
-- longer than `p_keep_us` ago and are over. Events outside of them go by their age, idempotency keys after their day, tokens of a month when the
-- month after it is over, and reservations that have expired.
CREATE FUNCTION sid.maintain(p_now text, p_keep_us bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
    v_today date := (v_now AT TIME ZONE 'UTC')::date;
    v_keep timestamptz := v_now - p_keep_us * interval '1 microsecond';
    v_part record;
    v_gone bigint;
    v_keys bigint;
    v_tokens bigint;
BEGIN
    FOR v_part IN
        -- Days that what schema 1 left covers have their part.
        SELECT x.day::date AS day FROM generate_series(v_today::timestamp, v_today + interval '7 days', interval '1 day') AS x(day)
        WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'sid.events'::regclass AND c.relname LIKE 'until\_%' AND x.day < to_date(right(c.relname, 8), 'YYYYMMDD'))
    LOOP
        PERFORM sid.make_event_day(v_part.day);
    END LOOP;

    -- `over`: the first day whose runs are not in the part.
    FOR v_part IN
        SELECT x.relname, x.over FROM (
            SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD') + CASE WHEN c.relname LIKE 'day\_%' THEN 1 ELSE 0 END AS over
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'sid.events'::regclass AND c.relname ~ '^(day|until)_[0-9]{8}$') x
        WHERE x.over <= (v_keep AT TIME ZONE 'UTC')::date
        AND NOT EXISTS (SELECT FROM sid.conversations c WHERE c.head_no IS NOT NULL AND c.head < sid.first_run(x.over))
        ORDER BY x.over LIMIT 1
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE sid_events.%I', v_part.relname);
            RETURN true;
        EXCEPTION WHEN lock_not_available THEN
            -- The next round tries again; nobody waits behind this one meanwhile.
            NULL;
        END;
    END LOOP;

    DELETE FROM sid_events.rest e WHERE e.ctid = ANY (ARRAY(SELECT x.ctid FROM sid_events.rest x WHERE x.at <= v_keep LIMIT 5000));
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    DELETE FROM sid.idempotency i USING (
        SELECT k.tenant, k.principal, k.key FROM sid.tenants t CROSS JOIN LATERAL (
            SELECT x.tenant, x.principal, x.key FROM sid.idempotency x
            WHERE x.tenant = t.id AND x.at <= v_now - interval '24 hours' LIMIT 5000) k LIMIT 5000) old
    WHERE i.tenant = old.tenant AND i.principal = old.principal AND i.key = old.key;
    GET DIAGNOSTICS v_keys = ROW_COUNT;
    DELETE FROM sid.token_ledger l WHERE l.ctid = ANY (ARRAY(SELECT x.ctid FROM sid.token_ledger x
        WHERE x.day < (date_trunc('month', v_today) - interval '1 month')::date LIMIT 5000));
    GET DIAGNOSTICS v_tokens = ROW_COUNT;
    DELETE FROM sid.token_reservations r WHERE r.expires_at <= v_now;
    RETURN v_gone > 0 OR v_keys > 0 OR v_tokens > 0;
END $$;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['idempotency', 'token_ledger', 'token_reservations'] LOOP
        EXECUTE format('CREATE POLICY of_engine ON sid.%I TO sid_engine USING (true)', t);
        EXECUTE format('GRANT SELECT, DELETE ON sid.%I TO sid_engine', t);
    END LOOP;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'sid' AND p.proname IN ('first_run', 'make_event_day', 'maintain') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app, sid_engine', f);
        IF (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = f) THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
        END IF;
    END LOOP;
    -- A day by name is nobody's wish but the engine's.
    REVOKE EXECUTE ON FUNCTION sid.make_event_day(date) FROM sid_app;
END $$;

LOCK TABLE sid.events IN ACCESS EXCLUSIVE MODE;
-- The owner is bound by row-level security, too: it would see no events, and take the table for empty.
ALTER TABLE sid.events NO FORCE ROW LEVEL SECURITY;
DROP POLICY of_tenant ON sid.events;
REVOKE ALL ON sid.events FROM sid_app;
ALTER TABLE sid.events RENAME TO events_before;
ALTER INDEX sid.events_pkey RENAME TO events_before_pkey;

CREATE TABLE sid.events (
    tenant      uuid NOT NULL,
    run         uuid NOT NULL,
    seq         bigint NOT NULL,
    at          timestamptz NOT NULL,
    kind        text NOT NULL,
    body        text NOT NULL,
    PRIMARY KEY (tenant, run, seq)
) PARTITION BY RANGE (run);
-- For ids without a time, and for days that nobody made a part for.
CREATE TABLE sid_events.rest PARTITION OF sid.events DEFAULT;

DO $$
DECLARE
    -- Servers whose clock goes wrong by a day still write ids below it.
    v_until date := (clock_timestamp() AT TIME ZONE 'UTC')::date + 2;
    v_name text := 'until_' || to_char(v_until, 'YYYYMMDD');
    v_attach text := format('ALTER TABLE sid.events ATTACH PARTITION sid.events_before FOR VALUES FROM (MINVALUE) TO (%L)', sid.first_run(v_until));
    t regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM sid.events_before) THEN
        DROP TABLE sid.events_before;
        RETURN;
    END IF;
    BEGIN
        EXECUTE v_attach;
    EXCEPTION WHEN check_violation THEN
        -- Ids that were not made of the time.
        WITH moved AS (DELETE FROM sid.events_before b WHERE b.run >= sid.first_run(v_until) RETURNING *)
        INSERT INTO sid.events SELECT * FROM moved;
        EXECUTE v_attach;
    END;
    ALTER TABLE sid.events_before FORCE ROW LEVEL SECURITY;
    FOR t IN SELECT i.inhrelid::regclass FROM pg_inherits i WHERE i.inhparent = 'sid.events_before'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET SCHEMA sid_events', t);
        EXECUTE format('ALTER TABLE %s OWNER TO sid_engine', t);
    END LOOP;
    ALTER TABLE sid.events_before SET SCHEMA sid_events;
    ALTER TABLE sid_events.events_before OWNER TO sid_engine;
    EXECUTE format('ALTER TABLE sid_events.events_before RENAME TO %I', v_name);
END $$;

ALTER TABLE sid.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.events FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.events TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.events TO sid_app;
ALTER TABLE sid_events.rest ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid_events.rest FORCE ROW LEVEL SECURITY;
CREATE POLICY of_engine ON sid_events.rest TO sid_engine USING (true);
ALTER TABLE sid_events.rest OWNER TO sid_engine;
ALTER TABLE sid.events OWNER TO sid_engine;
REVOKE CREATE ON SCHEMA sid FROM sid_engine;

-- The first days. Nothing is old enough to go.
SELECT sid.maintain(NULL, 3153600000000000);
