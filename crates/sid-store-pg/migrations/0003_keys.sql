-- Sid on Postgres, schema 3: what a key may do. Keys from before have the usual role of who they stand for (null), and all that it may do.

ALTER TABLE sid.api_keys ADD COLUMN agent_id uuid, ADD COLUMN access text, ADD COLUMN scopes text;

-- A key may stand for an agent: it must be there.
CREATE POLICY of_engine ON sid.agents FOR SELECT TO sid_engine USING (true);
GRANT SELECT ON sid.agents TO sid_engine;

-- `sid.put_key` of schema 1, which servers of schema 2 go on calling, with what the key may do.
CREATE FUNCTION sid.put_key(p_id uuid, p_hash text, p_name text, p_role text, p_tenant uuid, p_user uuid, p_agent uuid, p_access text,
    p_scopes text, p_created timestamptz, p_expires timestamptz, p_revoked timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (p_tenant IS NOT NULL AND NOT EXISTS (SELECT FROM sid.tenants t WHERE t.id = p_tenant))
        OR (p_user IS NOT NULL AND NOT EXISTS (SELECT FROM sid.users u WHERE u.tenant = p_tenant AND u.id = p_user))
        OR (p_agent IS NOT NULL AND NOT EXISTS (SELECT FROM sid.agents g WHERE g.tenant = p_tenant AND g.id = p_agent)) THEN
        RETURN false;
    END IF;
    INSERT INTO sid.api_keys (id, hash, name, role, tenant, user_id, agent_id, access, scopes, created_at, expires_at, revoked_at)
    VALUES (p_id, p_hash, p_name, p_role, p_tenant, p_user, p_agent, p_access, p_scopes, p_created, p_expires, p_revoked)
    ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, name = excluded.name, role = excluded.role, tenant = excluded.tenant,
        user_id = excluded.user_id, agent_id = excluded.agent_id, access = excluded.access, scopes = excluded.scopes,
        created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at;
    RETURN true;
END $$;

-- One key by its hash, or those of a tenant, or all.
CREATE FUNCTION sid.known_keys(p_hash text, p_tenant uuid) RETURNS TABLE (o_id uuid, o_name text, o_role text, o_hash text,
    o_created timestamptz, o_expires timestamptz, o_revoked timestamptz, o_access text, o_scopes text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.id, k.name, k.role, k.hash, k.created_at, k.expires_at, k.revoked_at, k.access, k.scopes FROM sid.api_keys k
    WHERE (p_hash IS NULL OR k.hash = p_hash) AND (p_tenant IS NULL OR k.tenant = p_tenant) ORDER BY k.created_at, k.id
$$;

-- As servers of schema 2 call it. They would let a key do all that its owner may: those that may do less, they do not find.
CREATE OR REPLACE FUNCTION sid.find_keys(p_hash text, p_tenant uuid)
RETURNS TABLE (o_id uuid, o_name text, o_role text, o_hash text, o_created timestamptz, o_expires timestamptz, o_revoked timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.id, k.name, k.role, k.hash, k.created_at, k.expires_at, k.revoked_at FROM sid.api_keys k
    WHERE (p_hash IS NULL OR k.hash = p_hash) AND (p_tenant IS NULL OR k.tenant = p_tenant)
    AND k.agent_id IS NULL AND k.scopes IS NULL AND (k.access IS NULL OR k.access = CASE WHEN k.user_id IS NULL THEN 'owner' ELSE 'member' END)
    ORDER BY k.created_at, k.id
$$;

-- Lets a key end at a time, or when it does already if that is sooner; revokes it, unless it is.
CREATE FUNCTION sid.end_key(p_id uuid, p_expires timestamptz, p_revoked timestamptz) RETURNS TABLE (o_id uuid, o_name text, o_role text,
    o_hash text, o_created timestamptz, o_expires timestamptz, o_revoked timestamptz, o_access text, o_scopes text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE sid.api_keys k SET expires_at = least(k.expires_at, p_expires), revoked_at = coalesce(k.revoked_at, p_revoked) WHERE k.id = p_id
    RETURNING k.id, k.name, k.role, k.hash, k.created_at, k.expires_at, k.revoked_at, k.access, k.scopes
$$;

-- Keys of an agent of the tenant that was entered.
CREATE FUNCTION sid.forget_agent_keys(p_agent uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM sid.api_keys k WHERE k.tenant = nullif(current_setting('sid.tenant', true), '')::uuid AND k.agent_id = p_agent
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOREACH f IN ARRAY ARRAY[
        'sid.put_key(uuid, text, text, text, uuid, uuid, uuid, text, text, timestamptz, timestamptz, timestamptz)',
        'sid.known_keys(text, uuid)', 'sid.end_key(uuid, timestamptz, timestamptz)', 'sid.forget_agent_keys(uuid)',
        'sid.record_audit(uuid[], timestamptz[], uuid[], uuid[], uuid[], text[], uuid[], text[], int[], text[])',
        'sid.forget_audit(text, bigint)', 'sid.overdue(text, bigint)', 'sid.forget_names(uuid)'
    ]::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
