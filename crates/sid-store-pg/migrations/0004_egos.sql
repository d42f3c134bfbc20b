-- Sid on Postgres, schema 4: egos. The document is what was put.

CREATE TABLE sid.egos (
    tenant      uuid NOT NULL,
    name        text NOT NULL,
    doc         text NOT NULL,
    version     bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, name)
);
ALTER TABLE sid.egos ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.egos FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.egos TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.egos TO sid_app;
