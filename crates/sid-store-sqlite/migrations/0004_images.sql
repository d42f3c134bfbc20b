-- Schema 4: images that agents had made, and how many.
CREATE TABLE images (
    tenant      INTEGER NOT NULL,
    id          BLOB NOT NULL,
    agent       BLOB NOT NULL,
    user        BLOB,
    conv        BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    -- Last: a row that is listed is read without them.
    bytes       BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX images_by_time ON images (tenant, created_at, id);
CREATE INDEX images_by_user ON images (tenant, user, created_at, id);
CREATE INDEX images_by_conversation ON images (tenant, conv);

-- Of the day that was counted last, one row for each user and one (an empty id) for the tenant.
CREATE TABLE image_use (
    tenant      INTEGER NOT NULL,
    who         BLOB NOT NULL,
    day         INTEGER NOT NULL,
    used        INTEGER NOT NULL,
    PRIMARY KEY (tenant, who)
) STRICT, WITHOUT ROWID;
