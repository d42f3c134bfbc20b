-- Sid on Postgres, where pgvector is: the vector index inside the database. Run once, by the
-- first migration that finds the extension. An at sign stands for its schema.
--
-- The engine's role owns it, in a schema of its own in which it may create: it makes an HNSW index for each generation, of that generation's
-- dimensions. It cannot log in, and does nothing but what the functions below do.

CREATE SCHEMA sid_vectors;
GRANT USAGE ON SCHEMA sid_vectors TO sid_app;
GRANT USAGE, CREATE ON SCHEMA sid_vectors TO sid_engine;

DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT sid_engine TO %I', current_user);
    END IF;
END $$;

CREATE TABLE sid_vectors.generations (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    dimensions  int NOT NULL
);

CREATE TABLE sid_vectors.points (
    tenant      uuid NOT NULL,
    generation  int NOT NULL,
    part        bigint NOT NULL,
    rid         bigint NOT NULL,
    chunk       int NOT NULL,
    version     bigint NOT NULL,
    kind        smallint NOT NULL,
    conv        uuid,
    seq         bigint,
    role        smallint,
    at          timestamptz NOT NULL,
    embedding   @.halfvec NOT NULL,
    PRIMARY KEY (tenant, generation, part, rid, chunk, version)
);
ALTER TABLE sid_vectors.points ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid_vectors.points FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid_vectors.points TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
CREATE POLICY of_engine ON sid_vectors.points TO sid_engine USING (true) WITH CHECK (true);
GRANT SELECT ON sid_vectors.generations TO sid_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON sid_vectors.points TO sid_app;

-- A generation by name, made with its index if it is not there; answers its dimensions.
CREATE FUNCTION sid_vectors.make(p_name text, p_dimensions int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id int;
    v_dimensions int;
BEGIN
    -- One at a time: an index that is being made twice is refused.
    PERFORM pg_advisory_xact_lock(hashtext('sid_vectors.make'));
    SELECT g.dimensions INTO v_dimensions FROM sid_vectors.generations g WHERE g.name = p_name;
    IF v_dimensions IS NOT NULL THEN
        RETURN v_dimensions;
    END IF;
    INSERT INTO sid_vectors.generations (name, dimensions) VALUES (p_name, p_dimensions) RETURNING id INTO v_id;
    -- pgvector's graph takes up to so many dimensions; longer vectors are compared one by one.
    IF p_dimensions <= 4000 THEN
        EXECUTE format('CREATE INDEX points_near_%s ON sid_vectors.points USING hnsw ((embedding::@.halfvec(%s)) @.halfvec_cosine_ops)
            WHERE generation = %s', v_id, p_dimensions, v_id);
    END IF;
    RETURN p_dimensions;
END $$;

CREATE FUNCTION sid_vectors.drop_generation(p_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id int;
BEGIN
    DELETE FROM sid_vectors.generations g WHERE g.name = p_name RETURNING g.id INTO v_id;
    IF v_id IS NOT NULL THEN
        EXECUTE format('DROP INDEX IF EXISTS sid_vectors.points_near_%s', v_id);
        DELETE FROM sid_vectors.points p WHERE p.generation = v_id;
    END IF;
END $$;

ALTER TABLE sid_vectors.generations OWNER TO sid_engine;
ALTER TABLE sid_vectors.points OWNER TO sid_engine;
REVOKE ALL ON FUNCTION sid_vectors.make(text, int), sid_vectors.drop_generation(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid_vectors.make(text, int), sid_vectors.drop_generation(text) TO sid_app;
ALTER FUNCTION sid_vectors.make(text, int) OWNER TO sid_engine;
ALTER FUNCTION sid_vectors.drop_generation(text) OWNER TO sid_engine;
