-- Sid on Postgres, schema 2: one tenant by its name, and plans that are kept.

CREATE FUNCTION sid.find_tenant(p_id uuid, p_name text) RETURNS TABLE (o_id uuid, o_name text, o_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.id, t.name, t.created_at FROM sid.tenants t WHERE t.id = p_id OR t.name = p_name LIMIT 1
$$;
REVOKE ALL ON FUNCTION sid.find_tenant(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid.find_tenant(uuid, text) TO sid_app;
DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    ALTER FUNCTION sid.find_tenant(uuid, text) OWNER TO sid_engine;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;

-- Messages lie in sixteen partitions, so that a plan for one of them always looks cheaper than a plan for any: Postgres would make a new one
-- for each call, which takes longer than the call itself.
ALTER FUNCTION sid.load(uuid, text, uuid, uuid) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION sid.peek(uuid, text, uuid, uuid, uuid[], bytea, text, boolean) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION sid.write(uuid, text, jsonb) SET plan_cache_mode = force_generic_plan;
