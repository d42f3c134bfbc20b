-- Sid on Postgres, schema 4: timers, and what is due.

CREATE TABLE sid.timers (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    agent_id    uuid NOT NULL,
    user_id     uuid,
    conv        uuid,
    -- NULL unless it is active.
    next_due    timestamptz,
    -- Somebody answers what is due of it until then.
    held_until  timestamptz,
    is_done     boolean NOT NULL,
    version     bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    doc         text NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX timers_by_due ON sid.timers (next_due) WHERE next_due IS NOT NULL;
CREATE INDEX timers_by_owner ON sid.timers (tenant, agent_id, user_id);
CREATE INDEX timers_by_user ON sid.timers (tenant, user_id);
CREATE INDEX timers_by_conversation ON sid.timers (tenant, conv) WHERE conv IS NOT NULL;
ALTER TABLE sid.timers ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.timers FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.timers TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
CREATE POLICY of_engine ON sid.timers TO sid_engine USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.timers TO sid_app;
GRANT SELECT, UPDATE ON sid.timers TO sid_engine;

-- Takes timers that are due and keeps others from them for a while. Of the oldest thousand that are due tenants take turns. The last row has
-- no timer: it tells the time, and when to look again.
CREATE FUNCTION sid.take_timers(p_now text, p_want int, p_hold_us bigint)
RETURNS TABLE (o_tenant uuid, o_doc text, o_now timestamptz, o_next timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
    v_until timestamptz := v_now + p_hold_us * interval '1 microsecond';
    v_next timestamptz;
BEGIN
    -- Asked mostly in vain: looking takes no lock.
    IF p_want > 0 AND EXISTS (SELECT FROM sid.timers t WHERE t.next_due <= v_now) THEN
        RETURN QUERY
        WITH due AS MATERIALIZED (
            SELECT t.tenant, t.id, t.next_due FROM sid.timers t
            WHERE t.next_due <= v_now AND (t.held_until IS NULL OR t.held_until <= v_now) ORDER BY t.next_due, t.id LIMIT 1000),
        turns AS (SELECT d.*, row_number() OVER (PARTITION BY d.tenant ORDER BY d.next_due, d.id) AS turn FROM due d),
        -- Locked one after the other in the order of the turns; what somebody else takes at this moment is passed over.
        mine AS MATERIALIZED (
            SELECT x.tenant, x.id, x.doc, u.turn, u.next_due FROM turns u JOIN sid.timers x ON x.tenant = u.tenant AND x.id = u.id
            WHERE x.next_due <= v_now AND (x.held_until IS NULL OR x.held_until <= v_now)
            ORDER BY u.turn, u.next_due, u.id LIMIT p_want FOR UPDATE OF x SKIP LOCKED),
        held AS (UPDATE sid.timers x SET held_until = v_until FROM mine m WHERE x.tenant = m.tenant AND x.id = m.id RETURNING x.id)
        SELECT m.tenant, m.doc, v_now, NULL::timestamptz FROM mine m JOIN held h ON h.id = m.id ORDER BY m.turn, m.next_due, m.id;
    END IF;
    SELECT min(y.at) INTO v_next FROM (
        SELECT min(t.next_due) AS at FROM sid.timers t WHERE t.next_due > v_now
        UNION ALL SELECT min(greatest(t.next_due, t.held_until)) FROM sid.timers t WHERE t.next_due <= v_now) y;
    RETURN QUERY SELECT NULL::uuid, NULL::text, v_now, v_next;
END $$;

-- What wakes nobody, or nobody's conversation, goes: whoever erases, a server of schema 3 as well.
CREATE FUNCTION sid.timers_of_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        DELETE FROM sid.timers t WHERE t.tenant = OLD.tenant AND t.user_id = OLD.id;
    ELSIF TG_TABLE_NAME = 'agents' THEN
        DELETE FROM sid.timers t WHERE t.tenant = OLD.tenant AND t.agent_id = OLD.id;
    ELSE
        DELETE FROM sid.timers t WHERE t.tenant = OLD.tenant AND t.conv = OLD.id;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION sid.timers_of_gone() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid.timers_of_gone() TO sid_app;

DO $$
BEGIN
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    REVOKE ALL ON FUNCTION sid.take_timers(text, int, bigint) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION sid.take_timers(text, int, bigint) TO sid_app;
    ALTER FUNCTION sid.take_timers(text, int, bigint) OWNER TO sid_engine;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;

CREATE TRIGGER timers_of_gone AFTER DELETE ON sid.users FOR EACH ROW EXECUTE FUNCTION sid.timers_of_gone();
CREATE TRIGGER timers_of_gone AFTER DELETE ON sid.agents FOR EACH ROW EXECUTE FUNCTION sid.timers_of_gone();
CREATE TRIGGER timers_of_gone AFTER DELETE ON sid.conversations FOR EACH ROW EXECUTE FUNCTION sid.timers_of_gone();
