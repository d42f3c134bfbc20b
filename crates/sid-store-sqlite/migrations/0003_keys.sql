-- Schema 3: what a key may do. Keys from before have the usual role of who they stand for (null), and all that it may do.

ALTER TABLE api_keys ADD COLUMN agent_id BLOB;
ALTER TABLE api_keys ADD COLUMN access TEXT;
ALTER TABLE api_keys ADD COLUMN scopes TEXT;
