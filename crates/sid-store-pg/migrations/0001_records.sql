-- Sid on Postgres, schema 1: searchable records, written and forgotten inside a transaction that has entered its tenant.
--
-- Each draws its numbers under the partition's lock and leaves the last one as the partition's version: a copy in memory that has seen
-- version V has seen everything up to it.

CREATE FUNCTION sid.put_passage(p_tenant uuid, p_part bigint, p_id uuid, p_text text, p_tags text, p_at timestamptz, p_provenance text,
    p_source uuid, p_created timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = p_part FOR UPDATE;
    INSERT INTO sid.passages (tenant, id, part, rid, text, tags, at, provenance, source_conv, created_at)
    VALUES (p_tenant, p_id, p_part, nextval('sid.rids') * 4 + 1, p_text, p_tags, p_at, p_provenance, p_source, p_created);
    UPDATE sid.partitions s SET records = s.records + 1, version = nextval('sid.rids') * 4 WHERE s.tenant = p_tenant AND s.part = p_part;
END $$;

CREATE FUNCTION sid.put_page(p_tenant uuid, p_part bigint, p_level smallint, p_start date, p_id uuid, p_text text, p_messages text,
    p_floor boolean, p_written timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = p_part FOR UPDATE;
    INSERT INTO sid.diary (tenant, part, level, start, id, rid, text, messages, is_floor, written_at)
    VALUES (p_tenant, p_part, p_level, p_start, p_id, nextval('sid.rids') * 4 + 2, p_text, p_messages, p_floor, p_written);
    UPDATE sid.partitions s SET records = s.records + 1, version = nextval('sid.rids') * 4 WHERE s.tenant = p_tenant AND s.part = p_part;
END $$;

-- Makes a record, whose row is gone, unfindable; answers how many vectors went with it. `p_tokens`: its words.
CREATE FUNCTION sid.forget_record(p_tenant uuid, p_part bigint, p_rid bigint, p_id uuid, p_tokens bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_vectors bigint;
    v_filled bigint;
BEGIN
    SELECT s.filled_to INTO v_filled FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = p_part FOR UPDATE;
    WITH gone AS (DELETE FROM sid.vectors v WHERE v.tenant = p_tenant AND v.part = p_part AND v.rid = p_rid RETURNING length(v.vector) AS size)
    SELECT count(*) FILTER (WHERE size > 0) INTO v_vectors FROM gone;
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
CREATE FUNCTION sid.put_vectors(p_tenant uuid, p_part bigint, p_generation int, p_rids bigint[], p_numbers bigint[], p_chunks int[],
    p_first bigint[], p_end bigint[], p_vectors bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_change bigint;
BEGIN
    PERFORM 1 FROM sid.partitions s WHERE s.tenant = p_tenant AND s.part = p_part FOR UPDATE;
    v_change := nextval('sid.rids') * 4;
    DELETE FROM sid.vectors v WHERE v.tenant = p_tenant AND v.part = p_part AND v.generation = p_generation AND v.rid = ANY (p_rids);
    INSERT INTO sid.vectors (tenant, part, generation, rid, chunk, change, first_byte, end_byte, vector)
    SELECT p_tenant, p_part, p_generation, x.rid, x.chunk, v_change, x.first, x.last, x.vector
    FROM unnest(p_numbers, p_chunks, p_first, p_end, p_vectors) AS x(rid, chunk, first, last, vector)
    -- Looked at under the lock: a record that was erased meanwhile gets no vectors.
    WHERE EXISTS (SELECT FROM sid.messages m WHERE x.rid & 3 = 0 AND m.tenant = p_tenant AND m.part = p_part AND m.rid = x.rid)
        OR EXISTS (SELECT FROM sid.passages m WHERE x.rid & 3 = 1 AND m.tenant = p_tenant AND m.part = p_part AND m.rid = x.rid)
        OR EXISTS (SELECT FROM sid.diary m WHERE x.rid & 3 = 2 AND m.tenant = p_tenant AND m.part = p_part AND m.rid = x.rid);
    UPDATE sid.partitions s SET version = v_change WHERE s.tenant = p_tenant AND s.part = p_part;
END $$;
