-- Sid on Postgres, schema 2: how long texts are stored.

-- Long texts are compressed quickly, where the server knows how.
DO $$
BEGIN
    ALTER TABLE sid.steps ALTER COLUMN doc SET COMPRESSION lz4, ALTER COLUMN tail SET COMPRESSION lz4, ALTER COLUMN recalled SET COMPRESSION lz4;
    ALTER TABLE sid.conversation_heads ALTER COLUMN prefix SET COMPRESSION lz4, ALTER COLUMN summary SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
    RAISE NOTICE 'this server was built without lz4';
END $$;
