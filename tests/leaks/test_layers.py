"""Two locks between tenants, tried one at a time: the application's filters (whose scope is a type that nothing but authentication makes) and
Postgres's row-level security. Each holds alone; with both off the words of others are seen, so the test can fail.
"""
import concurrent.futures, os

from harness.postgres import Database
from harness.server import Server
from play import Play
from unfiltered import Unfiltered, open_functions

OPERATIONS = int(os.environ.get("SID_LEAK_LAYER_OPERATIONS", "4000"))
TABLES = """SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('sid', 'sid_events', 'sid_vectors') AND c.relkind IN ('r', 'p') AND c.relrowsecurity"""


class Layered(Play):
    filters, row_security = True, True

    @classmethod
    def setUpClass(cls):
        cls.database = Database()
        cls.addClassCleanup(cls.database.drop)
        super().setUpClass()
        tables = cls.database.sql(TABLES).split()
        if not cls.row_security:
            # Each in a transaction of its own: one that locked table after table could wait for a server that waits for it.
            cls.database.sql(" ".join(f"BEGIN; ALTER TABLE {t} DISABLE ROW LEVEL SECURITY; COMMIT;" for t in tables))

    @classmethod
    def make_server(cls):
        database = cls.database if cls.filters else Unfiltered(cls.database)
        server = Server(cls.configuration(), database=database)
        server.migrate()
        if not cls.filters:
            assert open_functions(database) > 5, "the functions of the schema have no filters that this test knows"
        cls.proxy = database
        return server


class RowSecurityAlone(Layered):
    """What a statement that forgot its tenant would meet."""

    filters = False

    def test_it_holds(self):
        self.play(OPERATIONS)
        self.assertGreater(self.proxy.statements, 100, "hardly a statement went through the proxy")


class FiltersAlone(Layered):
    """As if a migration had forgotten the policies."""

    row_security = False

    def test_they_hold(self):
        self.play(OPERATIONS)


class Neither(Layered):
    filters, row_security = False, False

    def test_then_words_are_seen(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool, self.assertRaises(AssertionError) as seen:
            list(pool.map(self.one, range(OPERATIONS)))
        print(str(seen.exception)[:200])
        self.assertRegex(str(seen.exception), "^seed .* saw cnry|'.*ID.*' != '.*ID.*'")


del Play, Layered  # They are no tests of their own.


def load_tests(loader, tests, pattern):
    """The locks are those of Postgres: with another store there is nothing to try."""
    return tests if os.environ.get("SID_TEST_STORE") == "postgres" else loader.suiteClass()
