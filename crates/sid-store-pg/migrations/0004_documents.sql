-- Sid on Postgres, schema 4: documents.

-- `owner_kind`, `a` and `b` as in `partitions`; `of_user`: the user whose it is, for a user's and a pair's. `waits_since`: NULL unless its
-- newest bytes are to be read. The bytes lie apart (TOAST), as they came: most formats are compressed.
CREATE TABLE sid.documents (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    owner_kind  smallint NOT NULL CHECK (owner_kind BETWEEN 0 AND 4),
    a           uuid NOT NULL,
    b           uuid NOT NULL,
    of_user     uuid,
    source_conv uuid,
    digest      text NOT NULL,
    waits_since timestamptz,
    held_until  timestamptz,
    attempts    int NOT NULL,
    version     bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    doc         text NOT NULL,
    content     bytea NOT NULL,
    PRIMARY KEY (tenant, id)
);
ALTER TABLE sid.documents ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX documents_by_age ON sid.documents (tenant, created_at, id);
CREATE INDEX documents_by_owner ON sid.documents (tenant, owner_kind, a, b, digest);
CREATE INDEX documents_by_user ON sid.documents (tenant, of_user) WHERE of_user IS NOT NULL;
CREATE INDEX documents_by_source ON sid.documents (tenant, source_conv) WHERE source_conv IS NOT NULL;
CREATE INDEX documents_unread ON sid.documents (waits_since) WHERE waits_since IS NOT NULL;
ALTER TABLE sid.documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.documents FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.documents TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
CREATE POLICY of_engine ON sid.documents TO sid_engine USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.documents TO sid_app;
GRANT SELECT, UPDATE ON sid.documents TO sid_engine;

-- Takes documents that wait to be read and keeps others from them for a while. Of the thousand that wait longest tenants take turns.
CREATE FUNCTION sid.take_documents(p_now text, p_want int, p_hold_us bigint)
RETURNS TABLE (o_tenant uuid, o_doc text, o_attempts int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
    v_until timestamptz := v_now + p_hold_us * interval '1 microsecond';
BEGIN
    -- Asked mostly in vain: looking takes no lock.
    IF p_want > 0 AND EXISTS (SELECT FROM sid.documents d WHERE d.waits_since IS NOT NULL) THEN
        RETURN QUERY
        WITH free AS MATERIALIZED (
            SELECT d.tenant, d.id, d.waits_since FROM sid.documents d
            WHERE d.waits_since IS NOT NULL AND (d.held_until IS NULL OR d.held_until <= v_now) ORDER BY d.waits_since, d.id LIMIT 1000),
        turns AS (SELECT f.*, row_number() OVER (PARTITION BY f.tenant ORDER BY f.waits_since, f.id) AS turn FROM free f),
        -- Locked one after the other in the order of the turns; what somebody else takes at this moment is passed over.
        mine AS MATERIALIZED (
            SELECT x.tenant, x.id, x.doc, u.turn, u.waits_since FROM turns u JOIN sid.documents x ON x.tenant = u.tenant AND x.id = u.id
            WHERE x.waits_since IS NOT NULL AND (x.held_until IS NULL OR x.held_until <= v_now)
            ORDER BY u.turn, u.waits_since, u.id LIMIT p_want FOR UPDATE OF x SKIP LOCKED),
        held AS (UPDATE sid.documents x SET held_until = v_until, attempts = x.attempts + 1 FROM mine m
            WHERE x.tenant = m.tenant AND x.id = m.id RETURNING x.tenant, x.id, x.attempts)
        SELECT m.tenant, m.doc, h.attempts FROM mine m JOIN held h ON h.tenant = m.tenant AND h.id = m.id
        ORDER BY m.turn, m.waits_since, m.id;
    END IF;
END $$;

-- Whoever erases, a server of schema 3 as well: documents go with whose they are, and with the conversation that they were brought in.
-- Their parts go as passages, which those servers do know.
CREATE FUNCTION sid.documents_of_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        DELETE FROM sid.documents d WHERE d.tenant = OLD.tenant AND d.of_user = OLD.id;
    ELSIF TG_TABLE_NAME = 'agents' THEN
        DELETE FROM sid.documents d WHERE d.tenant = OLD.tenant AND d.owner_kind IN (3, 4) AND d.a = OLD.id;
    ELSE
        DELETE FROM sid.documents d WHERE d.tenant = OLD.tenant AND d.source_conv = OLD.id;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION sid.documents_of_gone() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid.documents_of_gone() TO sid_app;

DO $$
BEGIN
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    REVOKE ALL ON FUNCTION sid.take_documents(text, int, bigint) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION sid.take_documents(text, int, bigint) TO sid_app;
    ALTER FUNCTION sid.take_documents(text, int, bigint) OWNER TO sid_engine;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;

CREATE TRIGGER documents_of_gone AFTER DELETE ON sid.users FOR EACH ROW EXECUTE FUNCTION sid.documents_of_gone();
CREATE TRIGGER documents_of_gone AFTER DELETE ON sid.agents FOR EACH ROW EXECUTE FUNCTION sid.documents_of_gone();
CREATE TRIGGER documents_of_gone AFTER DELETE ON sid.conversations FOR EACH ROW EXECUTE FUNCTION sid.documents_of_gone();
