"""An empty database on the throw-away Postgres that the Rust tests use too (crates/sid-testkit/src/postgres.rs)."""
import json, os, subprocess

from . import paths


def run_sql(database, statement):
    """Runs SQL in a database of the cluster as a superuser; gives what it prints."""
    run = [str(paths.example("postgres_server")), "sql", database, statement]
    # A trace of the helper's own calls would push the reason out of what is shown.
    done = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, "RUST_BACKTRACE": "0"})
    if done.returncode:
        raise RuntimeError(f"SQL failed: {statement[:200]}\n{done.stderr[-2000:]}")
    return done.stdout.strip()


class Database:
    """`admin_url` (its owner) and `url` (a login role that servers may use); gone after `drop`, or with this process."""

    def __init__(self):
        paths.parts("postgres")
        self.process = subprocess.Popen([str(paths.example("postgres_server"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the throw-away Postgres did not start: see above")
        urls = json.loads(line)
        self.admin_url, self.url, self.name = urls["admin_url"], urls["url"], urls["name"]

    def sql(self, statement):
        """Runs SQL in it as a superuser; gives what it prints."""
        return run_sql(self.name, statement)

    def copy(self):
        """A database with all that is in this one now, under other URLs; nobody may be connected to this one. It goes with the cluster."""
        name = f"{self.name}_copy"
        run_sql("postgres", f"CREATE DATABASE {name} TEMPLATE {self.name}")
        other = lambda url: url.replace(self.name, name)
        return name, other(self.url), other(self.admin_url)

    def drop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
