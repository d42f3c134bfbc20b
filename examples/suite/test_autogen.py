"""The AutoGen team as a program, twice: what the guest says in the first run is known in the second."""
import json, subprocess, sys

from application import EXAMPLES
from harness import paths
from harness.api import make_tenant, user_key
from harness.case import Case
from harness.fake_model import FakeModel, last_user
from harness.server import environment


class AutoGen(Case):
    def setUp(self):
        super().setUp()
        self.number = self.id().split("test_")[-1][:30]
        make_tenant(self.api, self.number, ["ann", "bob"], ["concierge"])
        self.keys = {user: user_key(self.api, self.number, user) for user in ("ann", "bob")}
        self.cook = self.enterContext(FakeModel(models=("cook",)))
        self.cook.answer = lambda request: "A sandwich with extra pickles." if "pickles" in json.dumps(request["messages"]) else "Plain bread."
        self.model.answer = lambda request: "The guest loves pickles." if "pickles" in json.dumps(request["messages"]) else "I do not know the guest yet."

    def run_team(self, user, task):
        packages, = paths.parts("autogen")
        env = {**environment(), "PYTHONPATH": str(packages), "SID_URL": self.server.url, "SID_KEY": self.keys[user], "COOK_URL": self.cook.url}
        done = subprocess.run([sys.executable, "team.py", task], cwd=EXAMPLES / "autogen", env=env, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_team_remembers_across_runs_of_the_program(self):
        self.run_team("ann", "I love pickles. Remember that.")
        before = len(self.model.requests)
        said = self.run_team("ann", "Plan my lunch.")
        self.assertIn("A sandwich with extra pickles.", said)
        first, second = self.model.requests[before:]
        self.assertTrue(last_user(first).rpartition("</context>")[2].strip().endswith("Plan my lunch."), last_user(first))
        # Sid is given each message once: its own answers and the task are in the conversation already, the cook's word is new.
        told = json.dumps([m for m in second["messages"] if m["role"] != "system"])
        self.assertEqual(told.count("Plan my lunch."), 1, told)
        self.assertIn("A sandwich with extra pickles.", told)

    def test_another_guest_is_another_story(self):
        self.run_team("ann", "I love pickles. Remember that.")
        before = len(self.model.requests)
        self.assertIn("Plain bread.", self.run_team("bob", "Plan my lunch."))
        self.assertNotIn("pickles", json.dumps(self.model.requests[before:]))
