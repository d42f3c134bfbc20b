-- Sid on Postgres, schema 4: webhooks, and what they are to be told.

-- The document is the webhook; the other columns are what is looked at. `events`: names; none = all.
CREATE TABLE sid.webhooks (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    is_on       boolean NOT NULL,
    events      text[] NOT NULL,
    is_failing  boolean NOT NULL,
    not_before  timestamptz,
    created_at  timestamptz NOT NULL,
    doc         text NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 70);

-- `next_at`: NULL when it is over, or its webhook is disabled. `seq`: the order in which they were written.
CREATE TABLE sid.deliveries (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    webhook     uuid NOT NULL,
    event       text NOT NULL,
    subject     uuid NOT NULL,
    agent_id    uuid,
    user_id     uuid,
    conv        uuid,
    facts       text NOT NULL,
    at          timestamptz NOT NULL,
    state       text NOT NULL DEFAULT 'pending',
    attempts    int NOT NULL DEFAULT 0,
    attempts_before int NOT NULL DEFAULT 0,
    next_at     timestamptz,
    held_until  timestamptz,
    history     text NOT NULL DEFAULT '[]',
    body        text,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 80);
CREATE INDEX deliveries_due ON sid.deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_waiting ON sid.deliveries (tenant, webhook, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_held ON sid.deliveries (tenant, webhook) WHERE held_until IS NOT NULL;
CREATE INDEX deliveries_by_time ON sid.deliveries (tenant, webhook, at, id);
CREATE INDEX deliveries_pending ON sid.deliveries (tenant, webhook, conv, seq) WHERE state = 'pending';
CREATE INDEX deliveries_by_user ON sid.deliveries (tenant, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX deliveries_by_agent ON sid.deliveries (tenant, agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX deliveries_by_conversation ON sid.deliveries (tenant, conv) WHERE conv IS NOT NULL;
CREATE INDEX deliveries_by_age ON sid.deliveries (at) WHERE next_at IS NULL;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['webhooks', 'deliveries'] LOOP
        EXECUTE format('ALTER TABLE sid.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sid.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_tenant ON sid.%I TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant())', t);
        EXECUTE format('CREATE POLICY of_engine ON sid.%I TO sid_engine USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sid.%I TO sid_app', t);
    END LOOP;
END $$;
GRANT SELECT, UPDATE ON sid.webhooks TO sid_engine;
GRANT SELECT, UPDATE, DELETE ON sid.deliveries TO sid_engine;

-- Tells every webhook of the tenant that hears it.
CREATE FUNCTION sid.tell(p_tenant uuid, p_event text, p_subject uuid, p_agent uuid, p_user uuid, p_conv uuid, p_facts json) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO sid.deliveries (tenant, id, webhook, event, subject, agent_id, user_id, conv, facts, at, next_at)
    SELECT p_tenant, gen_random_uuid(), w.id, p_event, p_subject, p_agent, p_user, p_conv, p_facts::text, sid.now(), sid.now()
    FROM sid.webhooks w WHERE w.tenant = p_tenant AND w.is_on AND (w.events = '{}' OR p_event = ANY (w.events))
$$;

-- Told by the database, in the transaction of the change: whichever server makes it, one of schema 3 as well. Documents are not parsed as JSON
-- here, because Postgres does not parse all of it (U+0000); names and ids are found by their quotes, which no text inside a document has
-- without a backslash before them.

-- The end of a run. A turn pays for this: where its tenant has no webhook that is one look into an index, and nothing before its end.
CREATE FUNCTION sid.tell_of_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    c record;
    v_facts json;
BEGIN
    IF OLD.status >= 2 OR NOT EXISTS (SELECT FROM sid.webhooks w WHERE w.tenant = NEW.tenant AND w.is_on) THEN
        RETURN NULL;
    END IF;
    SELECT x.agent_id, x.user_id INTO c FROM sid.conversations x WHERE x.tenant = NEW.tenant AND x.id = NEW.conv;
    v_facts := json_build_object('stop_reason', NEW.stop_reason);
    IF NEW.status = 2 AND NEW.stop_reason <> 'client_calls' AND EXISTS (SELECT FROM sid.message_ids k
        JOIN sid.messages m ON m.tenant = k.tenant AND m.part = k.part AND m.conv = k.conv AND m.seq = k.seq
        WHERE k.tenant = NEW.tenant AND k.id = NEW.stimulus[1] AND m.role = 0) THEN
        PERFORM sid.tell(NEW.tenant, 'message.answered', NEW.id, c.agent_id, c.user_id, NEW.conv, v_facts);
    END IF;
    PERFORM sid.tell(NEW.tenant, CASE NEW.status WHEN 2 THEN 'run.completed' WHEN 3 THEN 'run.failed' ELSE 'run.cancelled' END, NEW.id,
        c.agent_id, c.user_id, NEW.conv, v_facts);
    RETURN NULL;
END $$;

CREATE FUNCTION sid.tell_of() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_run text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        r := OLD;
    ELSE
        r := NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM sid.webhooks w WHERE w.tenant = r.tenant AND w.is_on) THEN
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'approvals' THEN
        PERFORM sid.tell(r.tenant, CASE r.state WHEN 'pending' THEN 'approval.requested' WHEN 'expired' THEN 'approval.expired'
            ELSE 'approval.decided' END, r.id, r.agent_id, r.user_id, r.conv,
            json_build_object('state', r.state, 'run', substring(r.doc from '"run":"(run_[0-9a-z]{26})"')));
    ELSIF TG_TABLE_NAME = 'tasks' THEN
        PERFORM sid.tell(r.tenant, CASE r.state WHEN 'waiting_user' THEN 'task.asked' WHEN 'done' THEN 'task.done'
            WHEN 'cancelled' THEN 'task.cancelled'
            ELSE CASE WHEN position('"failure":"budget:' in r.doc) > 0 THEN 'task.over_budget' ELSE 'task.failed' END END,
            r.id, r.agent_id, r.user_id, r.conv, json_build_object('state', r.state));
    ELSIF TG_TABLE_NAME = 'timers' THEN
        v_run := substring(r.doc from '"last_run":"(run_[0-9a-z]{26})"');
        IF v_run IS DISTINCT FROM substring(OLD.doc from '"last_run":"(run_[0-9a-z]{26})"') THEN
            PERFORM sid.tell(r.tenant, 'timer.fired', r.id, r.agent_id, r.user_id, r.conv, json_build_object('run', v_run));
        END IF;
    ELSIF TG_TABLE_NAME = 'items' THEN
        PERFORM sid.tell(r.tenant, 'proposal.made', r.id, r.written_by, r.of_user, NULL, '{}');
    ELSE
        PERFORM sid.tell(r.tenant, 'user.erased', r.id, NULL, NULL, NULL, '{}');
    END IF;
    RETURN NULL;
END $$;

-- What is about nobody any more goes: whoever erases, a server of schema 3 as well.
CREATE FUNCTION sid.deliveries_of_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        DELETE FROM sid.deliveries d WHERE d.tenant = OLD.tenant AND d.user_id = OLD.id;
    ELSIF TG_TABLE_NAME = 'agents' THEN
        DELETE FROM sid.deliveries d WHERE d.tenant = OLD.tenant AND d.agent_id = OLD.id;
    ELSE
        DELETE FROM sid.deliveries d WHERE d.tenant = OLD.tenant AND d.conv = OLD.id;
    END IF;
    RETURN NULL;
END $$;

-- Takes deliveries that are due and keeps others from them for a while; the last row has none, and tells the time. Webhooks are locked one by
-- one, so that no two takers exceed what one of them may be sent at once; one that somebody else looks through is passed over. What an endpoint
-- that is down has left waiting is not read through at each look: webhooks are found by steps from one to the next, and of each the first
-- thousand that are due are looked at.
CREATE FUNCTION sid.take_deliveries(p_now text, p_want int, p_per_webhook int, p_hold_us bigint, p_patience int)
RETURNS TABLE (o_id uuid, o_webhook uuid, o_event text, o_subject uuid, o_agent uuid, o_user uuid, o_conv uuid, o_facts text, o_at timestamptz,
    o_state text, o_attempts int, o_attempts_before int, o_next_at timestamptz, o_history text, o_body text, o_now timestamptz, o_tenant uuid,
    o_doc text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(nullif(p_now, '')::timestamptz, clock_timestamp());
    v_until timestamptz := v_now + p_hold_us * interval '1 microsecond';
    v_left int := p_want;
    v_free int;
    v_taken int;
    v_doc text;
    w record;
BEGIN
    -- Asked mostly in vain: looking takes no lock.
    IF p_want > 0 AND EXISTS (SELECT FROM sid.deliveries d WHERE d.next_at <= v_now) THEN
        FOR w IN
            WITH RECURSIVE waited_for AS (
                (SELECT d.tenant, d.webhook FROM sid.deliveries d WHERE d.next_at IS NOT NULL ORDER BY d.tenant, d.webhook LIMIT 1)
                UNION ALL
                SELECT n.tenant, n.webhook FROM waited_for y CROSS JOIN LATERAL (
                    SELECT d.tenant, d.webhook FROM sid.deliveries d
                    WHERE d.next_at IS NOT NULL AND (d.tenant, d.webhook) > (y.tenant, y.webhook) ORDER BY d.tenant, d.webhook LIMIT 1) n)
            SELECT x.tenant, x.id FROM waited_for y JOIN sid.webhooks x ON x.tenant = y.tenant AND x.id = y.webhook CROSS JOIN LATERAL (
                SELECT d.next_at FROM sid.deliveries d WHERE d.tenant = y.tenant AND d.webhook = y.webhook AND d.next_at <= v_now
                    AND (d.held_until IS NULL OR d.held_until <= v_now) ORDER BY d.next_at LIMIT 1) due
            WHERE x.is_on AND (x.not_before IS NULL OR x.not_before <= v_now) ORDER BY x.is_failing, due.next_at, x.id
        LOOP
            EXIT WHEN v_left <= 0;
            SELECT x.doc INTO v_doc FROM sid.webhooks x WHERE x.tenant = w.tenant AND x.id = w.id AND x.is_on FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            SELECT p_per_webhook - count(*) INTO v_free FROM sid.deliveries d
            WHERE d.tenant = w.tenant AND d.webhook = w.id AND d.held_until > v_now;
            CONTINUE WHEN v_free <= 0;
            RETURN QUERY
            WITH mine AS MATERIALIZED (
                SELECT d.tenant, d.id FROM sid.deliveries d JOIN (
                    SELECT x.id FROM sid.deliveries x WHERE x.tenant = w.tenant AND x.webhook = w.id AND x.next_at <= v_now
                        AND (x.held_until IS NULL OR x.held_until <= v_now) ORDER BY x.next_at LIMIT 1000) due ON due.id = d.id
                WHERE d.tenant = w.tenant
                    AND NOT EXISTS (SELECT FROM sid.deliveries o WHERE o.tenant = d.tenant AND o.webhook = d.webhook AND o.state = 'pending'
                        AND o.conv = d.conv AND o.seq < d.seq AND o.attempts - o.attempts_before < p_patience)
                ORDER BY d.seq LIMIT least(v_free, v_left) FOR UPDATE OF d SKIP LOCKED),
            held AS (UPDATE sid.deliveries d SET held_until = v_until, attempts = d.attempts + 1 FROM mine m
                WHERE d.tenant = m.tenant AND d.id = m.id RETURNING d.*)
            SELECT h.id, h.webhook, h.event, h.subject, h.agent_id, h.user_id, h.conv, h.facts, h.at, h.state, h.attempts, h.attempts_before,
                h.next_at, h.history, h.body, v_now, h.tenant, v_doc FROM held h ORDER BY h.seq;
            GET DIAGNOSTICS v_taken = ROW_COUNT;
            v_left := v_left - v_taken;
        END LOOP;
    END IF;
    RETURN QUERY SELECT NULL::uuid, NULL::uuid, NULL::text, NULL::uuid, NULL::uuid, NULL::uuid, NULL::uuid, NULL::text, NULL::timestamptz,
        NULL::text, NULL::int, NULL::int, NULL::timestamptz, NULL::text, NULL::text, v_now, NULL::uuid, NULL::text;
END $$;

-- Forgets what is old and not to be tried again, or was told to a webhook while somebody deleted it; a thousand at most.
CREATE FUNCTION sid.forget_deliveries(p_now text, p_keep_us bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH since AS (
        SELECT coalesce(nullif(p_now, '')::timestamptz, clock_timestamp()) - p_keep_us * interval '1 microsecond' AS at),
    old AS (
        (SELECT x.tenant, x.id FROM sid.deliveries x WHERE x.next_at IS NULL AND x.at <= (SELECT s.at FROM since s) ORDER BY x.at LIMIT 1000)
        UNION
        (SELECT x.tenant, x.id FROM sid.deliveries x WHERE x.next_at <= (SELECT s.at FROM since s)
            AND NOT EXISTS (SELECT FROM sid.webhooks w WHERE w.tenant = x.tenant AND w.id = x.webhook) LIMIT 1000)
        LIMIT 1000),
    gone AS (DELETE FROM sid.deliveries d USING old WHERE d.tenant = old.tenant AND d.id = old.id RETURNING 1)
    SELECT count(*) FROM gone
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOREACH f IN ARRAY ARRAY['sid.tell(uuid, text, uuid, uuid, uuid, uuid, json)', 'sid.tell_of()', 'sid.tell_of_run()', 'sid.deliveries_of_gone()',
        'sid.take_deliveries(text, int, int, bigint, int)', 'sid.forget_deliveries(text, bigint)']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        IF (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = f) THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
        END IF;
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;

CREATE TRIGGER approvals_are_told AFTER INSERT ON sid.approvals FOR EACH ROW EXECUTE FUNCTION sid.tell_of();
CREATE TRIGGER approvals_are_told_on AFTER UPDATE ON sid.approvals FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION sid.tell_of();
CREATE TRIGGER tasks_are_told AFTER UPDATE ON sid.tasks FOR EACH ROW
    WHEN (NEW.state <> OLD.state AND NEW.state IN ('waiting_user', 'done', 'failed', 'cancelled')) EXECUTE FUNCTION sid.tell_of();
CREATE TRIGGER timers_are_told AFTER UPDATE ON sid.timers FOR EACH ROW WHEN (NEW.doc <> OLD.doc) EXECUTE FUNCTION sid.tell_of();
CREATE TRIGGER items_are_told AFTER INSERT ON sid.items FOR EACH ROW WHEN (NEW.kind = 'proposal') EXECUTE FUNCTION sid.tell_of();
CREATE TRIGGER deliveries_of_gone AFTER DELETE ON sid.agents FOR EACH ROW EXECUTE FUNCTION sid.deliveries_of_gone();
CREATE TRIGGER deliveries_of_gone AFTER DELETE ON sid.users FOR EACH ROW EXECUTE FUNCTION sid.deliveries_of_gone();
CREATE TRIGGER users_are_told AFTER DELETE ON sid.users FOR EACH ROW EXECUTE FUNCTION sid.tell_of();
-- The last ones lock, for a moment, what every turn writes.
CREATE TRIGGER deliveries_of_gone AFTER DELETE ON sid.conversations FOR EACH ROW EXECUTE FUNCTION sid.deliveries_of_gone();
-- `ended_at` is there from the end on. The shortest condition is the cheapest: it is read at each statement.
CREATE TRIGGER runs_are_told AFTER UPDATE OF status ON sid.runs FOR EACH ROW WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION sid.tell_of_run();
