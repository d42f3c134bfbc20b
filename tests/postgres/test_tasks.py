"""Tasks over restarts and replicas: worked on turn by turn, asked and answered, each turn once, none in silence."""
import re, threading

from harness.api import Api
from harness.case import Case
from harness.waiting import until

STEPS = ["list the venues", "ask for offers", "compare the offers", "choose a colour", "book the venue", "write the invitation"]
ASKED = 4


def tools(request):
    return {t["function"]["name"] for t in request.get("tools", [])}


def since_stimulus(request):
    """-> (what the run was told last, the tool results since then)."""
    at = max(i for i, m in enumerate(request["messages"]) if m["role"] == "user")
    return request["messages"][at]["content"], [m["content"] for m in request["messages"][at:] if m["role"] == "tool"]


def work(told, results):
    """One step a turn; the fourth needs the user."""
    if results:
        return "That is all for now."
    states = re.findall(r"^(\d+)\. \[(\w+)\] ", told, re.M)
    if not states:
        return {"tool": "plan_task", "arguments": {"steps": STEPS}}
    step = next((int(n) for n, state in states if state != "done"), None)
    if step is None:
        checks = [{"met": True, "how": "see the plan"}] * len(re.findall(r"^\d+\. it has ", told, re.M))
        return {"tool": "complete_task", "arguments": {"result": "The Red Room is booked.", "how": "the user chose blue", "checks": checks}}
    answer = re.search(r"The answer: (\w+)", told)
    if step == ASKED and not answer:
        return {"tool": "ask_user", "arguments": {"question": "Red or blue?"}}
    return {"tool": "update_task", "arguments": {"step": step, "state": "done", "note": f"chose {answer[1]}" if answer else "found"}}


def talk(told):
    said = re.search(r"My answer: (\w+)", told)
    waiting = re.search(r"Tasks that wait for an answer.*?(task_\w+)", told, re.S)
    if said and waiting:
        return {"tool": "answer_task", "arguments": {"task": waiting[1], "answer": said[1]}}
    return "I see."


def model(request):
    if not any(m["role"] == "user" for m in request["messages"]):
        return "Understood."
    told, results = since_stimulus(request)
    if "complete_task" in tools(request):
        return work(told, results)
    return "I see." if results else talk(told)


class Tasks(Case):
    store = "postgres"

    def setUp(self):
        super().setUp()
        self.model.answer = model
        self.inside = self.tenant(users=("ann",), agents=({"name": "helper", "tasks": True},))
        self.conversation = self.talk(self.inside)

    def on(self, server):
        return Api(server.url, self.inside.key, self.inside.tenant, self.inside.user)

    def make(self, title, **more):
        return self.inside.post("/tasks", {"agent": "@helper", "user": "@ann", "title": title, "report_to": self.conversation, **more})

    def notes(self, api):
        return [m["text"] for m in api.all(f"/conversations/{self.conversation}/messages", order="asc", limit=1000) if m["role"] == "note"]

    def killed_in(self, server, word):
        """Kills the server while the model works on a brief in which `word` stands, and lets the model go on."""
        reached, go_on = threading.Event(), threading.Event()

        def slow(request):
            told, results = since_stimulus(request)
            if "complete_task" in tools(request) and not results and re.search(word, told) and not reached.is_set():
                reached.set()
                go_on.wait(60)
            return model(request)

        self.model.answer = slow
        until(f"a turn with {word}", reached.is_set)
        server.kill()
        go_on.set()
        self.model.answer = model

    def test_a_task_of_six_steps_with_a_question_two_restarts_and_a_replica_change_ends_done(self):
        task = self.make("the party", objective="Find and book a venue.", acceptance="The user agrees to the colour.",
                         checks=["it has 40 seats", "it has a stage"])["id"]
        self.killed_in(self.server, r"2\. \[open\] ask for offers")
        self.server.start()
        until("the question", lambda: self.inside.get(f"/tasks/{task}")["state"] == "waiting_user", not_yet=ConnectionError)
        until("the question is told", lambda: any("asks] Red or blue?" in n for n in self.notes(self.inside)), not_yet=ConnectionError)
        self.server.kill()
        self.server.start()
        self.assertEqual(self.inside.get(f"/tasks/{task}")["question"], "Red or blue?")
        # From here on another server alone.
        other = self.server.replica()
        self.addCleanup(self.server.start)
        self.addCleanup(other.remove)
        self.server.kill()
        other.start()
        there = self.on(other)
        there.post(f"/conversations/{self.conversation}/messages", {"text": "My answer: blue"})
        done = until("done", lambda: (t := there.get(f"/tasks/{task}"))["state"] == "done" and t["run"] is None and t, not_yet=ConnectionError)
        self.assertEqual([(s["text"], s["state"]) for s in done["plan"]], [(s, "done") for s in STEPS])
        self.assertEqual(done["plan"][ASKED - 1]["note"], "chose blue")
        self.assertEqual([c["check"] for c in done["result"]["checks"]], ["it has 40 seats", "it has a stage"])
        runs = list(there.all(f"/conversations/{done['conversation']}/runs"))
        # A plan, six steps, a question, the end: a run each, none of them twice, whatever was killed.
        self.assertEqual((len(runs), done["used"]["runs"]), (9, 9), [r["id"] for r in runs])
        reports = until("told", lambda: [n for n in self.notes(there) if "is done]" in n], not_yet=ConnectionError)
        self.assertEqual(len(reports), 1, reports)
        self.assertEqual(len([n for n in self.notes(there) if "asks]" in n]), 1)

    def test_a_task_over_its_budget_ends_with_a_report(self):
        self.model.answer = lambda request: {"tool": "update_task", "arguments": {"progress": "still at it"}} if "complete_task" in tools(request) else "I see."
        task = self.make("paint the sea", budget={"max_steps": 4})["id"]
        failed = until("failed", lambda: (t := self.inside.get(f"/tasks/{task}"))["state"] == "failed" and t)
        self.assertTrue(failed["failure"].startswith("budget"), failed["failure"])
        self.assertEqual(failed["used"]["steps"], 4)
        report, = until("told", lambda: self.notes(self.inside))
        for word in ("paint the sea", "budget", "still at it", "4 steps"):
            self.assertIn(word, report)

    def test_two_hundred_tasks_on_two_servers_all_end(self):
        other = self.server.replica()
        self.addCleanup(other.remove)
        other.start()
        done = {"tool": "complete_task", "arguments": {"result": "done"}}
        self.model.answer = lambda request: (done if not since_stimulus(request)[1] else "ok") if "complete_task" in tools(request) else "I see."
        made = [Api((other if i % 2 else self.server).url, self.inside.key, self.inside.tenant, self.inside.user).post(
            "/tasks", {"agent": "@helper", "user": "@ann", "title": f"task {i}"})["id"] for i in range(200)]
        until("all are done", lambda: not list(self.inside.all("/tasks", open="true", limit=1000)), limit_s=300, every_s=0.1)
        tasks = until("all are accounted for", lambda: (l := list(self.inside.all("/tasks", limit=1000))) and all(t["run"] is None for t in l) and l, every_s=0.1)
        self.assertEqual({t["id"] for t in tasks}, set(made))
        self.assertEqual({(t["state"], t["used"]["runs"]) for t in tasks}, {("done", 1)})

    def test_foreign_tasks_are_as_unknown_ones_and_tasks_are_exported_and_erased(self):
        task = self.make("secret plan")
        other = self.tenant_named("elsewhere")
        random = "task_" + "0" * 26
        for path, body in (("", None), ("/answer", {"answer": "x"}), ("/cancel", {})):
            call = other.get if body is None else lambda p, b=body: other.post(p, b)
            errors = [self.refused(404, call, f"/tasks/{id}{path}") for id in (task["id"], random)]
            told = [{k: v for k, v in e.problem.items() if k != "request_id"} for e in errors]
            self.assertEqual(told[0], told[1])
        self.assertEqual(list(other.all("/tasks")), [])
        status, _, lines = self.inside.raw("GET", "/export?user=@ann")
        self.assertEqual(status, 200)
        self.assertIn(b'"kind":"task"', lines)
        receipt = self.inside.delete("/users/@ann")
        self.assertEqual(receipt["tasks"], 1)
        self.assertEqual(list(self.inside.all("/tasks")), [])

    def tenant_named(self, name):
        self.api.post("/tenants", {"name": name})
        return self.api.acting(tenant=name)
