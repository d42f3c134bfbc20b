-- Schema 4: where what is written came from.

-- The sources of a diary page that are not to be trusted, as JSON.
ALTER TABLE diary ADD COLUMN untrusted TEXT NOT NULL DEFAULT '[]';
