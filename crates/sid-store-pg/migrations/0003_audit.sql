-- Sid on Postgres, schema 3: the audit log. Servers read their tenant's; they add by a function, and change nothing.

CREATE TABLE sid.audit (
    tenant      uuid NOT NULL,
    entry       bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    key         uuid NOT NULL,
    user_id     uuid,
    agent_id    uuid,
    operation   text NOT NULL,
    subject     uuid,
    resource    text,
    status      int NOT NULL,
    request     text,
    PRIMARY KEY (tenant, entry)
);
CREATE INDEX audit_by_time ON sid.audit (tenant, at, entry);
CREATE INDEX audit_by_user ON sid.audit (tenant, user_id, at, entry) WHERE user_id IS NOT NULL;
CREATE INDEX audit_by_subject ON sid.audit (tenant, subject, at, entry) WHERE subject IS NOT NULL;

ALTER TABLE sid.audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.audit FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.audit FOR SELECT TO sid_app USING (tenant = sid.tenant());
GRANT SELECT ON sid.audit TO sid_app;
CREATE POLICY of_engine ON sid.audit TO sid_engine USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.audit TO sid_engine;

-- Adds entries, in this order, of tenants that are there.
CREATE FUNCTION sid.record_audit(p_tenants uuid[], p_ats timestamptz[], p_keys uuid[], p_users uuid[], p_agents uuid[], p_operations text[],
    p_subjects uuid[], p_resources text[], p_statuses int[], p_requests text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO sid.audit (tenant, at, key, user_id, agent_id, operation, subject, resource, status, request)
    SELECT x.tenant, x.at, x.key, x.user_id, x.agent_id, x.operation, x.subject, x.resource, x.status, x.request
    FROM unnest(p_tenants, p_ats, p_keys, p_users, p_agents, p_operations, p_subjects, p_resources, p_statuses, p_requests) WITH ORDINALITY
        AS x(tenant, at, key, user_id, agent_id, operation, subject, resource, status, request, n)
    WHERE EXISTS (SELECT FROM sid.tenants t WHERE t.id = x.tenant) ORDER BY x.n
$$;

-- Takes names out of the log that were an erased person's: the handle, and what the person has called things. Who did what with whose memory
-- stays, by ids.
CREATE FUNCTION sid.forget_names(p_user uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE sid.audit a SET resource = NULL
    WHERE a.tenant = nullif(current_setting('sid.tenant', true), '')::uuid AND (a.user_id = p_user OR a.subject = p_user)
        AND NOT (length(a.resource) = position('_' IN a.resource) + 26 AND split_part(a.resource, '_', 1)
            IN ('agent', 'blk', 'conv', 'item', 'key', 'psg', 'run', 'team', 'user'));
    UPDATE sid.audit a SET resource = NULL FROM sid.users u
    WHERE u.tenant = nullif(current_setting('sid.tenant', true), '')::uuid AND u.id = p_user AND a.tenant = u.tenant
        AND position('/@' || u.handle || '/' IN '/' || a.resource || '/') > 0
$$;

-- Drops some of what is older than it is kept; answers whether there is more.
CREATE FUNCTION sid.forget_audit(p_now text, p_keep_us bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_until timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp()) - p_keep_us * interval '1 microsecond';
    v_gone bigint;
BEGIN
    DELETE FROM sid.audit a USING (
        SELECT k.tenant, k.entry FROM sid.tenants t CROSS JOIN LATERAL (
            SELECT x.tenant, x.entry FROM sid.audit x WHERE x.tenant = t.id AND x.at <= v_until ORDER BY x.at LIMIT 5000) k LIMIT 5000) old
    WHERE a.tenant = old.tenant AND a.entry = old.entry;
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone > 0;
END $$;

-- Conversations in which nothing was said for longer than their tenants keep them, the longest silent first.
CREATE FUNCTION sid.overdue(p_now text, p_most bigint) RETURNS TABLE (tenant uuid, conv uuid, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.tenant, c.id, k.since FROM (
        SELECT l.tenant, coalesce(nullif(p_now, '')::timestamptz, clock_timestamp())
            - make_interval(days => least((l.limits::jsonb ->> 'keep_conversations_days')::bigint, 1000000)::int) AS since
        FROM sid.tenant_limits l WHERE (l.limits::jsonb ->> 'keep_conversations_days')::bigint > 0) k
    JOIN sid.conversations c ON c.tenant = k.tenant AND c.head IS NULL AND coalesce(c.last_at, c.created_at) < k.since
    ORDER BY coalesce(c.last_at, c.created_at), c.id LIMIT p_most
$$;
