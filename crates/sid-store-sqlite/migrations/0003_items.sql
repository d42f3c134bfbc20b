-- Schema 3: items of the context service.

-- `owner_kind`, `a` and `b` as in `partitions`; `of_user`: the user whose it is, for a user's and a pair's. `kind` by its name in the API.
-- `tags`: JSON, one tag a line. The body stands last: whoever reads the other columns of a long one does not read its pages.
CREATE TABLE items (
    item        INTEGER PRIMARY KEY,
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    kind        TEXT NOT NULL,
    owner_kind  INTEGER NOT NULL,
    a           BLOB NOT NULL,
    b           BLOB NOT NULL,
    of_user     BLOB,
    parent      BLOB,
    root        BLOB NOT NULL,
    position    INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    state       TEXT NOT NULL,
    recipient   BLOB,
    written_by  BLOB,
    source_conv BLOB,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    title       TEXT NOT NULL,
    tags        TEXT NOT NULL,
    provenance  TEXT NOT NULL,
    data        TEXT NOT NULL,
    body        TEXT NOT NULL,
    UNIQUE (tenant, id)
) STRICT;
-- Lists begin in one of these, kind by kind, at their newest end. `parent`: tops are told without a look at the row.
CREATE INDEX items_by_user ON items (tenant, of_user, kind, updated_at, id, parent) WHERE of_user IS NOT NULL;
CREATE INDEX items_by_owner ON items (tenant, owner_kind, a, b, kind, updated_at, id, parent);
CREATE INDEX items_by_kind ON items (tenant, kind, updated_at, id, parent);
CREATE INDEX items_by_recipient ON items (tenant, recipient, of_user, state, updated_at, id) WHERE recipient IS NOT NULL;
CREATE INDEX items_by_parent ON items (tenant, parent, updated_at, id) WHERE parent IS NOT NULL;
CREATE INDEX items_by_tree ON items (tenant, root, updated_at, id);
CREATE INDEX items_by_source ON items (tenant, source_conv) WHERE source_conv IS NOT NULL;

-- `root`: the top of the shared tree. `with_kind`: 0 a user, 1 a team. `level`: 0 read, 1 edit, 2 full.
CREATE TABLE item_shares (
    tenant      INTEGER NOT NULL,
    root        BLOB NOT NULL,
    with_kind   INTEGER NOT NULL,
    with_id     BLOB NOT NULL,
    level       INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, root, with_kind, with_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_shares_by_sharee ON item_shares (tenant, with_kind, with_id);
