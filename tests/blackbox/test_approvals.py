"""Calls that wait for a yes, over a real server: asked, seen, decided once, kept over a restart, and never the assistant's to decide."""
import json

from harness.case import Case
from harness.service import Service
from harness.waiting import until

ORDER = {"type": "object", "properties": {"bread": {"type": "string"}}, "required": ["bread"]}


class Approvals(Case):
    config = {"tools": {"open": ["127.0.0.0/8:*"]}}

    def setUp(self):
        super().setUp()
        self.bakery = Service()
        self.addCleanup(self.bakery.__exit__)
        self.inside = self.tenant(users=("ann", "bob"))
        self.inside.put("/tools/order_bread", {"source": {"kind": "http", "description": "Orders bread.", "parameters": ORDER, "url": f"{self.bakery.url}/orders"}})
        self.inside.patch("/agents/@helper", {"approvals": {"order_*": "always"}})

    def asked(self):
        """The agent wants to order bread; -> the approval."""
        script = [{"tool": "order_bread", "arguments": {"bread": "rye"}}, "It waits for you."]
        self.model.answer = lambda request: script.pop(0) if script else "Understood."
        self.talk_id = self.talk(self.inside)
        said = self.inside.post(f"/conversations/{self.talk_id}/messages", {"text": "Please order bread."})
        self.assertEqual(said["run"]["status"], "completed", said)
        waiting = [a for a in self.inside.get("/approvals?status=pending")["items"] if a["run"] == said["run"]["id"]]
        self.assertEqual([(a["tool"], a["arguments"]) for a in waiting], [("order_bread", {"bread": "rye"})])
        self.assertEqual(self.bakery.asked, [], "nothing has been done yet")
        return waiting[0]

    def told(self, decided):
        """Waits until the agent has been told."""
        until("the agent is told", lambda: self.inside.get(f"/runs/{decided['answered_by']}")["status"] == "completed")

    def test_a_yes_makes_the_call_that_was_shown_once(self):
        asked = self.asked()
        decided = self.inside.post(f"/approvals/{asked['id']}", {"decision": "approve", "note": "go ahead"})
        self.assertEqual(decided["status"], "approved")
        self.told(decided)
        again = self.inside.post(f"/approvals/{asked['id']}", {"decision": "approve"})
        self.assertEqual(again, self.inside.get(f"/approvals/{asked['id']}"))
        self.assertEqual([body for _, _, _, body in self.bakery.asked], [{"bread": "rye"}])
        status, _, _ = self.inside.raw("POST", f"/approvals/{asked['id']}", {"decision": "deny"})
        self.assertEqual(status, 409)

    def test_a_no_is_told_and_nothing_is_done(self):
        asked = self.asked()
        decided = self.inside.post(f"/approvals/{asked['id']}", {"decision": "deny"})
        self.told(decided)
        self.assertEqual(self.bakery.asked, [])
        self.assertIn("denied", json.dumps(self.model.requests[-1]["messages"]))

    def test_only_people_of_the_conversation_decide(self):
        asked = self.asked()
        bob = self.inside.acting(user="bob")
        random = "appr_" + "7" + "z" * 25
        answers = {bob.raw("GET", f"/approvals/{id}")[0] for id in (asked["id"], random)}
        self.assertEqual(answers, {404})
        self.assertEqual(bob.raw("POST", f"/approvals/{asked['id']}", {"decision": "approve"})[0], 404)
        self.assertEqual(self.inside.get(f"/approvals/{asked['id']}")["status"], "pending")

    def test_who_has_read_text_from_outside_asks_first(self):
        self.inside.patch("/agents/@helper", {"approvals": {}})
        # Two people: what Ann's agent said after reading is from outside too, where she is reminded of it.
        for user, trusted, orders in (("ann", False, 0), ("bob", True, 1)):
            with self.subTest(trusted=trusted):
                listed = {"kind": "http", "description": "Lists bread.", "effect": "read", "url": f"{self.bakery.url}/bread", "trusted": trusted}
                self.inside.put("/tools/list_bread", {"source": listed})
                script = [{"tool": "list_bread", "arguments": {}}, {"tool": "order_bread", "arguments": {"bread": "rye"}}, "Well."]
                self.model.answer = lambda request: script.pop(0) if script else "Understood."
                said = self.inside.post(f"/conversations/{self.talk(self.inside, user=user)}/messages", {"text": "Please order bread."})
                self.assertEqual(said["run"]["status"], "completed", said)
                self.assertEqual([path for _, path, _, _ in self.bakery.asked if path == "/orders"], ["/orders"] * orders)
                reasons = [a["reason"] for a in self.inside.get("/approvals?status=pending")["items"] if a["run"] == said["run"]["id"]]
                self.assertEqual(len(reasons), 1 - orders, reasons)
                self.assertTrue(all("tool:list_bread" in reason for reason in reasons), reasons)
