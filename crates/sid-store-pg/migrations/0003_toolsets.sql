-- Sid on Postgres, schema 3: functions that a tenant gave its agents.

CREATE TABLE sid.toolsets (
    tenant      uuid NOT NULL,
    name        text NOT NULL,
    kind        text NOT NULL,
    source      text NOT NULL,
    is_default  boolean NOT NULL,
    version     bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, name)
);
ALTER TABLE sid.toolsets ENABLE ROW LEVEL SECURITY;
ALTER TABLE sid.toolsets FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON sid.toolsets TO sid_app USING (tenant = sid.tenant()) WITH CHECK (tenant = sid.tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON sid.toolsets TO sid_app;
