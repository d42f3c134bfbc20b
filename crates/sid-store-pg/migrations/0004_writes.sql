-- Sid on Postgres, schema 4: writes of turns, several conversations at once, in as few statements as can be.

-- As before, without starting a statement for each setting: what is assigned is evaluated at once, what is performed is a statement.
CREATE OR REPLACE FUNCTION sid.enter(p_tenant uuid, p_now text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_set text;
BEGIN
    v_set := set_config('sid.tenant', p_tenant::text, true);
    v_set := set_config('sid.now', coalesce(p_now, ''), true);
    IF current_setting('lock_timeout') = '0' THEN
        v_set := set_config('lock_timeout', '2s', true);
    END IF;
END $$;

-- `sid.write` of schema 1, which servers of schema 3 go on calling, for some conversations of a tenant at once: `p` has a list of rows for each
-- kind of row, and each row names its conversation (`conv`); long texts are in `p_texts`, by their places. Of the runs that wait the one with the earliest turn is the head (0004_perpetual.sql).
-- A conversation that is not as it was read is left out; answers which were written.
-- What is inserted goes in one statement for all of them; what is changed is found one by one, by its key, whatever is believed of the
-- tables' sizes (0004_lookups.sql).
--
-- What is locked, is locked in one order everywhere: conversations, then partitions, each by their ids, then the ledger's slots, then what
-- agents begin by themselves. Who writes to many waits a moment only: on a time-out the caller writes to each alone, and none waits for the lock of another.
CREATE FUNCTION sid.write_all(p_tenant uuid, p_now text, p jsonb, p_texts text[]) RETURNS uuid[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_set text;
    v_convs int := jsonb_array_length(p->'convs');
    v_numbers bigint[];
    v_turns bigint[];
    v_new jsonb;
    v_new_id uuid;
    v_turn bigint;
    v_done uuid[] := '{}';
    v_parts bigint[];
    v_one jsonb;
    v_forget timestamptz;
    v record;
BEGIN
    v_set := set_config('sid.tenant', p_tenant::text, true);
    v_set := set_config('sid.now', coalesce(p_now, ''), true);
    IF v_convs > 1 THEN
        v_set := set_config('lock_timeout', '100ms', true);
    ELSIF current_setting('lock_timeout') = '0' THEN
        v_set := set_config('lock_timeout', '2s', true);
    END IF;
    -- Drawn after the revision was read that the write builds on, so numbers grow in the order of the queue.
    FOR i IN 1..coalesce(jsonb_array_length(p->'new_runs'), 0) LOOP
        v_numbers[i] := nextval('sid.run_numbers');
    END LOOP;
    FOR v IN SELECT x.* FROM jsonb_to_recordset(p->'convs') AS x(conv uuid, rev bigint, last_seq bigint, queue_start bigint,
        last_at timestamptz, head uuid, new_run int, lease boolean, epoch bigint, holder uuid, expires_at timestamptz,
        ttl_us bigint) ORDER BY x.conv
    LOOP
        v_new := p->'new_runs'->(v.new_run - 1);
        v_new_id := (v_new->>'id')::uuid;
        v_turn := (extract(epoch FROM (v_new->>'at')::timestamptz) * 1000000)::bigint + (v_new->>'patience_us')::bigint;
        IF v_new_id <> v.head THEN
            -- Never before one of the same priority that waits already, whatever the clock does. What is read here is of the revision that is
            -- asked for below, or nothing is written.
            v_turn := greatest(v_turn, (SELECT max(coalesce(r.turn, r.number)) FROM sid.runs r
                WHERE r.tenant = p_tenant AND r.conv = v.conv AND r.status = 0 AND r.priority = (v_new->>'priority')::smallint));
            -- A head that waits as well, and whose turn is later, gives its place up.
            IF EXISTS (SELECT FROM sid.conversations c JOIN sid.runs r ON r.tenant = p_tenant AND r.id = v.head
                AND (r.tenant, r.id) >= (p_tenant, v.head) AND (r.tenant, r.id) <= (p_tenant, v.head)
                WHERE c.tenant = p_tenant AND c.id = v.conv AND c.head = v.head AND c.holder IS NULL
                AND r.status = 0 AND coalesce(r.turn, r.number) > v_turn)
            THEN
                v.head := v_new_id;
            END IF;
        END IF;
        IF v.new_run IS NOT NULL THEN
            v_turns[v.new_run] := v_turn;
        END IF;
        UPDATE sid.conversations c SET
            rev = c.rev + 1,
            last_seq = v.last_seq,
            queue_start = v.queue_start,
            last_at = v.last_at,
            head = v.head,
            -- The turn of the head: what work is found by.
            head_no = CASE WHEN v.head IS NULL THEN NULL WHEN v.head = c.head THEN c.head_no WHEN v.head = v_new_id THEN v_turn
                ELSE (SELECT coalesce(r.turn, r.number) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = v.head
                    AND (r.tenant, r.id) >= (p_tenant, v.head) AND (r.tenant, r.id) <= (p_tenant, v.head)) END,
            epoch = CASE WHEN v.lease THEN v.epoch ELSE c.epoch END,
            holder = CASE WHEN v.lease THEN v.holder ELSE c.holder END,
            expires_at = CASE WHEN v.lease THEN v.expires_at ELSE c.expires_at END,
            ttl_us = CASE WHEN v.lease THEN v.ttl_us ELSE c.ttl_us END
        WHERE c.tenant = p_tenant AND c.id = v.conv AND c.rev = v.rev;
        IF FOUND THEN
            v_done := v_done || v.conv;
        END IF;
    END LOOP;
    IF cardinality(v_done) = 0 THEN
        RETURN v_done;
    END IF;
    IF cardinality(v_done) < v_convs THEN
        SELECT jsonb_object_agg(k.key, k.rows) INTO p FROM (
            SELECT l.key, jsonb_agg(x.row ORDER BY x.n) AS rows FROM jsonb_each(p) AS l
            CROSS JOIN LATERAL jsonb_array_elements(l.value) WITH ORDINALITY AS x(row, n)
            WHERE (x.row->>'conv')::uuid = ANY (v_done) GROUP BY l.key) k;
    END IF;
    IF p ? 'new_runs' THEN
        INSERT INTO sid.runs (tenant, id, number, conv, status, limits, usage, stimulus, waiting, created_at, started_at, priority, turn)
        SELECT p_tenant, r.id, v_numbers[r.new_run], r.conv, r.status, r.limits, r.usage, r.stimulus, r.waiting, r.at,
            CASE WHEN r.status = 1 THEN r.at END, r.priority, v_turns[r.new_run]
        FROM jsonb_to_recordset(p->'new_runs') AS r(conv uuid, id uuid, new_run int, status smallint, limits text, usage text, stimulus uuid[],
            waiting text, at timestamptz, priority smallint);
    END IF;
    IF p ? 'used' THEN
        v_forget := sid.now() - interval '24 hours';
        DELETE FROM sid.idempotency i WHERE i.tenant = p_tenant AND i.at <= v_forget;
        INSERT INTO sid.idempotency (tenant, principal, key, fingerprint, run, at)
        SELECT p_tenant, decode(u.principal, 'hex'), u.key, decode(u.fingerprint, 'hex'), u.run, u.at
        FROM jsonb_to_recordset(p->'used') AS u(principal text, key text, fingerprint text, run uuid, at timestamptz);
    END IF;
    IF p ? 'cancel' THEN
        UPDATE sid.runs r SET cancel = true FROM jsonb_to_recordset(p->'cancel') AS x(run uuid)
        WHERE r.tenant = p_tenant AND r.id = x.run AND r.status < 2;
    END IF;
    IF p ? 'runs' THEN
        FOR v IN SELECT x.* FROM jsonb_to_recordset(p->'runs') AS x(id uuid, status smallint, stop_reason text, error text, steps int, usage text,
            commits bigint, commit_epoch bigint, calls text, events bigint, started_at timestamptz, ended_at timestamptz)
        LOOP
            UPDATE sid.runs r SET status = v.status, stop_reason = v.stop_reason, error = v.error, steps = v.steps, usage = v.usage,
                commits = v.commits, commit_epoch = v.commit_epoch, calls = v.calls, events = v.events, started_at = v.started_at,
                ended_at = v.ended_at, waiting = NULL
            WHERE r.tenant = p_tenant AND r.id = v.id AND (r.tenant, r.id) >= (p_tenant, v.id) AND (r.tenant, r.id) <= (p_tenant, v.id);
        END LOOP;
    END IF;
    IF p ? 'ids' THEN
        INSERT INTO sid.message_ids (tenant, id, part, conv, seq)
        SELECT p_tenant, x.id, x.part, x.conv, x.seq FROM jsonb_to_recordset(p->'ids') AS x(conv uuid, part bigint, id uuid, seq bigint);
    END IF;
    IF p ? 'placed' THEN
        UPDATE sid.message_ids k SET seq = x.seq FROM jsonb_to_recordset(p->'placed') AS x(id uuid, seq bigint)
        WHERE k.tenant = p_tenant AND k.id = x.id;
    END IF;
    -- Numbers of searchable messages are drawn under the lock of their partition, and the last one is left as its version.
    v_one := p->'messages'->0;
    IF v_one IS NULL THEN
        NULL;
    ELSIF jsonb_array_length(p->'messages') = 1 AND (v_one->>'searchable')::boolean THEN
        -- One message: its number is the version. Who waited for the lock draws anew.
        WITH s AS (
            UPDATE sid.partitions s SET records = s.records + 1, version = nextval('sid.rids') * 4
            WHERE s.tenant = p_tenant AND s.part = (v_one->>'part')::bigint RETURNING s.part, s.version)
        INSERT INTO sid.messages (tenant, part, conv, seq, id, rid, run, role, text, extra, speaker, at, written_at, tokens)
        SELECT p_tenant, s.part, m.conv, m.seq, m.id, s.version, m.run, m.role, m.text, m.extra, m.speaker, m.at, m.written_at, m.tokens
        FROM s CROSS JOIN jsonb_to_record(v_one) AS m(conv uuid, seq bigint, id uuid, run uuid, role smallint, text text, extra text,
            speaker text, at timestamptz, written_at timestamptz, tokens bigint);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the partition % of a message is not there', v_one->>'part' USING ERRCODE = 'data_corrupted';
        END IF;
    ELSE
        v_parts := ARRAY(SELECT (x->>'part')::bigint FROM jsonb_array_elements(p->'messages') AS x WHERE (x->>'searchable')::boolean);
        PERFORM 1 FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = ANY (v_parts) ORDER BY s.part FOR UPDATE;
        INSERT INTO sid.messages (tenant, part, conv, seq, id, rid, run, role, text, extra, speaker, at, written_at, tokens)
        SELECT p_tenant, m.part, m.conv, m.seq, m.id, CASE WHEN m.searchable THEN nextval('sid.rids') * 4 END, m.run, m.role, m.text, m.extra,
            m.speaker, m.at, m.written_at, m.tokens
        FROM (SELECT x.* FROM jsonb_to_recordset(p->'messages') AS x(conv uuid, part bigint, seq bigint, id uuid, searchable boolean, run uuid,
            role smallint, text text, extra text, speaker text, at timestamptz, written_at timestamptz, tokens bigint)
            ORDER BY x.part, x.conv, x.seq) m;
        UPDATE sid.partitions s SET records = s.records + k.new, version = nextval('sid.rids') * 4
        FROM (SELECT x AS part, count(*) AS new FROM unnest(v_parts) AS x GROUP BY x) k WHERE s.tenant = p_tenant AND s.part = k.part;
    END IF;
    IF p ? 'quotes' THEN
        INSERT INTO sid.quotes (tenant, quoted, quoting)
        SELECT p_tenant, x.quoted, x.quoting FROM jsonb_to_recordset(p->'quotes') AS x(quoted uuid, quoting uuid) ON CONFLICT DO NOTHING;
    END IF;
    IF p ? 'days' THEN
        INSERT INTO sid.diary_dirty AS d (tenant, part, level, start, ends, touched_at)
        SELECT p_tenant, x.part, 0, x.day, x.day + 1, max(x.at) FROM jsonb_to_recordset(p->'days') AS x(part bigint, day date, at timestamptz)
        GROUP BY x.part, x.day ORDER BY x.part, x.day
        ON CONFLICT (tenant, part, level, start) DO UPDATE SET touched_at = greatest(d.touched_at, excluded.touched_at);
    END IF;
    IF p ? 'steps' THEN
        -- In the order of the ledger's slots, which the trigger writes to.
        INSERT INTO sid.steps (tenant, run, number, doc, tail, recalled)
        SELECT p_tenant, x.run, x.number, x.doc, p_texts[x.tail], p_texts[x.recalled]
        FROM jsonb_to_recordset(p->'steps') AS x(run uuid, number int, doc text, tail int, recalled int)
        ORDER BY get_byte(uuid_send(x.run), 15) & 15, x.run, x.number
        ON CONFLICT (tenant, run, number) DO UPDATE SET doc = excluded.doc, tail = excluded.tail, recalled = excluded.recalled;
    END IF;
    IF p ? 'self_begun' THEN
        DELETE FROM sid.self_begun s WHERE s.tenant = p_tenant AND s.hour < sid.now() - interval '2 days';
        INSERT INTO sid.self_begun AS s (tenant, hour, agent_id, runs, tokens)
        SELECT p_tenant, date_trunc('hour', sid.now(), 'UTC'), c.agent_id, sum(x.runs), sum(x.tokens)
        FROM jsonb_to_recordset(p->'self_begun') AS x(conv uuid, runs bigint, tokens bigint)
        JOIN sid.conversations c ON c.tenant = p_tenant AND c.id = x.conv GROUP BY c.agent_id ORDER BY c.agent_id
        ON CONFLICT (tenant, hour, agent_id) DO UPDATE SET runs = s.runs + excluded.runs, tokens = s.tokens + excluded.tokens;
    END IF;
    IF p ? 'events' THEN
        INSERT INTO sid.events (tenant, run, seq, at, kind, body)
        SELECT p_tenant, x.run, x.seq, x.at, x.kind, p_texts[x.body]
        FROM jsonb_to_recordset(p->'events') AS x(run uuid, seq bigint, at timestamptz, kind text, body int);
    END IF;
    IF p ? 'heads' THEN
        UPDATE sid.conversation_heads h SET summary = coalesce(x.summary, h.summary),
            prefix = CASE WHEN x.sets_prefix THEN x.prefix ELSE h.prefix END
        FROM jsonb_to_recordset(p->'heads') AS x(conv uuid, summary text, sets_prefix boolean, prefix text)
        WHERE h.tenant = p_tenant AND h.conv = x.conv;
    END IF;
    IF p ? 'outbox' THEN
        INSERT INTO sid.outbox (tenant, topic, part, subject, at)
        SELECT p_tenant, x.topic, x.part, x.subject, x.at
        FROM jsonb_to_recordset(p->'outbox') AS x(topic text, part bigint, subject uuid, at timestamptz);
    END IF;
    RETURN v_done;
END $$;
REVOKE ALL ON FUNCTION sid.write_all(uuid, text, jsonb, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid.write_all(uuid, text, jsonb, text[]) TO sid_app;

-- What a run reads first, in one trip, and before it the write that begins the run, if `p` says what to write. Rows are those of `sid.look`, for
-- whom `p_kind` names (NULL: nobody), and before them one of -1 with the conversation and what `sid.load` tells. No row: nothing was written.
-- Each statement in here sees what those before it have written.
CREATE FUNCTION sid.begin_run(p_tenant uuid, p_now text, p jsonb, p_texts text[], p_conv uuid, p_run uuid, p_rev bigint, p_kind smallint, p_agent uuid,
    p_user uuid, p_generation text, p_parts bigint[], p_seen bigint[], p_generations int[], p_most int)
RETURNS TABLE (o_what smallint, o_part bigint, o_kind smallint, o_a uuid, o_b uuid, o_n1 bigint, o_n2 bigint, o_n3 bigint, o_n4 bigint,
    o_text text, o_speaker text, o_at timestamptz, o_vector bytea)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF p IS NOT NULL THEN
        IF sid.write_all(p_tenant, p_now, p, p_texts) = '{}' THEN
            RETURN;
        END IF;
    END IF;
    o_what := -1;
    o_a := p_conv;
    o_text := sid.load(p_tenant, p_now, p_conv, p_run, p_rev);
    RETURN NEXT;
    IF p_kind IS NOT NULL THEN
        RETURN QUERY SELECT * FROM sid.look(p_tenant, p_now, p_kind, p_agent, p_user, p_generation, p_parts, p_seen, p_generations, p_most);
    END IF;
END $$;
REVOKE ALL ON FUNCTION sid.begin_run(uuid, text, jsonb, text[], uuid, uuid, bigint, smallint, uuid, uuid, text, bigint[], bigint[], int[], int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid.begin_run(uuid, text, jsonb, text[], uuid, uuid, bigint, smallint, uuid, uuid, text, bigint[], bigint[], int[], int) TO sid_app;
