"""Changing the embedder while everything goes on: `[next_embedder]` and `sid reindex`, with a crash in the middle."""
import json, subprocess

from harness import paths
from harness.case import Case
from harness.server import environment
from harness.waiting import until

OLD = "lexical-hash/384/c1"
RECORDS = 4000


class Reindex(Case):
    # The embedding duty of a server that was killed is free again when its lease has expired.
    config = {"engine": {"diary": False}}

    def generations(self):
        known = {g["id"]: g for g in self.api.get("/generations")["items"]}
        self.assertLessEqual(sum(g["is_active"] for g in known.values()), 1, known)
        return known

    def sid(self, *arguments):
        """`sid reindex` against the server; its last words as JSON."""
        done = subprocess.run([str(paths.binary("sid")), "reindex", *arguments, "--json"], capture_output=True, text=True, timeout=600,
                              env={**environment(), "SID_SERVER": self.server.url, "SID_API_KEY": self.server.key})
        self.assertEqual(done.returncode, 0, done.stderr)
        return {g["id"]: g for g in json.loads(done.stdout)["items"]}

    def restart(self, dimensions):
        self.server.config["embedder"] = {"kind": "lexical"}
        self.server.config.pop("next_embedder", None)
        if dimensions:
            self.server.config["next_embedder"] = {"kind": "lexical", "dimensions": dimensions}
        self.server.start()

    def found(self, inside, generation=None):
        """A search that words and vectors answer; which vectors the server searched with, and whether the hit was found by them."""
        answer = inside.post("/search", {"query": "a jar of gherkins", "k": 1, "agent": "@helper", "user": "@ann"})
        hit = answer["hits"][0]
        self.assertIn("gherkins", hit["text"])
        if generation:
            self.assertEqual(answer["index"]["generation"], generation)
        return answer["index"]["generation"], hit["channels"]["dense"] > 0

    def caught_in_the_middle(self):
        """Starts the server with another next embedder until it is killed while that one's vectors are half made; gives its name and how far it was."""
        for dimensions in range(40, 140, 10):
            new = f"lexical-hash/{dimensions}/c1"
            self.restart(dimensions)
            now = {}
            while now.get("pending") != 0:
                now = self.generations().get(new, {})
                if now.get("indexed") and now["pending"]:
                    self.server.kill()
                    self.assertFalse(now["is_active"])
                    return dimensions, new, now["indexed"]
            # Too fast for us: back to the old one, and once more.
            until("switched", lambda: self.generations()[new]["is_active"])
            self.server.stop()
            self.restart(None)
            until("switched back", lambda: self.generations()[OLD]["is_active"])
            self.server.stop()
        self.fail("it was never caught in the middle")

    def test_a_change_that_is_interrupted(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        for first in range(0, RECORDS, 1000):
            said = [{"role": "user", "text": f"The number of this note is {n}, and it is about nothing else."} for n in range(first, first + 1000)]
            inside.post(f"/conversations/{conversation}/import", {"messages": said})
        inside.post(f"/conversations/{conversation}/import", {"messages": [{"role": "user", "text": "The gherkins stand behind the cellar door."}]})
        before = self.sid()
        self.assertTrue(before[OLD]["is_active"] and before[OLD]["is_wanted"] and before[OLD]["pending"] == 0, before)
        self.assertEqual(self.found(inside), (OLD, True))
        self.server.stop()

        dimensions, new, done = self.caught_in_the_middle()
        self.restart(dimensions)
        # It goes on where it was, and until it is complete the old vectors answer.
        status = self.sid("--status")
        self.assertGreaterEqual(status[new]["indexed"], done)
        generation, by_vectors = self.found(inside)
        self.assertIn(generation, (OLD, new))
        self.assertTrue(by_vectors)
        # What is new meanwhile is embedded for both.
        inside.post(f"/conversations/{conversation}/import", {"messages": [{"role": "user", "text": "Marmalade stands beside them."}]})

        after = self.sid()
        self.assertTrue(after[new]["is_active"] and after[new]["pending"] == 0, after)
        self.assertEqual(after[new]["indexed"], RECORDS + 2)
        until("searched with the new one", lambda: self.found(inside)[0] == new)
        self.assertEqual(self.found(inside, new), (new, True))
        until("both are up to date", lambda: self.generations()[OLD]["pending"] == 0)

        # Both are configured: both stay. With the new one alone the old one may go.
        self.assertIn(OLD, self.sid("--drop-old"))
        self.server.stop()
        self.server.config.pop("next_embedder")
        self.server.config["embedder"] = {"kind": "lexical", "dimensions": dimensions}
        self.server.start()
        self.assertEqual(self.found(inside, new), (new, True))
        self.assertEqual(list(self.sid("--drop-old")), [new])
        self.assertEqual(self.found(inside, new), (new, True))

        # A server that knows neither the searched nor the next one says so, goes on by what it has, and leads there when it can.
        self.server.stop()
        self.server.config["embedder"] = {"kind": "lexical", "dimensions": 32}
        self.server.start()
        until("said", lambda: new in self.server.text() and "not one of those configured here" in self.server.text())
        self.assertTrue(self.sid()["lexical-hash/32/c1"]["is_active"])

    def test_only_operators_look(self):
        inside = self.tenant()
        tenant = next(t["id"] for t in self.api.all("/tenants") if t["name"] == inside.tenant)
        key = inside.post("/keys", {"name": "app", "role": {"type": "tenant", "tenant": tenant}})["key"]
        from harness.api import Api
        app = Api(self.server.url, key)
        self.refused(403, app.get, "/generations")
        self.refused(403, app.post, "/generations/drop-old")


if __name__ == "__main__":
    import unittest
    unittest.main()
