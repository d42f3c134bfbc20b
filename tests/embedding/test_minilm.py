"""MiniLM in the server's process: what no word of the question says is found by meaning."""
import time

from harness.case import Case
from harness.server import minilm


class MiniLm(Case):
    @classmethod
    def configuration(cls):
        return {**super().configuration(), "embedder": minilm()}

    TALK = ["I love pickles, I could eat a whole jar", "My brother moved to Lisbon in spring", "The dentist says I should floss more",
            "We watched a film about penguins", "My laptop's fan is noisy again", "I am learning the ukulele"]

    def told(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        inside.post(f"/conversations/{conversation}/import", {"messages": [{"role": "user", "text": t, "at": f"2026-03-{i + 1:02}T10:00:00Z"} for i, t in enumerate(self.TALK)]})
        return inside, conversation

    def test_the_index_is_semantic_and_settles(self):
        inside, _ = self.told()
        index = inside.get("/index", wait_ms=30_000)
        self.assertTrue(index["is_semantic"], index)
        self.assertEqual(index["pending"], 0)
        self.assertGreaterEqual(index["indexed"], len(self.TALK))

    def test_found_by_meaning(self):
        inside, _ = self.told()
        cases = {"gherkins in vinegar": "pickles", "sibling relocating to Portugal": "Lisbon", "oral hygiene": "floss", "Antarctic birds at the cinema": "penguins",
                 "the computer's cooling makes a racket": "laptop", "playing a small guitar": "ukulele"}
        for query, word in cases.items():
            hits = inside.post("/search", {"query": query, "agent": "@helper", "user": "@ann", "k": 3, "wait_for_index_ms": 30_000})["hits"]
            self.assertIn(word, " | ".join(h["text"] for h in hits[:2]), query)
            self.assertGreater(hits[0]["channels"]["dense"], 0.1)

    def test_what_was_said_is_found_by_words_at_once(self):
        inside, conversation = self.told()
        inside.post(f"/conversations/{conversation}/import", {"messages": [{"role": "user", "text": "the wifi password is zanzibar"}]})
        hits = inside.post("/search", {"query": "zanzibar", "agent": "@helper", "user": "@ann"})["hits"]
        self.assertIn("zanzibar", hits[0]["text"])

    def test_an_indirect_question_brings_the_fact_into_the_prompt(self):
        inside, _ = self.told()
        inside.get("/index", wait_ms=30_000)
        before = len(self.model.requests)
        inside.post(f"/conversations/{self.talk(inside, key='later')}/messages", {"text": "Could you order me a sandwich?", "at": "2026-04-01T12:00:00Z"})
        self.assertIn("pickles", str(self.model.requests[before:]))

    def test_vectors_survive_a_kill(self):
        inside, _ = self.told()
        before = inside.get("/index", wait_ms=30_000)
        self.server.kill()
        start = time.time()
        self.server.start()
        self.assertLess(time.time() - start, 20)
        after = inside.get("/index", wait_ms=30_000)
        self.assertEqual((after["indexed"], after["pending"]), (before["indexed"], 0))
        hits = inside.post("/search", {"query": "gherkins in vinegar", "agent": "@helper", "user": "@ann"})["hits"]
        self.assertIn("pickles", hits[0]["text"] + hits[1]["text"])
