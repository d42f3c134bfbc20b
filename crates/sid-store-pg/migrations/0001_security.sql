-- Sid on Postgres, schema 1: roles and row-level security.
--
-- `sid_app` is what servers connect as (or are members of): no owner, no BYPASSRLS, bound by the policies below. `sid_engine` owns the few
-- functions that span tenants and can do nothing but what they do: it cannot log in, and its privileges are those that they need.
-- Both are roles of the cluster: a second database of Sid finds them there.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sid_app') THEN
        CREATE ROLE sid_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sid_engine') THEN
        CREATE ROLE sid_engine NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- Another database is being migrated at the same moment.
END $$;

-- A missing setting reads as null before its first use in a session, and as an empty string ever after.
CREATE FUNCTION sid.tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('sid.tenant', true), '')::uuid
$$;

-- The store's clock: the database's. `sid.now` is set by test suites that own the time, and by nobody else.
CREATE FUNCTION sid.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(nullif(current_setting('sid.now', true), '')::timestamptz, clock_timestamp())
$$;

-- Enters a tenant for the rest of the transaction. Nobody waits for a lock for ever; who has set a limit keeps it.
CREATE FUNCTION sid.enter(p_tenant uuid, p_now text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('sid.tenant', p_tenant::text, true), set_config('sid.now', coalesce(p_now, ''), true);
    IF current_setting('lock_timeout') = '0' THEN
        PERFORM set_config('lock_timeout', '2s', true);
    END IF;
END $$;

GRANT USAGE ON SCHEMA sid TO sid_app, sid_engine;
GRANT SELECT ON sid.schema_version, sid.generations TO sid_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA sid TO sid_app;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'users', 'teams', 'team_members', 'agents', 'agent_teams', 'partitions', 'conversations', 'conversation_heads', 'runs', 'steps',
        'events', 'idempotency', 'message_ids', 'messages', 'quotes', 'passages', 'diary', 'diary_dirty', 'removals', 'blocks',
        'block_versions', 'block_links', 'vectors', 'postings', 'outbox'
    ] LOOP
        EXECUTE format('ALTER TABLE sid.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sid.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_tenant ON sid.%I TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant())', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sid.%I TO sid_app', t);
    END LOOP;
    -- Reached through the tables that they are parts of, or by functions, never directly.
    FOR t IN SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'sid' AND c.relispartition
             AND c.relkind = 'r' UNION ALL SELECT 'api_keys' UNION ALL SELECT 'tenants' LOOP
        EXECUTE format('ALTER TABLE sid.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sid.%I FORCE ROW LEVEL SECURITY', t);
    END LOOP;
    -- What the engine's functions look at, across tenants.
    FOREACH t IN ARRAY ARRAY[
        'users', 'partitions', 'conversations', 'runs', 'messages', 'passages', 'diary', 'diary_dirty', 'vectors', 'tenants', 'api_keys', 'outbox'
    ] LOOP
        EXECUTE format('CREATE POLICY of_engine ON sid.%I TO sid_engine USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT ON sid.%I TO sid_engine', t);
    END LOOP;
END $$;

-- A tenant may see that it is there.
CREATE POLICY of_tenant ON sid.tenants FOR SELECT TO sid_app USING (id = sid.tenant());
GRANT SELECT ON sid.tenants TO sid_app;

GRANT UPDATE ON sid.conversations TO sid_engine;
GRANT INSERT ON sid.tenants TO sid_engine;
GRANT INSERT, UPDATE, DELETE ON sid.api_keys TO sid_engine;
GRANT SELECT, INSERT, UPDATE ON sid.generations TO sid_engine;
GRANT SELECT ON sid.rids TO sid_engine;
GRANT DELETE ON sid.outbox TO sid_engine;
