-- Sid on Postgres, schema 4: calls that wait for somebody's word.

CREATE TABLE sid.approvals (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    conv        uuid NOT NULL,
    agent_id    uuid NOT NULL,
    user_id     uuid,
    state       text NOT NULL,
    asked_at    timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    doc         text NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX approvals_by_conversation ON sid.approvals (tenant, conv);
CREATE INDEX approvals_by_time ON sid.approvals (tenant, asked_at, id);
CREATE INDEX approvals_due ON sid.approvals (tenant, expires_at) WHERE state = 'pending';
ALTER TABLE sid.approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.approvals FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.approvals TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.approvals TO sid_app;
CREATE POLICY of_engine ON sid.approvals TO sid_engine USING (true) WITH CHECK (true);
GRANT SELECT ON sid.approvals TO sid_engine;

-- A server of schema 3 does not know of approvals: they go with their conversation, whoever erases it.
CREATE FUNCTION sid.approvals_of_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sid.approvals WHERE tenant = OLD.tenant AND conv = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER approvals_of_gone AFTER DELETE ON sid.conversations FOR EACH ROW EXECUTE FUNCTION sid.approvals_of_gone();

-- Questions that nobody has answered in time, the longest over first.
CREATE FUNCTION sid.expired_approvals(p_now text, p_most bigint) RETURNS TABLE (o_tenant uuid, o_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.tenant, k.id FROM sid.tenants t CROSS JOIN LATERAL (
        SELECT a.tenant, a.id, a.expires_at FROM sid.approvals a WHERE a.tenant = t.id AND a.state = 'pending'
            AND a.expires_at <= coalesce(nullif(p_now, '')::timestamptz, clock_timestamp()) ORDER BY a.expires_at LIMIT p_most) k
    ORDER BY k.expires_at, k.id LIMIT p_most
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOREACH f IN ARRAY ARRAY['sid.approvals_of_gone()', 'sid.expired_approvals(text, bigint)']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        IF (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = f) THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
        END IF;
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
