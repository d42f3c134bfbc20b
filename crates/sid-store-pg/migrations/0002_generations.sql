-- Sid on Postgres, schema 2: which embedding generation is searched, and the change to the next one.

ALTER TABLE sid.generations ADD COLUMN active boolean NOT NULL DEFAULT false;
-- At most one: of two who activate at once one fails.
CREATE UNIQUE INDEX generations_active ON sid.generations (active) WHERE active;
GRANT DELETE ON sid.generations, sid.vectors TO sid_engine;

-- Makes one generation the active one if the other is; answers whether it did.
CREATE FUNCTION sid.activate_generation(p_from text, p_to text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_active text;
BEGIN
    SELECT g.name INTO v_active FROM sid.generations g WHERE g.active FOR UPDATE;
    IF v_active IS DISTINCT FROM p_from THEN
        RETURN false;
    END IF;
    INSERT INTO sid.generations (name) VALUES (p_to) ON CONFLICT (name) DO NOTHING;
    -- Only the one that was looked at and is locked: what somebody else activates meanwhile is met by the index of active ones.
    UPDATE sid.generations g SET active = false WHERE g.active AND g.name = p_from AND g.name <> p_to;
    UPDATE sid.generations g SET active = true WHERE g.name = p_to AND NOT g.active;
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END $$;

-- How many records have vectors in a generation, and how many wait for them.
CREATE FUNCTION sid.generation_status(p_name text, OUT o_records bigint, OUT o_pending bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_generation int := -1;
    v_done bigint := -1;
BEGIN
    SELECT g.id, g.done_to INTO v_generation, v_done FROM sid.generations g WHERE g.name = p_name;
    v_generation := coalesce(v_generation, -1);
    v_done := coalesce(v_done, -1);
    SELECT coalesce(sum(p.records), 0) INTO o_records FROM sid.partitions p;
    SELECT (SELECT count(*) FROM sid.messages m WHERE m.rid > v_done AND NOT EXISTS (
            SELECT FROM sid.vectors v WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = v_generation AND v.rid = m.rid))
        + (SELECT count(*) FROM sid.passages m WHERE m.rid > v_done AND NOT EXISTS (
            SELECT FROM sid.vectors v WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = v_generation AND v.rid = m.rid))
        + (SELECT count(*) FROM sid.diary m WHERE m.rid > v_done AND NOT EXISTS (
            SELECT FROM sid.vectors v WHERE v.tenant = m.tenant AND v.part = m.part AND v.generation = v_generation AND v.rid = m.rid))
    INTO o_pending;
END $$;

-- Drops a piece of a generation's vectors, and at last the generation; answers whether there is more, null for the active one. What was
-- dropped is no longer done: should the generation come back, it is made from the beginning. The first piece takes it from whoever feeds
-- an index outside these tables: only a generation whose dimensions are known is fed.
CREATE FUNCTION sid.drop_generation(p_name text, p_most bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g sid.generations;
    v_gone bigint;
BEGIN
    SELECT * INTO g FROM sid.generations x WHERE x.name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF g.active THEN
        RETURN NULL;
    END IF;
    IF g.dimensions IS NOT NULL THEN
        UPDATE sid.generations x SET dimensions = NULL, done_to = -1, settled = -1, barrier_rid = -1, barrier_xid = NULL WHERE x.id = g.id;
        DELETE FROM sid.index_marks m WHERE m.generation = g.id;
        RETURN true;
    END IF;
    DELETE FROM sid.vectors v USING (
        SELECT x.tenant, x.part, x.rid, x.chunk FROM sid.partitions p CROSS JOIN LATERAL (
            SELECT y.tenant, y.part, y.rid, y.chunk FROM sid.vectors y
            WHERE y.tenant = p.tenant AND y.part = p.part AND y.generation = g.id LIMIT p_most) x LIMIT p_most) old
    WHERE v.tenant = old.tenant AND v.part = old.part AND v.generation = g.id AND v.rid = old.rid AND v.chunk = old.chunk;
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    IF v_gone > 0 THEN
        RETURN true;
    END IF;
    DELETE FROM sid.generations x WHERE x.id = g.id;
    RETURN false;
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
        WHERE n.nspname = 'sid' AND p.proname IN ('activate_generation', 'generation_status', 'drop_generation') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
