-- Sid on Postgres, schema 2: duties, and leases that are renewed together with the question whether their runs were asked to stop.

-- Which worker does what is to be done once. Names of work, no tenant's data; reached through the functions only.
CREATE TABLE sid.duties (
    name        text PRIMARY KEY,
    worker      uuid NOT NULL,
    expires_at  timestamptz NOT NULL
);
ALTER TABLE sid.duties ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.duties FORCE ROW LEVEL SECURITY;
CREATE POLICY of_engine ON sid.duties TO sid_engine USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.duties TO sid_engine;

-- Takes a duty that nobody holds, or prolongs one's own; answers whether the worker holds it.
CREATE FUNCTION sid.take_duty(p_now text, p_name text, p_worker uuid, p_ttl_us bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
BEGIN
    -- Asked mostly in vain: looking takes no lock.
    IF EXISTS (SELECT FROM sid.duties d WHERE d.name = p_name AND d.worker <> p_worker AND d.expires_at > v_now) THEN
        RETURN false;
    END IF;
    INSERT INTO sid.duties AS d (name, worker, expires_at) VALUES (p_name, p_worker, v_now + p_ttl_us * interval '1 microsecond')
    ON CONFLICT (name) DO UPDATE SET worker = excluded.worker, expires_at = excluded.expires_at
        WHERE d.worker = excluded.worker OR d.expires_at <= v_now;
    RETURN FOUND;
END $$;

CREATE FUNCTION sid.leave_duty(p_name text, p_worker uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM sid.duties d WHERE d.name = p_name AND d.worker = p_worker
$$;

-- Prolongs leases that still hold. Servers of schema 1 read the columns that they know.
DROP FUNCTION sid.renew(text, bigint, uuid[], uuid[], uuid[], bigint[]);
CREATE FUNCTION sid.renew(p_now text, p_ttl_us bigint, p_tenants uuid[], p_convs uuid[], p_runs uuid[], p_epochs bigint[])
RETURNS TABLE (o_conv uuid, o_expires timestamptz, o_epoch bigint, o_cancel boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
BEGIN
    RETURN QUERY
    UPDATE sid.conversations c SET expires_at = v_now + p_ttl_us * interval '1 microsecond', ttl_us = p_ttl_us
    FROM unnest(p_tenants, p_convs, p_runs, p_epochs) AS x(tenant, conv, run, epoch)
    JOIN sid.runs r ON r.tenant = x.tenant AND r.id = x.run
    WHERE c.tenant = x.tenant AND c.id = x.conv AND c.epoch = x.epoch AND c.holder IS NOT NULL AND c.head = x.run
    RETURNING c.id, c.expires_at, c.epoch, r.cancel;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'sid' AND p.proname IN ('take_duty', 'leave_duty', 'renew') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
