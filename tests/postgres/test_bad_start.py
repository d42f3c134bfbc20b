"""What an operator gets wrong with Postgres: the server says what to do, has changed nothing, and never half-starts."""
import subprocess, unittest

from harness import paths
from harness.postgres import Database
from harness.server import Server, StartError, environment, free_port


class Starting(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.database = Database()
        cls.addClassCleanup(cls.database.drop)
        first = Server(database=cls.database)
        cls.addClassCleanup(first.remove)
        first.migrate()
        cls.key = first.key

    def server(self, url=None):
        server = Server(database=self.database)
        self.addCleanup(server.remove)
        if url:
            server.config["store"]["url"] = url
        return server

    def fails(self, server, code, *words):
        with self.assertRaises(StartError) as caught:
            server.start()
        self.assertEqual(server.process.returncode, 1)
        text = server.text()
        for word in (f"error {code}:", *words):
            self.assertIn(word, text)
        self.assertNotIn("panicked", text)
        self.assertNotIn("listens on", text, "it never half-starts")
        self.assertTrue((paths.ROOT / "docs" / "errors" / f"{code}.md").exists())
        return text

    def url(self, user="sid_server", database=None):
        head, name = self.database.url.rsplit("/", 1)
        return head.replace("sid_server@", f"{user}@") + "/" + (database or name)

    def test_no_url(self):
        server = self.server()
        del server.config["store"]["url"]
        self.fails(server, "SID-CONFIG-BAD-VALUE", "store.url", "postgres://user:password@host:5432/database")

    def test_not_a_postgres_url(self):
        self.fails(self.server("mysql://root:secret@localhost/sid"), "SID-STORE-SETUP", "postgres://user:password@host:5432/database")

    def test_the_password_is_not_told(self):
        text = self.fails(self.server("postgres://u:hunter2@127.0.0.1:99999/x"), "SID-STORE-SETUP")
        self.assertNotIn("hunter2", text)

    def test_nobody_answers(self):
        port = free_port()
        self.fails(self.server(f"postgres://sid@127.0.0.1:{port}/sid"), "SID-STORE-UNAVAILABLE", f"127.0.0.1:{port}", "is the URL right?")

    def test_no_such_database(self):
        self.fails(self.server(self.url(database="not_there")), "SID-STORE-SETUP", "no such database")

    def test_no_such_user(self):
        self.fails(self.server(self.url(user="stranger")), "SID-STORE-SETUP", "check user and password")

    def test_a_superuser_is_refused(self):
        self.fails(self.server(self.url(user="sid_admin")), "SID-STORE-SETUP", "sid_app")

    def test_an_empty_database(self):
        empty = Database()
        self.addCleanup(empty.drop)
        server = Server(database=empty)
        self.addCleanup(server.remove)
        self.fails(server, "SID-STORE-SETUP", "sid-server migrate")
        server.migrate()
        server.start()
        self.assertEqual(server.api.raw("GET", "/health/ready")[0], 200)

    def test_a_newer_schema(self):
        self.database.sql("INSERT INTO sid.schema_version (version) VALUES (99)")
        try:
            self.fails(self.server(), "SID-STORE-SETUP", "newer Sid", "99")
            with self.assertRaises(StartError) as caught:
                self.server().migrate()
            self.assertIn("SID-STORE-SETUP", str(caught.exception))
        finally:
            self.database.sql("DELETE FROM sid.schema_version WHERE version = 99")

    def test_an_older_schema(self):
        """As a server of this version meets a database that was not migrated for it."""
        self.database.sql("CREATE TABLE public.later AS SELECT * FROM sid.schema_version WHERE version > 1")
        self.database.sql("DELETE FROM sid.schema_version WHERE version > 1")
        try:
            self.fails(self.server(), "SID-STORE-SETUP", "the database has schema 1", "sid-server migrate")
        finally:
            self.database.sql("INSERT INTO sid.schema_version SELECT * FROM public.later")
            self.database.sql("DROP TABLE public.later")

    def test_migrating_again_prints_no_second_key(self):
        server = self.server()
        server.migrate()
        self.assertIsNone(server.key)
        server.key = self.key
        server.start()
        self.assertEqual(server.api.get("/tenants")["items"][0]["name"], "default")

    def test_migrate_needs_the_owner(self):
        empty = Database()
        self.addCleanup(empty.drop)
        server = Server(database=empty)
        self.addCleanup(server.remove)
        server.config["store"]["admin_url"] = empty.url
        with self.assertRaises(StartError) as caught:
            server.migrate()
        self.assertIn("migrate as its owner", str(caught.exception))
        del server.config["store"]["admin_url"]
        with self.assertRaises(StartError) as caught:
            server.migrate()
        self.assertIn("store.admin_url", str(caught.exception))

    def test_migrate_without_postgres(self):
        went = subprocess.run([str(paths.binary("sid-server")), "--store", "in-process", "migrate"], capture_output=True, text=True, env=environment())
        self.assertEqual(went.returncode, 1)
        self.assertIn("store.kind", went.stderr)
