-- Sid on Postgres, schema 3: teams that are parts of others, and what somebody is in them.

ALTER TABLE sid.teams ADD COLUMN parent uuid;

-- Whoever is in a team has a row for each team that it is a part of, too; so has an agent that may read it. Who asks who sees what
-- knows nothing of parts. `given`: the role that was given in this very team (0 member, 1 lead); null where only parts of it bring the user
-- in. `role`: the highest of that and of those in its parts. Only `given` is set by servers: the rest follows by itself, also from what
-- servers of schema 2 write.
ALTER TABLE sid.team_members ADD COLUMN given smallint DEFAULT 0, ADD COLUMN role smallint NOT NULL DEFAULT 0;

CREATE FUNCTION sid.follow_membership() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_tenant uuid;
    v_user uuid;
BEGIN
    IF TG_OP = 'DELETE' THEN
        v_tenant := OLD.tenant;
        v_user := OLD.user_id;
    ELSE
        v_tenant := NEW.tenant;
        v_user := NEW.user_id;
    END IF;
    -- One after the other for each user: what follows is made from all that was given.
    PERFORM 1 FROM sid.users u WHERE u.tenant = v_tenant AND u.id = v_user FOR NO KEY UPDATE;
    DELETE FROM sid.team_members m WHERE m.tenant = v_tenant AND m.user_id = v_user AND m.given IS NULL;
    INSERT INTO sid.team_members AS m (tenant, user_id, team_id, given, role)
    WITH RECURSIVE line (team_id, role) AS (
        SELECT g.team_id, g.given FROM sid.team_members g WHERE g.tenant = v_tenant AND g.user_id = v_user
        UNION
        SELECT t.parent, line.role FROM line JOIN sid.teams t ON t.tenant = v_tenant AND t.id = line.team_id WHERE t.parent IS NOT NULL
    )
    SELECT v_tenant, v_user, line.team_id, NULL::smallint, max(line.role) FROM line GROUP BY line.team_id
    ON CONFLICT (tenant, user_id, team_id) DO UPDATE SET role = excluded.role;
    RETURN NULL;
END $$;

CREATE FUNCTION sid.follow_agent_team() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Row by row up to the top: each calls this again.
    INSERT INTO sid.agent_teams (tenant, agent_id, team_id)
    SELECT t.tenant, NEW.agent_id, t.parent FROM sid.teams t WHERE t.tenant = NEW.tenant AND t.id = NEW.team_id AND t.parent IS NOT NULL
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY['sid.follow_membership()', 'sid.follow_agent_team()']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
    END LOOP;
END $$;

CREATE TRIGGER follow_joined AFTER INSERT ON sid.team_members FOR EACH ROW WHEN (NEW.given IS NOT NULL)
    EXECUTE FUNCTION sid.follow_membership();
CREATE TRIGGER follow_changed AFTER UPDATE OF given ON sid.team_members FOR EACH ROW WHEN (NEW.given IS DISTINCT FROM OLD.given)
    EXECUTE FUNCTION sid.follow_membership();
CREATE TRIGGER follow_left AFTER DELETE ON sid.team_members FOR EACH ROW WHEN (OLD.given IS NOT NULL)
    EXECUTE FUNCTION sid.follow_membership();
CREATE TRIGGER follow_agent_team AFTER INSERT ON sid.agent_teams FOR EACH ROW EXECUTE FUNCTION sid.follow_agent_team();

-- As before, with what the user is in each team.
CREATE OR REPLACE FUNCTION sid.load(p_tenant uuid, p_now text, p_conv uuid, p_run uuid, p_rev bigint) RETURNS text
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
