-- Sid on Postgres, schema 2: vectors that are also kept in an index outside these tables.
--
-- `sid.vectors` stays the truth. An index is fed from it, partition by partition, in the order of `change`; what has a larger number than the
-- partition's mark is not there yet and is compared by the search itself. What goes away leaves a row that tells what must go there, too.

-- Up to which change a partition's vectors of one generation are in the index. Whoever feeds a partition, or deletes from it there, holds
-- its row. A partition without one was never fed.
CREATE TABLE sid.index_marks (
    tenant      uuid NOT NULL,
    part        bigint NOT NULL,
    generation  int NOT NULL,
    indexed_to  bigint NOT NULL DEFAULT -1,
    PRIMARY KEY (tenant, part, generation)
);
CREATE INDEX index_marks_in_order ON sid.index_marks (generation, tenant, part);

-- What must be gone from the index: a row stays until a count has shown that it is. One record (in all versions, or in those before
-- `before`), one conversation, or the whole partition.
CREATE TABLE sid.index_removals (
    tenant      uuid NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    part        bigint NOT NULL,
    conv        uuid,
    rid         bigint,
    before      bigint,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX index_removals_by_part ON sid.index_removals (tenant, part);
CREATE INDEX index_removals_in_order ON sid.index_removals (id);

-- Rows of the topic `index.vectors` are the index's own: a partition has vectors that are not in it yet.
CREATE INDEX outbox_of_index ON sid.outbox (id) WHERE topic = 'index.vectors';
CREATE INDEX outbox_of_index_by_part ON sid.outbox (tenant, part, id) WHERE topic = 'index.vectors';

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['index_marks', 'index_removals'] LOOP
        EXECUTE format('ALTER TABLE sid.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sid.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_tenant ON sid.%I TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant())', t);
        EXECUTE format('CREATE POLICY of_engine ON sid.%I TO sid_engine USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sid.%I TO sid_app', t);
        EXECUTE format('GRANT SELECT ON sid.%I TO sid_engine', t);
    END LOOP;
END $$;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA sid TO sid_app, sid_engine;
GRANT UPDATE, DELETE ON sid.index_marks TO sid_engine;
GRANT DELETE ON sid.index_removals TO sid_engine;
GRANT INSERT ON sid.outbox TO sid_engine;

-- Makes a record, whose row is gone, unfindable; answers how many vectors went with it. `p_tokens`: its words.
CREATE OR REPLACE FUNCTION sid.forget_record(p_tenant uuid, p_part bigint, p_rid bigint, p_id uuid, p_tokens bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_vectors bigint;
    v_filled bigint;
BEGIN
    SELECT s.filled_to INTO v_filled FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = p_part FOR UPDATE;
    WITH gone AS (DELETE FROM sid.vectors v WHERE v.tenant = p_tenant AND v.part = p_part AND v.rid = p_rid RETURNING length(v.vector) AS size)
    SELECT count(*) FILTER (WHERE size > 0) INTO v_vectors FROM gone;
    IF v_vectors > 0 THEN
        INSERT INTO sid.index_removals (tenant, part, rid, at) SELECT p_tenant, p_part, p_rid, sid.now()
        WHERE EXISTS (SELECT FROM sid.index_marks m WHERE m.tenant = p_tenant AND m.part = p_part);
    END IF;
    IF v_filled >= p_rid THEN
        UPDATE sid.postings w SET rids = array_remove(w.rids, p_rid)
        WHERE w.tenant = p_tenant AND w.part = p_part AND w.token = ANY (p_tokens) AND w.last_rid >= p_rid AND p_rid = ANY (w.rids);
    END IF;
    INSERT INTO sid.removals (tenant, part, change, kind, id) VALUES (p_tenant, p_part, nextval('sid.rids') * 4, p_rid & 3, p_id);
    UPDATE sid.partitions s SET records = s.records - 1, version = nextval('sid.rids') * 4 WHERE s.tenant = p_tenant AND s.part = p_part;
    IF (SELECT count(*) FROM sid.removals r WHERE r.tenant = p_tenant AND r.part = p_part) > 2000 THEN
        DELETE FROM sid.removals r WHERE r.tenant = p_tenant AND r.part = p_part;
        UPDATE sid.partitions s SET reload_from = s.version WHERE s.tenant = p_tenant AND s.part = p_part;
    END IF;
    RETURN v_vectors;
END $$;

-- Stores the vectors of some records of one partition. Records that are gone are left out.
CREATE OR REPLACE FUNCTION sid.put_vectors(p_tenant uuid, p_part bigint, p_generation int, p_rids bigint[], p_numbers bigint[],
    p_chunks int[], p_first bigint[], p_end bigint[], p_vectors bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_change bigint;
BEGIN
    PERFORM 1 FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = p_part FOR UPDATE;
    v_change := nextval('sid.rids') * 4;
    WITH gone AS (DELETE FROM sid.vectors v WHERE v.tenant = p_tenant AND v.part = p_part AND v.generation = p_generation
        AND v.rid = ANY (p_rids) RETURNING v.rid)
    INSERT INTO sid.index_removals (tenant, part, rid, before, at)
    SELECT p_tenant, p_part, gone.rid, v_change, sid.now() FROM (SELECT DISTINCT gone.rid FROM gone) gone
    WHERE EXISTS (SELECT FROM sid.index_marks m WHERE m.tenant = p_tenant AND m.part = p_part AND m.generation = p_generation);
    INSERT INTO sid.vectors (tenant, part, generation, rid, chunk, change, first_byte, end_byte, vector)
    SELECT p_tenant, p_part, p_generation, x.rid, x.chunk, v_change, x.first, x.last, x.vector
    FROM unnest(p_numbers, p_chunks, p_first, p_end, p_vectors) AS x(rid, chunk, first, last, vector)
    -- Looked at under the lock: a record that was erased meanwhile gets no vectors.
    WHERE EXISTS (SELECT FROM sid.messages m WHERE x.rid & 3 = 0 AND m.tenant = p_tenant AND m.part = p_part AND m.rid = x.rid)
        OR EXISTS (SELECT FROM sid.passages m WHERE x.rid & 3 = 1 AND m.tenant = p_tenant AND m.part = p_part AND m.rid = x.rid)
        OR EXISTS (SELECT FROM sid.diary m WHERE x.rid & 3 = 2 AND m.tenant = p_tenant AND m.part = p_part AND m.rid = x.rid);
    UPDATE sid.partitions s SET version = v_change WHERE s.tenant = p_tenant AND s.part = p_part;
END $$;

-- The outbox for others: what is the index's own is left out.
CREATE OR REPLACE FUNCTION sid.read_outbox(p_limit bigint)
RETURNS TABLE (o_id bigint, o_tenant uuid, o_topic text, o_part bigint, o_subject uuid, o_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.id, x.tenant, x.topic, x.part, x.subject, x.at FROM sid.outbox x WHERE x.topic <> 'index.vectors' ORDER BY x.id LIMIT p_limit
$$;

-- Partitions with vectors that are not in the index, the longest waiting first. `o_upto`: the last of the rows that say so.
CREATE FUNCTION sid.index_work(p_limit bigint) RETURNS TABLE (o_tenant uuid, o_part bigint, o_upto bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.tenant, x.part, max(x.id) FROM (SELECT o.tenant, o.part, o.id FROM sid.outbox o WHERE o.topic = 'index.vectors'
        ORDER BY o.id LIMIT p_limit) x GROUP BY x.tenant, x.part ORDER BY min(x.id)
$$;

-- Partitions from which something must be gone, the longest waiting first.
CREATE FUNCTION sid.index_removals_due(p_limit bigint) RETURNS TABLE (o_tenant uuid, o_part bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.tenant, x.part FROM (SELECT r.tenant, r.part, r.id FROM sid.index_removals r ORDER BY r.id LIMIT p_limit) x
    GROUP BY x.tenant, x.part ORDER BY min(x.id)
$$;

-- Partitions that are in the index, after (`p_tenant`, `p_part`).
CREATE FUNCTION sid.index_partitions(p_generation int, p_tenant uuid, p_part bigint, p_limit bigint)
RETURNS TABLE (o_tenant uuid, o_part bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.tenant, m.part FROM sid.index_marks m WHERE m.generation = p_generation AND (m.tenant, m.part) > (p_tenant, p_part)
    ORDER BY m.tenant, m.part LIMIT p_limit
$$;

-- The index has nothing of a generation: everything is to be fed again.
CREATE FUNCTION sid.index_is_empty(p_generation int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH again AS (UPDATE sid.index_marks m SET indexed_to = -1 WHERE m.generation = p_generation RETURNING m.tenant, m.part),
        told AS (INSERT INTO sid.outbox (tenant, topic, part, subject, at)
            SELECT again.tenant, 'index.vectors', again.part, again.tenant, clock_timestamp() FROM again RETURNING 1)
    SELECT count(*) FROM told
$$;

-- Partitions of at least so many records that were never fed, and have vectors: to be fed. Answers how many.
CREATE FUNCTION sid.index_enlist(p_from bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH told AS (INSERT INTO sid.outbox (tenant, topic, part, subject, at)
        SELECT DISTINCT p.tenant, 'index.vectors', p.part, p.tenant, clock_timestamp() FROM sid.partitions p CROSS JOIN sid.generations g
        WHERE p.records >= greatest(p_from, 1)
        AND EXISTS (SELECT FROM sid.vectors v WHERE v.tenant = p.tenant AND v.part = p.part AND v.generation = g.id)
        AND NOT EXISTS (SELECT FROM sid.index_marks m WHERE m.tenant = p.tenant AND m.part = p.part AND m.generation = g.id)
        AND NOT EXISTS (SELECT FROM sid.outbox o WHERE o.tenant = p.tenant AND o.part = p.part AND o.topic = 'index.vectors')
        RETURNING 1)
    SELECT count(*) FROM told
$$;

-- The database is given no index any more.
CREATE FUNCTION sid.index_forget() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH waiting AS (DELETE FROM sid.outbox o WHERE o.topic = 'index.vectors'),
        removals AS (DELETE FROM sid.index_removals r),
        marks AS (DELETE FROM sid.index_marks m RETURNING 1)
    SELECT count(*) FROM marks
$$;

-- How far the index is behind.
CREATE FUNCTION sid.index_lag() RETURNS TABLE (o_waiting bigint, o_waits_since timestamptz, o_removals bigint, o_removals_since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT count(*) FROM sid.outbox o WHERE o.topic = 'index.vectors'), (SELECT min(o.at) FROM sid.outbox o WHERE o.topic = 'index.vectors'),
        (SELECT count(*) FROM sid.index_removals), (SELECT min(r.at) FROM sid.index_removals r)
$$;

DO $$
DECLARE f regprocedure;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
    GRANT CREATE ON SCHEMA sid TO sid_engine;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'sid' AND p.proname LIKE 'index\_%' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
        EXECUTE format('ALTER FUNCTION %s OWNER TO sid_engine', f);
    END LOOP;
    REVOKE CREATE ON SCHEMA sid FROM sid_engine;
END $$;
