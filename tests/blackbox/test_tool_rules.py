"""Tool rules of an agent: validated when they are set, enforced whatever the model does, shown by the program."""
import subprocess

from harness import paths
from harness.case import Case

SAVE, SEARCH = "archival_memory_insert", "conversation_search"


class ToolRules(Case):
    def setUp(self):
        super().setUp()
        self.inside = self.tenant(agents=({"name": "helper", "tool_rules": [{"rule": "required_before_exit", "tool": SAVE}, {"rule": "at_most", "tool": SAVE, "times": 1}]},))

    def test_a_run_does_not_end_without_what_is_required(self):
        def answer(request):
            last = request["messages"][-1]
            if last["role"] == "user" and "turn is not over" in last["content"]:
                return {"tool": SAVE, "arguments": {"content": "Ann said hi"}}
            return "Hello."
        self.model.answer = answer
        talk = self.talk(self.inside)
        said = self.inside.post(f"/conversations/{talk}/messages", {"text": "Hi"})
        self.assertEqual(said["run"]["stop_reason"], "end_turn")
        self.assertEqual([m["role"] for m in said["messages"]], ["user", "assistant", "note", "assistant", "tool", "assistant"])
        self.model.answer = lambda request: "Never."
        said = self.inside.post(f"/conversations/{talk}/messages", {"text": "Hi again"})
        self.assertEqual((said["run"]["status"], said["run"]["stop_reason"]), ("completed", "rules_unmet"))
        self.assertIn(SAVE, said["run"]["error"])

    def test_rules_that_cannot_be_kept_are_refused(self):
        for rules, why in (
            ([{"rule": "run_first", "tool": "nothing"}], "no tool `nothing`"),
            ([{"rule": "only_after", "tool": SAVE, "after": [SEARCH]}, {"rule": "only_after", "tool": SEARCH, "after": [SAVE]}], "never be called"),
            ([{"rule": "only_after", "tool": SAVE, "after": []}], "must name a tool"),
            ([{"rule": "at_most", "tool": SAVE, "times": 0}], "at most 0"),
            ([{"rule": "run_first", "tool": SAVE}] * 101, "at most 100"),
        ):
            error = self.refused(400, self.inside.patch, "/agents/@helper", {"tool_rules": rules})
            self.assertIn(why, error.problem["detail"])
        self.refused(400, self.inside.patch, "/agents/@helper", {"tool_rules": [{"rule": "sometimes", "tool": SAVE}]})
        self.refused(400, self.inside.patch, "/agents/@helper", {"tools": [SEARCH]})
        self.assertEqual(len(self.inside.get("/agents/@helper")["tool_rules"]), 2)
        self.assertEqual(self.inside.patch("/agents/@helper", {"tools": [SEARCH], "tool_rules": []})["tool_rules"], [])

    def test_the_program_sets_and_shows_them(self):
        def sid(*words):
            command = [str(paths.binary("sid")), "agent", *words, "--server", self.server.url, "--key", self.inside.key, f"--tenant={self.inside.tenant}"]
            went = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual(went.returncode, 0, went.stderr)
            return went.stdout
        sid("update", "helper", "--rule", f"only_after={SAVE}:{SEARCH}", "--rule", f"ends_run={SAVE}")
        self.assertEqual([r["rule"] for r in self.inside.get("/agents/@helper")["tool_rules"]], ["only_after", "ends_run"])
        self.assertIn(f"only_after={SAVE}:{SEARCH}", sid("show", "helper"))
        sid("update", "helper", "--rule", "none")
        self.assertEqual(self.inside.get("/agents/@helper")["tool_rules"], [])
