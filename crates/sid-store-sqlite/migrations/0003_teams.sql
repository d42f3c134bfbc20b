-- Schema 3: teams that are parts of others, and what somebody is in them.

ALTER TABLE teams ADD COLUMN parent BLOB;

-- Whoever is in a team has a row for each team that it is a part of, too; so has an agent that may read it. Who asks who sees what
-- knows nothing of parts. `given`: the role that was given in this very team (0 member, 1 lead); null where only parts of it bring the user
-- in. `role`: the highest of that and of those in its parts.
ALTER TABLE team_members ADD COLUMN given INTEGER DEFAULT 0;
ALTER TABLE team_members ADD COLUMN role INTEGER NOT NULL DEFAULT 0;
