-- Sid on Postgres, schema 2: one tenant by its name, writes without a look before them, and plans that are kept.

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

-- As before, but a head whose number the writer has not read keeps it: who has just written need not look before the next write.
CREATE OR REPLACE FUNCTION sid.write(p_tenant uuid, p_now text, p jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_conv uuid := (p->'conv'->>'id')::uuid;
    v_part bigint := (p->'conv'->>'part')::bigint;
    v_at timestamptz := (p->>'at')::timestamptz;
    v_number bigint;
    v_forget timestamptz;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    PERFORM 1 FROM sid.conversations c WHERE c.tenant = p_tenant AND c.id = v_conv AND c.rev = (p->'conv'->>'rev')::bigint FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p ? 'new_run' THEN
        -- Drawn under the lock: numbers grow in the order of the queue.
        v_number := nextval('sid.run_numbers');
        INSERT INTO sid.runs (tenant, id, number, conv, status, limits, usage, stimulus, waiting, created_at, started_at)
        SELECT p_tenant, r.id, v_number, v_conv, r.status, r.limits, r.usage, r.stimulus, r.waiting, v_at, CASE WHEN r.status = 1 THEN v_at END
        FROM jsonb_to_record(p->'new_run') AS r(id uuid, status smallint, limits text, usage text, stimulus uuid[], waiting text);
    END IF;
    UPDATE sid.conversations c SET
        rev = c.rev + 1,
        last_seq = x.last_seq,
        queue_start = x.queue_start,
        last_at = x.last_at,
        head = x.head,
        head_no = CASE WHEN x.head IS NOT NULL THEN coalesce(x.head_no, CASE WHEN x.head = c.head THEN c.head_no END, v_number) END,
        epoch = CASE WHEN x.lease THEN x.epoch ELSE c.epoch END,
        holder = CASE WHEN x.lease THEN x.holder ELSE c.holder END,
        expires_at = CASE WHEN x.lease THEN x.expires_at ELSE c.expires_at END,
        ttl_us = CASE WHEN x.lease THEN x.ttl_us ELSE c.ttl_us END
    FROM jsonb_to_record(p->'conv') AS x(last_seq bigint, queue_start bigint, last_at timestamptz, head uuid, head_no bigint, lease boolean,
        epoch bigint, holder uuid, expires_at timestamptz, ttl_us bigint)
    WHERE c.tenant = p_tenant AND c.id = v_conv;
    IF p ? 'used' THEN
        v_forget := sid.now() - interval '24 hours';
        DELETE FROM sid.idempotency i WHERE i.tenant = p_tenant AND i.at <= v_forget;
        INSERT INTO sid.idempotency (tenant, principal, key, fingerprint, run, at)
        SELECT p_tenant, decode(u.principal, 'hex'), u.key, decode(u.fingerprint, 'hex'), u.run, v_at
        FROM jsonb_to_record(p->'used') AS u(principal text, key text, fingerprint text, run uuid);
    END IF;
    IF p ? 'cancel' THEN
        UPDATE sid.runs r SET cancel = true WHERE r.tenant = p_tenant AND r.id = (p->>'cancel')::uuid AND r.status < 2;
    END IF;
    IF p ? 'runs' THEN
        UPDATE sid.runs r SET status = x.status, stop_reason = x.stop_reason, error = x.error, steps = x.steps, usage = x.usage,
            commits = x.commits, commit_epoch = x.commit_epoch, calls = x.calls, events = x.events, started_at = x.started_at,
            ended_at = x.ended_at, waiting = NULL
        FROM jsonb_to_recordset(p->'runs') AS x(id uuid, status smallint, stop_reason text, error text, steps int, usage text, commits bigint,
            commit_epoch bigint, calls text, events bigint, started_at timestamptz, ended_at timestamptz)
        WHERE r.tenant = p_tenant AND r.id = x.id;
    END IF;
    IF p ? 'ids' THEN
        INSERT INTO sid.message_ids (tenant, id, part, conv, seq)
        SELECT p_tenant, x.id, v_part, v_conv, x.seq FROM jsonb_to_recordset(p->'ids') AS x(id uuid, seq bigint);
    END IF;
    IF p ? 'placed' THEN
        UPDATE sid.message_ids k SET seq = x.seq FROM jsonb_to_recordset(p->'placed') AS x(id uuid, seq bigint)
        WHERE k.tenant = p_tenant AND k.id = x.id;
    END IF;
    IF p ? 'messages' THEN
        PERFORM sid.place(p_tenant, v_part, v_conv, v_at, p->'messages');
    END IF;
    IF p ? 'quotes' THEN
        INSERT INTO sid.quotes (tenant, quoted, quoting)
        SELECT p_tenant, x.quoted, x.quoting FROM jsonb_to_recordset(p->'quotes') AS x(quoted uuid, quoting uuid) ON CONFLICT DO NOTHING;
    END IF;
    IF p ? 'days' THEN
        INSERT INTO sid.diary_dirty AS d (tenant, part, level, start, ends, touched_at)
        SELECT p_tenant, v_part, 0, x::date, x::date + 1, v_at FROM jsonb_array_elements_text(p->'days') AS x
        ON CONFLICT (tenant, part, level, start) DO UPDATE SET touched_at = greatest(d.touched_at, excluded.touched_at);
    END IF;
    IF p ? 'steps' THEN
        INSERT INTO sid.steps (tenant, run, number, doc, tail, recalled)
        SELECT p_tenant, x.run, x.number, x.doc, x.tail, x.recalled
        FROM jsonb_to_recordset(p->'steps') AS x(run uuid, number int, doc text, tail text, recalled text)
        ON CONFLICT (tenant, run, number) DO UPDATE SET doc = excluded.doc, tail = excluded.tail, recalled = excluded.recalled;
    END IF;
    IF p ? 'events' THEN
        INSERT INTO sid.events (tenant, run, seq, at, kind, body)
        SELECT p_tenant, x.run, x.seq, v_at, x.kind, x.body
        FROM jsonb_to_recordset(p->'events') AS x(run uuid, seq bigint, kind text, body text);
    END IF;
    IF p ? 'summary' THEN
        UPDATE sid.conversation_heads h SET summary = p->>'summary' WHERE h.tenant = p_tenant AND h.conv = v_conv;
    END IF;
    IF p ? 'prefix' THEN
        UPDATE sid.conversation_heads h SET prefix = p->>'prefix' WHERE h.tenant = p_tenant AND h.conv = v_conv;
    END IF;
    IF p ? 'outbox' THEN
        INSERT INTO sid.outbox (tenant, topic, part, subject, at)
        SELECT p_tenant, x.topic, v_part, x.subject, v_at FROM jsonb_to_recordset(p->'outbox') AS x(topic text, subject uuid);
    END IF;
    RETURN true;
END $$;

-- Looks and writes go by keys: one plan suits all, and making it anew takes as long as the call. Not so `load`: a plan for any conversation
-- reads the whole history of a long one.
ALTER FUNCTION sid.peek(uuid, text, uuid, uuid, uuid[], bytea, text, boolean) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION sid.write(uuid, text, jsonb) SET plan_cache_mode = force_generic_plan;
