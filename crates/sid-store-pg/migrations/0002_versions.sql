-- Sid on Postgres, schema 2: which programs can live with a step.

-- The oldest schema whose programs go on working after this step, and may be started; null: only programs that know the step.
ALTER TABLE sid.schema_version ADD COLUMN compatible_from int CHECK (compatible_from BETWEEN 1 AND version);
