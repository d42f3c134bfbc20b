-- Sid on Postgres, schema 3: items of the context service.

-- `owner_kind`, `a` and `b` as in `partitions`; `of_user`: the user whose it is, for a user's and a pair's. `kind` by its name in the API.
-- Long bodies lie apart (TOAST): whoever reads the other columns does not read them.
CREATE TABLE sid.items (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    kind        text NOT NULL,
    owner_kind  smallint NOT NULL CHECK (owner_kind BETWEEN 0 AND 4),
    a           uuid NOT NULL,
    b           uuid NOT NULL,
    of_user     uuid,
    parent      uuid,
    root        uuid NOT NULL,
    position    int NOT NULL,
    version     bigint NOT NULL,
    state       text NOT NULL,
    recipient   uuid,
    written_by  uuid,
    source_conv uuid,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    title       text NOT NULL,
    tags        text[] NOT NULL,
    provenance  text NOT NULL,
    data        text NOT NULL,
    body        text NOT NULL,
    PRIMARY KEY (tenant, id)
);
-- Lists begin in one of these, kind by kind, at their newest end. `parent`: tops are told without a look at the row.
CREATE INDEX items_by_user ON sid.items (tenant, of_user, kind, updated_at, id, parent) WHERE of_user IS NOT NULL;
CREATE INDEX items_by_owner ON sid.items (tenant, owner_kind, a, b, kind, updated_at, id, parent);
CREATE INDEX items_by_kind ON sid.items (tenant, kind, updated_at, id, parent);
CREATE INDEX items_by_recipient ON sid.items (tenant, recipient, of_user, state, updated_at, id) WHERE recipient IS NOT NULL;
CREATE INDEX items_by_parent ON sid.items (tenant, parent, updated_at, id) WHERE parent IS NOT NULL;
CREATE INDEX items_by_tree ON sid.items (tenant, root, updated_at, id);
CREATE INDEX items_by_source ON sid.items (tenant, source_conv) WHERE source_conv IS NOT NULL;

-- `root`: the top of the shared tree. `with_kind`: 0 a user, 1 a team. `level`: 0 read, 1 edit, 2 full.
CREATE TABLE sid.item_shares (
    tenant      uuid NOT NULL,
    root        uuid NOT NULL,
    with_kind   smallint NOT NULL CHECK (with_kind BETWEEN 0 AND 1),
    with_id     uuid NOT NULL,
    level       smallint NOT NULL CHECK (level BETWEEN 0 AND 2),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, root, with_kind, with_id)
);
CREATE INDEX item_shares_by_sharee ON sid.item_shares (tenant, with_kind, with_id);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['items', 'item_shares'] LOOP
        EXECUTE format('ALTER TABLE sid.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sid.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_tenant ON sid.%I TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant())', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sid.%I TO sid_app', t);
    END LOOP;
END $$;

-- Removes the rows of items with all that is below them, and the shares of these; answers their ids. Whoever adds to a tree, moves in it or
-- deletes from it holds its top, so nothing is added below meanwhile.
CREATE FUNCTION sid.drop_items(p_tenant uuid, p_tops uuid[]) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
    SELECT 1 FROM sid.items t WHERE t.tenant = p_tenant
        AND t.id IN (SELECT i.root FROM sid.items i WHERE i.tenant = p_tenant AND i.id = ANY (p_tops)) ORDER BY t.id FOR UPDATE;
    WITH RECURSIVE gone (id) AS (
        SELECT i.id FROM sid.items i WHERE i.tenant = p_tenant AND i.id = ANY (p_tops)
        UNION SELECT i.id FROM gone JOIN sid.items i ON i.tenant = p_tenant AND i.parent = gone.id
    ), shares AS (
        DELETE FROM sid.item_shares s USING gone WHERE s.tenant = p_tenant AND s.root = gone.id
    )
    DELETE FROM sid.items i USING gone WHERE i.tenant = p_tenant AND i.id = gone.id RETURNING i.id
$$;

-- Servers of schema 2 know nothing of items and erase all the same: what they leave goes by itself. Servers of this schema have counted and
-- removed it before. Passages of items go as passages, which those servers do know.
CREATE FUNCTION sid.items_of_gone() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_tops uuid[];
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        v_tops := ARRAY(SELECT i.id FROM sid.items i WHERE i.tenant = OLD.tenant AND i.of_user = OLD.id);
        DELETE FROM sid.item_shares s WHERE s.tenant = OLD.tenant AND s.with_kind = 0 AND s.with_id = OLD.id;
    ELSIF TG_TABLE_NAME = 'agents' THEN
        v_tops := ARRAY(SELECT i.id FROM sid.items i WHERE i.tenant = OLD.tenant AND i.owner_kind IN (3, 4) AND i.a = OLD.id);
    ELSE
        v_tops := ARRAY(SELECT i.id FROM sid.items i WHERE i.tenant = OLD.tenant AND i.source_conv = OLD.id);
    END IF;
    PERFORM sid.drop_items(OLD.tenant, v_tops);
    RETURN NULL;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY['sid.drop_items(uuid, uuid[])', 'sid.items_of_gone()']::regprocedure[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO sid_app', f);
    END LOOP;
END $$;

CREATE TRIGGER items_of_gone AFTER DELETE ON sid.users FOR EACH ROW EXECUTE FUNCTION sid.items_of_gone();
CREATE TRIGGER items_of_gone AFTER DELETE ON sid.agents FOR EACH ROW EXECUTE FUNCTION sid.items_of_gone();
CREATE TRIGGER items_of_gone AFTER DELETE ON sid.conversations FOR EACH ROW EXECUTE FUNCTION sid.items_of_gone();
