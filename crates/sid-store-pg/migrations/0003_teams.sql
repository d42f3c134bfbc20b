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
