"""An empty database on the throw-away Postgres that the Rust tests use too (crates/sid-testkit/src/postgres.rs)."""
import json, subprocess

from . import paths


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
        run = [str(paths.example("postgres_server")), "sql", self.name, statement]
        return subprocess.run(run, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.strip()

    def copy(self):
        """A database with all that is in this one now, under other URLs; nobody may be connected to this one. It goes with the cluster."""
        name = f"{self.name}_copy"
        run = [str(paths.example("postgres_server")), "sql", "postgres", f"CREATE DATABASE {name} TEMPLATE {self.name}"]
        subprocess.run(run, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        other = lambda url: url.replace(self.name, name)
        return name, other(self.url), other(self.admin_url)

    def drop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
