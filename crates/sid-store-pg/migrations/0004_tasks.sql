-- Sid on Postgres, schema 4: tasks. The document is the task; the other columns are what it is found by.

CREATE TABLE sid.tasks (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    agent_id    uuid NOT NULL,
    user_id     uuid,
    creator     uuid,
    parent      uuid,
    conv        uuid NOT NULL,
    report_to   uuid,
    state       text NOT NULL,
    run         uuid,
    is_gated    boolean NOT NULL,
    begins      boolean NOT NULL,
    due_at      timestamptz,
    created_at  timestamptz NOT NULL,
    version     bigint NOT NULL,
    doc         text NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 80);
CREATE INDEX tasks_by_age ON sid.tasks (tenant, created_at, id);
CREATE INDEX tasks_by_user ON sid.tasks (tenant, user_id, created_at) WHERE user_id IS NOT NULL;
CREATE INDEX tasks_by_agent ON sid.tasks (tenant, agent_id);
CREATE INDEX tasks_by_conversation ON sid.tasks (tenant, conv);
CREATE INDEX tasks_by_report ON sid.tasks (tenant, report_to) WHERE report_to IS NOT NULL;
CREATE INDEX tasks_by_parent ON sid.tasks (tenant, parent) WHERE parent IS NOT NULL;
CREATE INDEX tasks_due ON sid.tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_with_runs ON sid.tasks (tenant, run) WHERE run IS NOT NULL;
ALTER TABLE sid.tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.tasks TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
CREATE POLICY of_engine ON sid.tasks TO sid_engine USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.tasks TO sid_app;
GRANT SELECT ON sid.tasks TO sid_engine;

-- What something is to be done for, in all tenants: tenants take turns, the longest due comes first in each. Of those that would begin a
-- run no more than the tenant's living task runs leave of `p_per_tenant`.
CREATE FUNCTION sid.due_tasks(p_now text, p_most bigint, p_per_tenant bigint)
RETURNS TABLE (tenant uuid, id uuid, agent_id uuid, user_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH due AS (
        SELECT t.tenant, t.id, t.agent_id, t.user_id, t.due_at, t.begins,
            row_number() OVER (PARTITION BY t.tenant, t.begins ORDER BY t.due_at, t.id) AS place
        FROM sid.tasks t
        WHERE t.due_at <= coalesce(nullif(p_now, '')::timestamptz, clock_timestamp())
            AND NOT (t.is_gated AND EXISTS (SELECT 1 FROM sid.runs r WHERE r.tenant = t.tenant AND r.id = t.run AND r.status < 2))),
    living AS (
        SELECT o.tenant, count(*) AS runs FROM sid.tasks o JOIN sid.runs r ON r.tenant = o.tenant AND r.id = o.run AND r.status < 2
        WHERE o.run IS NOT NULL GROUP BY o.tenant)
    SELECT d.tenant, d.id, d.agent_id, d.user_id FROM due d LEFT JOIN living l ON l.tenant = d.tenant
    WHERE NOT d.begins OR d.place + coalesce(l.runs, 0) <= p_per_tenant
    ORDER BY d.place, d.due_at, d.id LIMIT p_most
$$;

-- Forgets tasks with all that they handed on; answers how many.
CREATE FUNCTION sid.drop_tasks(p_tenant uuid, p_tops uuid[]) RETURNS bigint LANGUAGE sql AS $$
    WITH RECURSIVE gone AS (
        SELECT t.id FROM sid.tasks t WHERE t.tenant = p_tenant AND t.id = ANY (p_tops)
        UNION SELECT b.id FROM gone g JOIN sid.tasks b ON b.tenant = p_tenant AND b.parent = g.id),
    dropped AS (DELETE FROM sid.tasks t USING gone g WHERE t.tenant = p_tenant AND t.id = g.id RETURNING 1)
    SELECT count(*) FROM dropped
$$;

-- Tasks of a user, of an agent, of a conversation: worked on there or reporting into it.
CREATE FUNCTION sid.tasks_of(p_tenant uuid, p_of text, p_id uuid) RETURNS uuid[] LANGUAGE sql STABLE AS $$
    SELECT CASE p_of
        WHEN 'users' THEN ARRAY(SELECT t.id FROM sid.tasks t WHERE t.tenant = p_tenant AND t.user_id = p_id)
        WHEN 'agents' THEN ARRAY(SELECT t.id FROM sid.tasks t WHERE t.tenant = p_tenant AND (t.agent_id = p_id OR t.creator = p_id))
        ELSE ARRAY(SELECT t.id FROM sid.tasks t WHERE t.tenant = p_tenant AND (t.conv = p_id OR t.report_to = p_id))
    END
$$;

-- Servers of schema 3 know nothing of tasks and erase all the same: what they leave goes by itself.
CREATE FUNCTION sid.tasks_of_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sid.drop_tasks(OLD.tenant, sid.tasks_of(OLD.tenant, TG_TABLE_NAME::text, OLD.id));
    RETURN NULL;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOREACH f IN ARRAY ARRAY['sid.due_tasks(text, bigint, bigint)', 'sid.drop_tasks(uuid, uuid[])', 'sid.tasks_of(uuid, text, uuid)',
        'sid.tasks_of_gone()']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        IF (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = f) THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
        END IF;
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;

CREATE TRIGGER tasks_of_gone AFTER DELETE ON sid.users FOR EACH ROW EXECUTE FUNCTION sid.tasks_of_gone();
CREATE TRIGGER tasks_of_gone AFTER DELETE ON sid.agents FOR EACH ROW EXECUTE FUNCTION sid.tasks_of_gone();
CREATE TRIGGER tasks_of_gone AFTER DELETE ON sid.conversations FOR EACH ROW EXECUTE FUNCTION sid.tasks_of_gone();
