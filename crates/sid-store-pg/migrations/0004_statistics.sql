-- Sid on Postgres, schema 4: what the planner is told of the tables (ADR 0037).

-- ANALYZE keeps samples of a column's values, where no erasure finds them. Of what people say, and of what names them, it takes none; it takes
-- them of words that are Sid's own. To be called again when there are new tables. Samples of before go where the server lets somebody take
-- them away: from Postgres 18 on the owner, before that a superuser.
CREATE FUNCTION sid.take_no_samples() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_may_clear boolean := current_setting('server_version_num')::int >= 180000;
    v_is_super boolean := (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user);
    v record;
BEGIN
    FOR v IN SELECT t.oid, n.nspname, t.relname, a.attname, a.attnum FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid
        WHERE n.nspname IN ('sid', 'sid_events') AND t.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
        AND a.atttypid IN ('text'::regtype, 'text[]'::regtype, 'bytea'::regtype)
        AND a.attname NOT IN ('state', 'kind', 'event', 'topic', 'stop_reason') AND a.attstattarget IS DISTINCT FROM 0
    LOOP
        EXECUTE format('ALTER TABLE ONLY %I.%I ALTER COLUMN %I SET STATISTICS 0', v.nspname, v.relname, v.attname);
        IF v_may_clear THEN
            EXECUTE format('SELECT pg_clear_attribute_stats(%L, %L, %L, x) FROM (VALUES (true), (false)) AS v(x)', v.nspname, v.relname, v.attname);
        ELSIF v_is_super THEN
            DELETE FROM pg_statistic s WHERE s.starelid = v.oid AND s.staattnum = v.attnum;
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION sid.take_no_samples() FROM PUBLIC;
SELECT sid.take_no_samples();

-- `sid.make_event_day` of schema 2; a new part is like the others in this as well.
CREATE OR REPLACE FUNCTION sid.make_event_day(p_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    v_name text := 'day_' || to_char(p_day, 'YYYYMMDD');
BEGIN
    IF to_regclass('sid_events.' || v_name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE sid_events.%I (LIKE sid.events INCLUDING ALL)', v_name);
    EXECUTE format('ALTER TABLE sid_events.%I ENABLE ROW LEVEL SECURITY', v_name);
    EXECUTE format('ALTER TABLE sid_events.%I FORCE ROW LEVEL SECURITY', v_name);
    EXECUTE format('ALTER TABLE sid_events.%I ALTER COLUMN body SET STATISTICS 0', v_name);
    -- Attached and not made as a part: so those who read and write other parts go on meanwhile.
    EXECUTE format('ALTER TABLE sid.events ATTACH PARTITION sid_events.%I FOR VALUES FROM (%L) TO (%L)', v_name, sid.first_run(p_day),
        sid.first_run(p_day + 1));
EXCEPTION
    -- Somebody else makes it; somebody holds what is to be locked; or nobody made it in time and its events are in `rest`, from where they
    -- go by their age. Its events have a place in each case.
    WHEN duplicate_table OR unique_violation OR lock_not_available OR check_violation THEN
        RETURN;
END $$;

-- Counts the rows of tables that have grown to twice their size since that was done, or were never counted; answers how many tables that were.
-- A plan that is made before anybody has counted, and kept, reads a whole tenant for one row; autovacuum comes a minute later at the earliest.
-- What is large is left to it. One at a time; who comes meanwhile need not wait. Before Postgres 17 only the tables' owner may do this, and
-- nothing is counted.
CREATE FUNCTION sid.count_rows() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_page bigint := current_setting('block_size')::bigint;
    v_name text;
    v_counted int := 0;
BEGIN
    -- `cnt` in ASCII keeps it apart from other locks.
    IF NOT pg_try_advisory_xact_lock(6516340, 0) THEN
        RETURN 0;
    END IF;
    FOR v_name IN SELECT format('%I.%I', n.nspname, t.relname) FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        CROSS JOIN LATERAL (SELECT pg_relation_size(t.oid) / v_page AS pages) s
        WHERE n.nspname = 'sid' AND t.relkind = 'r' AND s.pages BETWEEN greatest(2, 2 * t.relpages) AND 4096
        AND CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(t.oid, 'MAINTAIN') ELSE false END
    LOOP
        EXECUTE 'ANALYZE (SKIP_LOCKED) ' || v_name;
        v_counted := v_counted + 1;
    END LOOP;
    RETURN v_counted;
END $$;

DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        GRANT MAINTAIN ON ALL TABLES IN SCHEMA sid TO sid_engine;
        ALTER DEFAULT PRIVILEGES IN SCHEMA sid GRANT MAINTAIN ON TABLES TO sid_engine;
    END IF;
    -- Whoever hands a function over must be in the role that takes it, for this moment.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    REVOKE ALL ON FUNCTION sid.count_rows() FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION sid.count_rows() TO sid_app;
    ALTER FUNCTION sid.count_rows() OWNER TO sid_engine;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
