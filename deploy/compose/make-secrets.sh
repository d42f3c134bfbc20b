#!/bin/sh
# Makes the secrets of compose.yaml, each in a file. What is there already stays, so it can be run again.
# The folder is closed to other users of this machine; the files are open, because containers read them as users of their own.
set -eu
umask 022
folder="$(dirname "$0")/secrets"
mkdir -p "$folder"
chmod 700 "$folder"

keep() { # NAME: writes its standard input to secrets/NAME, unless that is there
    if [ -s "$folder/$1" ]; then cat > /dev/null; else cat > "$folder/$1"; fi
}
random() { # Letters and digits only: it stands in URLs.
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

random | keep postgres_password
random | keep sid_password
random | keep qdrant_api_key
printf 'postgres://sid_owner:%s@postgres:5432/sid' "$(cat "$folder/postgres_password")" | keep admin_url
printf 'postgres://sid_server:%s@postgres:5432/sid' "$(cat "$folder/sid_password")" | keep database_url
printf 'service:\n  api_key: %s\n' "$(cat "$folder/qdrant_api_key")" | keep qdrant_key_config.yaml
# The model endpoint's key: replace it if the endpoint wants one.
printf 'none' | keep model_api_key
