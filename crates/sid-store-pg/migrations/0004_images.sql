-- Sid on Postgres, schema 4: images that agents had made, and how many.

CREATE TABLE sid.images (
    tenant      uuid NOT NULL,
    id          uuid NOT NULL,
    agent_id    uuid NOT NULL,
    user_id     uuid,
    conv        uuid NOT NULL,
    created_at  timestamptz NOT NULL,
    doc         text NOT NULL,
    bytes       bytea NOT NULL,
    PRIMARY KEY (tenant, id)
);
-- They are compressed already.
ALTER TABLE sid.images ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX images_by_time ON sid.images (tenant, created_at, id);
CREATE INDEX images_by_user ON sid.images (tenant, user_id, created_at, id);
CREATE INDEX images_by_conversation ON sid.images (tenant, conv);
ALTER TABLE sid.images ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.images FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.images TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.images TO sid_app;

-- Of the day that was counted last, one row for each user and one (the nil id) for the tenant.
CREATE TABLE sid.image_use (
    tenant      uuid NOT NULL,
    who         uuid NOT NULL,
    day         bigint NOT NULL,
    used        bigint NOT NULL,
    PRIMARY KEY (tenant, who)
);
ALTER TABLE sid.image_use ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.image_use FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.image_use TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.image_use TO sid_app;

-- They go with their conversation and their user, whoever erases it, a server of schema 3 as well.
CREATE FUNCTION sid.images_of_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        DELETE FROM sid.image_use u WHERE u.tenant = OLD.tenant AND u.who = OLD.id;
    ELSE
        DELETE FROM sid.images i WHERE i.tenant = OLD.tenant AND i.conv = OLD.id;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION sid.images_of_gone() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid.images_of_gone() TO sid_app;
CREATE TRIGGER images_of_gone AFTER DELETE ON sid.users FOR EACH ROW EXECUTE FUNCTION sid.images_of_gone();
CREATE TRIGGER images_of_gone AFTER DELETE ON sid.conversations FOR EACH ROW EXECUTE FUNCTION sid.images_of_gone();
