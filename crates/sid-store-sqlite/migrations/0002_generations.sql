-- Which embedding generation is searched: at most one.
ALTER TABLE generations ADD COLUMN active INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX generations_active ON generations (active) WHERE active = 1
