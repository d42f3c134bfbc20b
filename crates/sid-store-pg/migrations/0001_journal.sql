-- Sid on Postgres, schema 1: the journal's statements, as functions of the caller's own rights.
--
-- One call is one round trip and one transaction: it enters the tenant first. Plans are kept by the server's session, so they are kept
-- behind a pooler as well, where prepared statements are not.

-- What a write to a conversation must know: read in one snapshot. With `p_lock` nobody else changes it before this transaction is over.
CREATE FUNCTION sid.peek(p_tenant uuid, p_now text, p_conv uuid, p_run uuid, p_ids uuid[], p_principal bytea, p_key text, p_lock boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_conv uuid := p_conv;
    v_out json;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    IF v_conv IS NULL THEN
        SELECT r.conv INTO v_conv FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = p_run;
    END IF;
    IF p_lock THEN
        PERFORM 1 FROM sid.conversations c WHERE c.tenant = p_tenant AND c.id = v_conv FOR UPDATE;
    END IF;
    SELECT json_build_object(
        'now', sid.now(),
        'conv', (SELECT row_to_json(x) FROM (
            SELECT c.*, u.timezone AS zone, p.has_met FROM sid.conversations c
            JOIN sid.partitions p ON p.tenant = c.tenant AND p.part = c.part
            LEFT JOIN sid.users u ON u.tenant = c.tenant AND u.id = c.user_id
            WHERE c.tenant = p_tenant AND c.id = v_conv) x),
        'head', (SELECT row_to_json(r) FROM sid.conversations c JOIN sid.runs r ON r.tenant = c.tenant AND r.id = c.head
            WHERE c.tenant = p_tenant AND c.id = v_conv),
        'queue', (SELECT json_agg(q) FROM (SELECT r.* FROM sid.conversations c JOIN sid.runs r ON r.tenant = c.tenant AND r.conv = c.id
            AND r.status = 0 AND r.number > c.head_no WHERE c.tenant = p_tenant AND c.id = v_conv ORDER BY r.number LIMIT 4) q),
        'depth', (SELECT count(*) FROM sid.runs r WHERE r.tenant = p_tenant AND r.conv = v_conv AND r.status = 0),
        'run', (SELECT row_to_json(r) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = p_run),
        'known', (SELECT json_agg(k.id) FROM sid.message_ids k WHERE k.tenant = p_tenant AND k.id = ANY (p_ids)),
        'used', (SELECT json_build_object('fingerprint', encode(i.fingerprint, 'hex'), 'run', (
                SELECT row_to_json(r) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = i.run))
            FROM sid.idempotency i WHERE i.tenant = p_tenant AND i.principal = p_principal AND i.key = p_key
                AND i.at > sid.now() - interval '24 hours')
    ) INTO v_out;
    RETURN v_out::text;
END $$;

-- Writes what was decided, all or nothing. Answers false, and has written nothing, when the conversation is not as it was read.
CREATE FUNCTION sid.write(p_tenant uuid, p_now text, p jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
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
        head_no = CASE WHEN x.head IS NOT NULL THEN coalesce(x.head_no, v_number) END,
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

-- Puts messages at their places. Numbers of searchable ones are drawn under the partition's lock.
CREATE FUNCTION sid.place(p_tenant uuid, p_part bigint, p_conv uuid, p_at timestamptz, p jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_searchable bigint;
BEGIN
    SELECT count(*) FROM jsonb_array_elements(p) AS x WHERE (x->>'searchable')::boolean INTO v_searchable;
    IF v_searchable > 0 THEN
        PERFORM 1 FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = p_part FOR UPDATE;
    END IF;
    INSERT INTO sid.messages (tenant, part, conv, seq, id, rid, run, role, text, extra, speaker, at, written_at, tokens)
    SELECT p_tenant, p_part, p_conv, m.seq, m.id, CASE WHEN m.searchable THEN nextval('sid.rids') * 4 END, m.run, m.role, m.text, m.extra,
        m.speaker, m.at, p_at, m.tokens
    FROM (SELECT x.* FROM jsonb_to_recordset(p) AS x(seq bigint, id uuid, searchable boolean, run uuid, role smallint, text text, extra text,
        speaker text, at timestamptz, tokens bigint) ORDER BY x.seq) m;
    IF v_searchable > 0 THEN
        UPDATE sid.partitions s SET records = s.records + v_searchable, version = nextval('sid.rids') * 4
        WHERE s.tenant = p_tenant AND s.part = p_part;
    END IF;
END $$;

-- All that a run needs, in one snapshot.
CREATE FUNCTION sid.load(p_tenant uuid, p_now text, p_conv uuid, p_run uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    c sid.conversations;
    v_out json;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    SELECT * INTO c FROM sid.conversations x WHERE x.tenant = p_tenant AND x.id = p_conv;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT json_build_object(
        'conv', (SELECT row_to_json(x) FROM (
            SELECT v.*, u.timezone AS zone, p.has_met, h.summary, h.prefix FROM sid.conversations v
            JOIN sid.partitions p ON p.tenant = v.tenant AND p.part = v.part
            JOIN sid.conversation_heads h ON h.tenant = v.tenant AND h.conv = v.id
            LEFT JOIN sid.users u ON u.tenant = v.tenant AND u.id = v.user_id
            WHERE v.tenant = p_tenant AND v.id = p_conv) x),
        'run', (SELECT row_to_json(r) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = p_run AND r.conv = p_conv),
        'agent', (SELECT row_to_json(a) FROM sid.agents a WHERE a.tenant = p_tenant AND a.id = c.agent_id),
        'user', (SELECT row_to_json(u) FROM sid.users u WHERE u.tenant = p_tenant AND u.id = c.user_id),
        'teams', (SELECT json_agg(t ORDER BY t.id) FROM sid.team_members m
            JOIN sid.agent_teams g ON g.tenant = p_tenant AND g.agent_id = c.agent_id AND g.team_id = m.team_id
            JOIN sid.teams t ON t.tenant = p_tenant AND t.id = m.team_id WHERE m.tenant = p_tenant AND m.user_id = c.user_id),
        'queue', (SELECT json_agg(json_build_object('id', m.id, 'conv', m.conv, 'seq', m.seq, 'run', m.run, 'role', m.role, 'text', m.text,
                'extra', m.extra, 'speaker', m.speaker, 'at', m.at, 'tokens', m.tokens) ORDER BY m.seq)
            FROM sid.messages m WHERE m.tenant = p_tenant AND m.part = c.part AND m.conv = p_conv AND m.seq >= c.queue_start),
        'blocks', (SELECT json_agg(row_to_json(k)) FROM sid.turn_blocks(p_tenant, c.agent_id, c.user_id) k),
        'contact', (SELECT m.at FROM sid.messages m WHERE m.tenant = p_tenant AND m.part = c.part AND m.rid IS NOT NULL AND m.role = 0
            AND m.run IS DISTINCT FROM p_run AND c.user_id IS NOT NULL ORDER BY m.at DESC LIMIT 1)
    ) INTO v_out;
    RETURN v_out::text;
END $$;

-- Core memory of a turn. Pairs write their own blocks and read the others that they see; a link to the agent raises that to what it says,
-- and shows blocks of other agents. What belongs to a user or a team is never shown to a turn of somebody else.
CREATE FUNCTION sid.turn_blocks(p_tenant uuid, p_agent uuid, p_user uuid)
RETURNS TABLE (id uuid, kind smallint, a uuid, b uuid, label text, description text, value text, limit_chars bigint, version bigint,
    updated_at timestamptz, link smallint)
LANGUAGE sql STABLE AS $$
    WITH seen AS (
        SELECT p.part, p.kind, p.a, p.b FROM sid.partitions p WHERE p.tenant = p_tenant AND p.kind = 0
        UNION ALL SELECT p.part, p.kind, p.a, p.b FROM sid.partitions p WHERE p.tenant = p_tenant AND p.kind = 2 AND p.a = p_user
        UNION ALL SELECT p.part, p.kind, p.a, p.b FROM sid.partitions p WHERE p.tenant = p_tenant AND p.kind = 3 AND p.a = p_agent
        UNION ALL SELECT p.part, p.kind, p.a, p.b FROM sid.partitions p WHERE p.tenant = p_tenant AND p.kind = 4 AND p.a = p_agent AND p.b = p_user
        UNION ALL SELECT p.part, p.kind, p.a, p.b FROM sid.team_members m
            JOIN sid.agent_teams g ON g.tenant = p_tenant AND g.agent_id = p_agent AND g.team_id = m.team_id
            JOIN sid.partitions p ON p.tenant = p_tenant AND p.kind = 1 AND p.a = m.team_id
            WHERE m.tenant = p_tenant AND m.user_id = p_user)
    SELECT x.id, s.kind, s.a, s.b, x.label, x.description, x.value, x.limit_chars, x.version, x.updated_at, l.access
    FROM seen s JOIN sid.blocks x ON x.tenant = p_tenant AND x.part = s.part
    LEFT JOIN sid.block_links l ON l.tenant = p_tenant AND l.agent_id = p_agent AND l.block = x.id
    UNION ALL
    SELECT x.id, p.kind, p.a, p.b, x.label, x.description, x.value, x.limit_chars, x.version, x.updated_at, l.access
    FROM sid.block_links l JOIN sid.blocks x ON x.tenant = p_tenant AND x.id = l.block
    JOIN sid.partitions p ON p.tenant = p_tenant AND p.part = x.part
    WHERE l.tenant = p_tenant AND l.agent_id = p_agent AND p.a <> p_agent AND (p.kind = 3 OR (p.kind = 4 AND p.b = p_user))
$$;

-- Whether a lease's run was asked to stop; null when the lease does not hold, with the epoch that does.
CREATE FUNCTION sid.cancel_asked(p_tenant uuid, p_now text, p_conv uuid, p_run uuid, p_epoch bigint, OUT asked boolean, OUT epoch bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    SELECT CASE WHEN c.holder IS NOT NULL AND c.epoch = p_epoch AND c.head = p_run THEN r.cancel END, c.epoch INTO asked, epoch
    FROM sid.conversations c LEFT JOIN sid.runs r ON r.tenant = c.tenant AND r.id = c.head WHERE c.tenant = p_tenant AND c.id = p_conv;
END $$;
