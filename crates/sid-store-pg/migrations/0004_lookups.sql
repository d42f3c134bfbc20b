-- Sid on Postgres, schema 4: look-ups by key, also while nobody has counted the rows.
--
-- A table that was never analysed is believed to be small. All of a tenant's rows then seem to be one, and any index that begins with the tenant
-- as good as the one with the whole key; the plan is kept, and reads what the tenant has. Compared as rows as well, the key is cheapest in
-- the index that has all of its columns.

-- `sid.visible` of schema 2, which says what `p_kind` is. Whose partitions are known by their owners are looked up one by one.
CREATE OR REPLACE FUNCTION sid.visible(p_tenant uuid, p_kind smallint, p_agent uuid, p_user uuid) RETURNS SETOF sid.partitions LANGUAGE sql STABLE AS $$
    SELECT p.* FROM sid.partitions p WHERE p_kind = 0 AND p.tenant = p_tenant
    UNION ALL SELECT p.* FROM (VALUES (0::smallint, '00000000-0000-0000-0000-000000000000'::uuid, '00000000-0000-0000-0000-000000000000'::uuid), (2::smallint, p_user, '00000000-0000-0000-0000-000000000000'::uuid),
        (3::smallint, p_agent, '00000000-0000-0000-0000-000000000000'::uuid), (4::smallint, p_agent, p_user)) AS k(kind, a, b)
        CROSS JOIN LATERAL (SELECT x.* FROM sid.partitions x WHERE x.tenant = p_tenant AND x.kind = k.kind AND x.a = k.a AND x.b = k.b OFFSET 0) p
        WHERE p_kind = 2 OR (p_kind = 1 AND k.kind < 3)
    UNION ALL SELECT p.* FROM sid.partitions p WHERE p_kind = 1 AND p.tenant = p_tenant AND p.kind = 4 AND p.b = p_user
    UNION ALL SELECT p.* FROM sid.team_members m JOIN sid.partitions p ON p.tenant = p_tenant AND p.kind = 1 AND p.a = m.team_id
        WHERE p_kind > 0 AND m.tenant = p_tenant AND m.user_id = p_user AND (p_kind = 1 OR EXISTS (SELECT FROM sid.agent_teams g
            WHERE g.tenant = p_tenant AND g.agent_id = p_agent AND g.team_id = m.team_id))
$$;

-- `sid.look` of schema 2, which says what the rows are; new records are found by their numbers. Stable, so that all of it is of one moment: a
-- partition's changes go as far as its row tells.
CREATE OR REPLACE FUNCTION sid.look(p_tenant uuid, p_now text, p_kind smallint, p_agent uuid, p_user uuid, p_generation text, p_parts bigint[],
    p_seen bigint[], p_generations int[], p_most int)
RETURNS TABLE (o_what smallint, o_part bigint, o_kind smallint, o_a uuid, o_b uuid, o_n1 bigint, o_n2 bigint, o_n3 bigint, o_n4 bigint,
    o_text text, o_speaker text, o_at timestamptz, o_vector bytea)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v record;
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    IF p_generation IS NOT NULL THEN
        RETURN QUERY SELECT 0::smallint, NULL::bigint, NULL::smallint, NULL::uuid, NULL::uuid, g.id::bigint, g.dimensions::bigint, NULL::bigint,
            NULL::bigint, NULL::text, NULL::text, NULL::timestamptz, NULL::bytea FROM sid.generations g WHERE g.name = p_generation;
    END IF;
    -- A turn, which nearly all looks are for, has a plan without what it never needs.
    IF p_kind = 2 THEN
        RETURN QUERY SELECT 1::smallint, p.part, p.kind, p.a, p.b, p.records, p.version, p.reload_from, p.filled_to, NULL::text, NULL::text,
            NULL::timestamptz, NULL::bytea FROM sid.visible(p_tenant, 2::smallint, p_agent, p_user) p;
    ELSE
        RETURN QUERY SELECT 1::smallint, p.part, p.kind, p.a, p.b, p.records, p.version, p.reload_from, p.filled_to, NULL::text, NULL::text,
            NULL::timestamptz, NULL::bytea FROM sid.visible(p_tenant, p_kind, p_agent, p_user) p;
    END IF;
    FOR v IN SELECT k.part, k.seen, p.version FROM unnest(p_parts, p_seen) AS k(part, seen)
        JOIN sid.partitions p ON p.tenant = p_tenant AND p.part = k.part WHERE p.version > k.seen
    LOOP
        RETURN QUERY SELECT 2::smallint, v.part::bigint, NULL::smallint, NULL::uuid, NULL::uuid, v.version::bigint, NULL::bigint, NULL::bigint,
            NULL::bigint, NULL::text, NULL::text, NULL::timestamptz, NULL::bytea
        UNION ALL (SELECT 3::smallint, v.part, r.kind, r.id, NULL, r.change, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            FROM sid.removals r WHERE r.tenant = p_tenant AND r.part = v.part AND r.change > v.seen LIMIT p_most)
        UNION ALL (SELECT 4::smallint, v.part, m.role, m.id, m.conv, m.rid, m.seq, NULL, NULL, m.text, m.speaker, m.at, NULL
            FROM sid.messages m WHERE m.tenant = p_tenant AND m.part = v.part AND m.rid > v.seen
            AND (m.tenant, m.part, m.rid) > (p_tenant, v.part, v.seen) LIMIT p_most)
        UNION ALL (SELECT 5::smallint, v.part, NULL, m.id, NULL, m.rid, NULL, NULL, NULL, m.text, NULL, m.at, NULL
            FROM sid.passages m WHERE m.tenant = p_tenant AND m.part = v.part AND m.rid > v.seen
            AND (m.tenant, m.part, m.rid) > (p_tenant, v.part, v.seen) LIMIT p_most)
        UNION ALL (SELECT 6::smallint, v.part, NULL, m.id, NULL, m.rid, NULL, NULL, NULL, m.text, NULL, m.start::timestamp AT TIME ZONE 'UTC', NULL
            FROM sid.diary m WHERE m.tenant = p_tenant AND m.part = v.part AND m.rid > v.seen
            AND (m.tenant, m.part, m.rid) > (p_tenant, v.part, v.seen) LIMIT p_most)
        UNION ALL (SELECT 7::smallint, v.part, NULL, NULL, NULL, x.rid, x.generation, x.first_byte, x.end_byte, NULL, NULL, NULL, x.vector
            FROM sid.vectors x WHERE x.tenant = p_tenant AND x.part = v.part AND x.generation = ANY (p_generations)
            AND x.change > v.seen LIMIT p_most);
    END LOOP;
END $$;

-- `sid.load` of schema 3; the run is found by its id.
CREATE OR REPLACE FUNCTION sid.load(p_tenant uuid, p_now text, p_conv uuid, p_run uuid, p_rev bigint) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_sort = off SET enable_seqscan = off AS $$
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
        -- Whose it is, is looked at and not looked for.
        'run', (SELECT row_to_json(r) FROM sid.runs r WHERE r.tenant = p_tenant AND r.id = p_run AND r.conv IS NOT DISTINCT FROM p_conv
            AND (r.tenant, r.id) >= (p_tenant, p_run) AND (r.tenant, r.id) <= (p_tenant, p_run)),
        'agent', (SELECT row_to_json(a) FROM sid.agents a WHERE a.tenant = p_tenant AND a.id = c.agent_id),
        'user', (SELECT row_to_json(u) FROM sid.users u WHERE u.tenant = p_tenant AND u.id = c.user_id),
        'teams', (SELECT json_agg(to_jsonb(t) || jsonb_build_object('role', m.role, 'is_direct', m.given IS NOT NULL) ORDER BY t.id)
            FROM sid.team_members m
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
