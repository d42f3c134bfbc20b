-- Sid on Postgres, schema 2: what a turn reads, in few statements. Each enters its tenant, and is a transaction of its own.

-- Every partition that somebody sees. `p_kind`: 0 the tenant's application, which sees all, 1 a user, 2 an agent's turn, with a user or alone.
CREATE FUNCTION sid.visible(p_tenant uuid, p_kind smallint, p_agent uuid, p_user uuid) RETURNS SETOF sid.partitions LANGUAGE sql STABLE AS $$
    SELECT p.* FROM sid.partitions p WHERE p_kind = 0 AND p.tenant = p_tenant
    UNION ALL SELECT p.* FROM sid.partitions p WHERE p_kind > 0 AND p.tenant = p_tenant AND p.kind = 0
    UNION ALL SELECT p.* FROM sid.partitions p WHERE p_kind > 0 AND p.tenant = p_tenant AND p.kind = 2 AND p.a = p_user
    UNION ALL SELECT p.* FROM sid.partitions p WHERE p_kind = 2 AND p.tenant = p_tenant AND p.kind = 3 AND p.a = p_agent
    UNION ALL SELECT p.* FROM sid.partitions p WHERE p_kind = 2 AND p.tenant = p_tenant AND p.kind = 4 AND p.a = p_agent AND p.b = p_user
    UNION ALL SELECT p.* FROM sid.partitions p WHERE p_kind = 1 AND p.tenant = p_tenant AND p.kind = 4 AND p.b = p_user
    UNION ALL SELECT p.* FROM sid.team_members m JOIN sid.partitions p ON p.tenant = p_tenant AND p.kind = 1 AND p.a = m.team_id
        WHERE p_kind > 0 AND m.tenant = p_tenant AND m.user_id = p_user AND (p_kind = 1 OR EXISTS (SELECT FROM sid.agent_teams g
            WHERE g.tenant = p_tenant AND g.agent_id = p_agent AND g.team_id = m.team_id))
$$;

-- What a search asks when its partitions are in memory: how they stand, and what each has had since memory was read (`p_seen`, by
-- `p_parts`). Rows by `o_what`:
--   0 the generation: number, dimensions
--   1 a visible partition: kind and owner's ids, records, version, reload_from, filled_to
--   2 up to which version a partition's changes follow
--   3 a record that went: its kind and id, the change
--   4 a message: role, id, conversation, number, seq, text, speaker, time
--   5 a passage, 6 a page: id, number, text, time
--   7 a vector: number of its record, generation, first and last byte
-- A table's rows end at `p_most`: who gets so many reads anew. Each statement sees what was committed before it, so changes may go further
-- than the version that the partition's row tells, never less far.
CREATE FUNCTION sid.look(p_tenant uuid, p_now text, p_kind smallint, p_agent uuid, p_user uuid, p_generation text, p_parts bigint[],
    p_seen bigint[], p_generations int[], p_most int)
RETURNS TABLE (o_what smallint, o_part bigint, o_kind smallint, o_a uuid, o_b uuid, o_n1 bigint, o_n2 bigint, o_n3 bigint, o_n4 bigint,
    o_text text, o_speaker text, o_at timestamptz, o_vector bytea)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v record;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    IF p_generation IS NOT NULL THEN
        RETURN QUERY SELECT 0::smallint, NULL::bigint, NULL::smallint, NULL::uuid, NULL::uuid, g.id::bigint, g.dimensions::bigint, NULL::bigint,
            NULL::bigint, NULL::text, NULL::text, NULL::timestamptz, NULL::bytea FROM sid.generations g WHERE g.name = p_generation;
    END IF;
    RETURN QUERY SELECT 1::smallint, p.part, p.kind, p.a, p.b, p.records, p.version, p.reload_from, p.filled_to, NULL::text, NULL::text,
        NULL::timestamptz, NULL::bytea FROM sid.visible(p_tenant, p_kind, p_agent, p_user) p;
    FOR v IN SELECT k.part, k.seen FROM unnest(p_parts, p_seen) AS k(part, seen)
        JOIN sid.partitions p ON p.tenant = p_tenant AND p.part = k.part WHERE p.version > k.seen
    LOOP
        -- One statement: what was written anew is there once, whenever it is looked for.
        RETURN QUERY WITH p AS MATERIALIZED (SELECT x.version FROM sid.partitions x WHERE x.tenant = p_tenant AND x.part = v.part)
        SELECT 2::smallint, v.part::bigint, NULL::smallint, NULL::uuid, NULL::uuid, p.version, NULL::bigint, NULL::bigint, NULL::bigint,
            NULL::text, NULL::text, NULL::timestamptz, NULL::bytea FROM p
        UNION ALL (SELECT 3::smallint, v.part, r.kind, r.id, NULL, r.change, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            FROM sid.removals r WHERE r.tenant = p_tenant AND r.part = v.part AND r.change > v.seen AND r.change <= (SELECT p.version FROM p)
            LIMIT p_most)
        UNION ALL (SELECT 4::smallint, v.part, m.role, m.id, m.conv, m.rid, m.seq, NULL, NULL, m.text, m.speaker, m.at, NULL
            FROM sid.messages m WHERE m.tenant = p_tenant AND m.part = v.part AND m.rid > v.seen AND m.rid <= (SELECT p.version FROM p)
            LIMIT p_most)
        UNION ALL (SELECT 5::smallint, v.part, NULL, m.id, NULL, m.rid, NULL, NULL, NULL, m.text, NULL, m.at, NULL
            FROM sid.passages m WHERE m.tenant = p_tenant AND m.part = v.part AND m.rid > v.seen AND m.rid <= (SELECT p.version FROM p)
            LIMIT p_most)
        UNION ALL (SELECT 6::smallint, v.part, NULL, m.id, NULL, m.rid, NULL, NULL, NULL, m.text, NULL, m.start::timestamp AT TIME ZONE 'UTC', NULL
            FROM sid.diary m WHERE m.tenant = p_tenant AND m.part = v.part AND m.rid > v.seen AND m.rid <= (SELECT p.version FROM p)
            LIMIT p_most)
        UNION ALL (SELECT 7::smallint, v.part, NULL, NULL, NULL, x.rid, x.generation, x.first_byte, x.end_byte, NULL, NULL, NULL, x.vector
            FROM sid.vectors x WHERE x.tenant = p_tenant AND x.part = v.part AND x.generation = ANY (p_generations)
            AND x.change > v.seen AND x.change <= (SELECT p.version FROM p) LIMIT p_most);
    END LOOP;
END $$;

-- Messages by name and partition: those that are still there. One partition at a time, so that one of the parts is looked at; the limits
-- keep each name a look-up of its own, whatever is believed of the tables' sizes.
CREATE FUNCTION sid.named_messages(p_tenant uuid, p_now text, p_parts bigint[], p_ids uuid[])
RETURNS TABLE (o_id uuid, o_conv uuid, o_seq bigint, o_run uuid, o_role smallint, o_text text, o_extra text, o_speaker text, o_at timestamptz,
    o_tokens bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_part bigint;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    FOR v_part IN SELECT DISTINCT x FROM unnest(p_parts) AS x LOOP
        RETURN QUERY SELECT m.id, m.conv, m.seq, m.run, m.role, m.text, m.extra, m.speaker, m.at, m.tokens
            FROM unnest(p_parts, p_ids) AS i(part, id)
            CROSS JOIN LATERAL (SELECT k.conv, k.seq FROM sid.message_ids k WHERE k.tenant = p_tenant AND k.id = i.id LIMIT 1) k
            CROSS JOIN LATERAL (SELECT x.* FROM sid.messages x WHERE x.tenant = p_tenant AND x.part = v_part AND x.conv = k.conv
                AND x.seq = k.seq LIMIT 1) m
            WHERE i.part = v_part;
    END LOOP;
END $$;

-- Passages and pages by name, with their owners.
CREATE FUNCTION sid.named_passages(p_tenant uuid, p_now text, p_ids uuid[])
RETURNS TABLE (o_id uuid, o_kind smallint, o_a uuid, o_b uuid, o_text text, o_tags text, o_at timestamptz, o_provenance text,
    o_created timestamptz)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    RETURN QUERY SELECT p.id, o.kind, o.a, o.b, p.text, p.tags, p.at, p.provenance, p.created_at
        FROM sid.passages p JOIN sid.partitions o ON o.tenant = p_tenant AND o.part = p.part WHERE p.tenant = p_tenant AND p.id = ANY (p_ids);
END $$;

CREATE FUNCTION sid.named_pages(p_tenant uuid, p_now text, p_ids uuid[])
RETURNS TABLE (o_id uuid, o_kind smallint, o_a uuid, o_b uuid, o_level smallint, o_start date, o_text text, o_messages text, o_floor boolean,
    o_written timestamptz)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    RETURN QUERY SELECT d.id, o.kind, o.a, o.b, d.level, d.start, d.text, d.messages, d.is_floor, d.written_at
        FROM sid.diary d JOIN sid.partitions o ON o.tenant = p_tenant AND o.part = d.part WHERE d.tenant = p_tenant AND d.id = ANY (p_ids);
END $$;

-- All that a run needs, in one snapshot. `p_rev`: the revision of the conversation whose queue the caller has; if it is this one, the queue
-- is not told again. One plan for all conversations, and none that sorts: it would read the whole history for the last contact. Servers of
-- schema 1 go on with their own function of this name.
CREATE FUNCTION sid.load(p_tenant uuid, p_now text, p_conv uuid, p_run uuid, p_rev bigint) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_sort = off AS $$
DECLARE
    c sid.conversations;
    v_out json;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    -- What a conversation is never changes: whose it is, and where its messages lie.
    SELECT * INTO c FROM sid.conversations x WHERE x.tenant = p_tenant AND x.id = p_conv;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT json_build_object(
        'conv', row_to_json(x),
        'is_same', x.rev = p_rev,
        'run', (SELECT row_to_json(r) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = p_run AND r.conv = p_conv),
        'agent', (SELECT row_to_json(a) FROM sid.agents a WHERE a.tenant = p_tenant AND a.id = c.agent_id),
        'user', (SELECT row_to_json(u) FROM sid.users u WHERE u.tenant = p_tenant AND u.id = c.user_id),
        'teams', (SELECT json_agg(t ORDER BY t.id) FROM sid.team_members m
            JOIN sid.agent_teams g ON g.tenant = p_tenant AND g.agent_id = c.agent_id AND g.team_id = m.team_id
            JOIN sid.teams t ON t.tenant = p_tenant AND t.id = m.team_id WHERE m.tenant = p_tenant AND m.user_id = c.user_id),
        'queue', CASE WHEN x.rev IS DISTINCT FROM p_rev THEN (
            SELECT json_agg(json_build_object('id', m.id, 'conv', m.conv, 'seq', m.seq, 'run', m.run, 'role', m.role, 'text', m.text,
                'extra', m.extra, 'speaker', m.speaker, 'at', m.at, 'tokens', m.tokens) ORDER BY m.seq)
            FROM sid.messages m WHERE m.tenant = p_tenant AND m.part = c.part AND m.conv = p_conv AND m.seq >= x.queue_start) END,
        'blocks', (SELECT json_agg(row_to_json(k)) FROM sid.turn_blocks(p_tenant, c.agent_id, c.user_id) k),
        'contact', (SELECT m.at FROM sid.messages m WHERE m.tenant = p_tenant AND m.part = c.part AND m.rid IS NOT NULL AND m.role = 0
            AND m.run IS DISTINCT FROM p_run AND c.user_id IS NOT NULL ORDER BY m.at DESC LIMIT 1)
    ) INTO v_out
    FROM (SELECT v.*, u.timezone AS zone, p.has_met, h.summary, h.prefix FROM sid.conversations v
        JOIN sid.partitions p ON p.tenant = v.tenant AND p.part = v.part
        JOIN sid.conversation_heads h ON h.tenant = v.tenant AND h.conv = v.id
        LEFT JOIN sid.users u ON u.tenant = v.tenant AND u.id = v.user_id
        WHERE v.tenant = p_tenant AND v.id = p_conv) x;
    RETURN v_out::text;
END $$;

-- As before, but partition by partition: blocks of others are never read, whatever is believed of the table's size.
CREATE OR REPLACE FUNCTION sid.turn_blocks(p_tenant uuid, p_agent uuid, p_user uuid)
RETURNS TABLE (id uuid, kind smallint, a uuid, b uuid, label text, description text, value text, limit_chars bigint, version bigint,
    updated_at timestamptz, link smallint)
LANGUAGE sql STABLE AS $$
    SELECT x.id, s.kind, s.a, s.b, x.label, x.description, x.value, x.limit_chars, x.version, x.updated_at,
        (SELECT l.access FROM sid.block_links l WHERE l.tenant = p_tenant AND l.agent_id = p_agent AND l.block = x.id)
    FROM sid.visible(p_tenant, 2::smallint, p_agent, p_user) s CROSS JOIN LATERAL (SELECT k.* FROM sid.blocks k WHERE k.tenant = p_tenant AND k.part = s.part OFFSET 0) x
    UNION ALL
    SELECT x.id, p.kind, p.a, p.b, x.label, x.description, x.value, x.limit_chars, x.version, x.updated_at, l.access
    FROM sid.block_links l
    CROSS JOIN LATERAL (SELECT k.* FROM sid.blocks k WHERE k.tenant = p_tenant AND k.id = l.block OFFSET 0) x
    CROSS JOIN LATERAL (SELECT q.* FROM sid.partitions q WHERE q.tenant = p_tenant AND q.part = x.part OFFSET 0) p
    WHERE l.tenant = p_tenant AND l.agent_id = p_agent AND p.a <> p_agent AND (p.kind = 3 OR (p.kind = 4 AND p.b = p_user))
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'sid' AND p.proname IN ('visible', 'look', 'named_messages', 'named_passages', 'named_pages', 'load') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
    END LOOP;
END $$;
