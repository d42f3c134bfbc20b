#!/bin/sh
# Run once, by Postgres, on an empty volume: the role that servers connect as, bound by row-level security, and the vector extension.
set -eu
password=$(cat /run/secrets/sid_password)
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --set=password="$password" <<'SQL'
CREATE EXTENSION IF NOT EXISTS vector;
-- `sid-server migrate` makes it a member of `sid_app`, and that is all that it may do.
CREATE ROLE sid_server LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'password';
SQL
