"""The vector index beside Postgres: chosen by configuration, refused with a reason when it cannot be had, missed without losing anything."""
import unittest

from harness.api import make_tenant
from harness.postgres import Database
from harness.qdrant import Qdrant
from harness.server import Server, StartError, free_port
from harness.waiting import until


class Index(unittest.TestCase):
    def server(self, vectors, database=None):
        server = Server({"vectors": vectors}, store="postgres", database=database)
        self.addCleanup(server.remove)
        return server

    def fails(self, server, code, *words):
        with self.assertRaises(StartError):
            server.start()
        self.assertEqual(server.process.returncode, 1)
        for word in (f"error {code}:", *words):
            self.assertIn(word, server.text())
        self.assertNotIn("panicked", server.text())
        self.assertNotIn("listens on", server.text(), "it never half-starts")

    def test_qdrant_without_an_address(self):
        server = self.server({"kind": "qdrant"})
        with self.assertRaises(StartError) as caught:
            server.start()
        self.assertIn("vectors.url", str(caught.exception))

    def test_an_index_for_the_embedded_store(self):
        server = Server({"vectors": {"kind": "pgvector"}}, store="sqlite")
        self.addCleanup(server.remove)
        self.fails(server, "SID-CONFIG-BAD-VALUE", "vectors.kind", "postgres")

    def test_qdrant_cannot_be_reached(self):
        self.fails(self.server({"kind": "qdrant", "url": f"http://127.0.0.1:{free_port()}"}), "SID-STORE-UNAVAILABLE", "Qdrant")

    def test_not_an_address(self):
        self.fails(self.server({"kind": "qdrant", "url": "not an address"}), "SID-STORE-SETUP", "http://host:6334")

    def test_pgvector(self):
        server = self.server({"kind": "pgvector", "from": 0})
        server.start()
        self.remember(server)

    def test_pgvector_is_not_there(self):
        database = Database()
        self.addCleanup(database.drop)
        first = self.server({}, database)
        first.migrate()
        database.sql("DROP EXTENSION IF EXISTS vector CASCADE")
        self.fails(self.server({"kind": "pgvector"}, database), "SID-STORE-SETUP", "sid-server migrate")

    def remember(self, server):
        """Passages are found while the index has them, and while it has not."""
        inside = make_tenant(server.api, "t", ["ann"], ["helper"])
        for text in ("Ann keeps bees behind the shed", "The dentist is on Baker Street", "Ann's sister plays the clarinet"):
            inside.post("/passages", {"owner": {"type": "user", "user": "@ann"}, "text": text})
        self.assertEqual(self.found(inside, "where does Ann keep her bees"), "Ann keeps bees behind the shed")
        inside.get("/index", wait_ms=20_000)
        self.assertEqual(self.found(inside, "where does Ann keep her bees"), "Ann keeps bees behind the shed")
        return inside

    def found(self, inside, query):
        hits = inside.post("/search", {"query": query, "k": 3, "agent": "@helper", "user": "@ann"})["hits"]
        return hits[0]["text"] if hits else None

    def metric(self, server, name):
        text = server.api.raw("GET", "/metrics")[2].decode()
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " ")), None)

    def test_qdrant_goes_and_comes_back(self):
        with Qdrant() as qdrant:
            if qdrant.given:
                self.skipTest("a cluster that is not ours is not stopped")
            server = self.server({"kind": "qdrant", "url": qdrant.url, "from": 0})
            server.start()
            inside = self.remember(server)
            qdrant.kill()
            self.assertEqual(self.found(inside, "bees behind the shed"), "Ann keeps bees behind the shed", "search goes on without it")
            inside.post("/passages", {"owner": {"type": "user", "user": "@ann"}, "text": "The spare key hangs in the cellar"})
            self.assertEqual(self.found(inside, "where is the spare key"), "The spare key hangs in the cellar")
            self.assertEqual(server.api.raw("GET", "/health/ready")[0], 200)
            qdrant.wipe()
            qdrant.start()
            until("everything is fed again", lambda: self.metric(server, "sid_vector_index_waiting_changes") == 0, every_s=0.2)
            self.assertEqual(self.found(inside, "where is the spare key"), "The spare key hangs in the cellar")
