"""Agents that work together, over a real server: asked and answered at every door and over a kill, delegated with a budget, handed off."""
import threading

from harness.api import ApiError, user_key
from harness.case import Case
from harness.waiting import until


def results(request):
    """What came of the calls since the last words of a person or of the system."""
    found = []
    for message in reversed(request["messages"]):
        if message["role"] == "tool":
            found.insert(0, message["content"])
        elif message["role"] == "user":
            return message["content"], found
    return "", found


def call(tool, **arguments):
    return {"tool": tool, "arguments": arguments}


class Together(Case):
    def setUp(self):
        super().setUp()
        self.parts = {}
        self.model.answer = self.act

    def act(self, request):
        """Each agent acts its own part; who it is stands in its instructions."""
        system = next(m["content"] for m in request["messages"] if m["role"] == "system")
        part = next((part for name, part in self.parts.items() if f"You are {name}." in system), None)
        return part(*results(request)) if part else "Understood."

    def house(self, *names, **spec):
        agents = [{"name": name, "instructions": f"You are {name}.", **spec} for name in names]
        return self.tenant(users=("ann", "bob"), agents=agents)

    def office(self, inside):
        return inside.put("/egos/office", {"spokesperson": "@desk", "members": ["@billing"], "blocks": [{"label": "case", "value": "nothing yet"}]})

    def asking(self):
        self.parts = {"desk": lambda told, since: f"We say: {since[0]}" if since else call("ask_agent", agent="billing", question="the price?"),
                      "billing": lambda told, since: "42 EUR"}

    def test_an_ego_is_spoken_with_as_an_agent(self):
        inside = self.house("desk", "billing")
        self.office(inside)
        self.asking()
        ann = self.api.acting(key=user_key(self.api, inside.tenant, "ann"))
        # The OpenAI door, where it is a model among others.
        self.assertIn("office", [m["id"] for m in ann.call("GET", "/v1/models")["data"]])
        said = ann.call("POST", "/v1/chat/completions", {"model": "office", "messages": [{"role": "user", "content": "what is it?"}]})
        self.assertEqual((said["model"], said["choices"][0]["message"]["content"]), ("office", "We say: 42 EUR"))
        # REST: the same conversation, by its key.
        talk = ann.post("/conversations", {"ego": "office"})["id"]
        self.assertEqual([m["text"] for m in self.transcript(ann, talk) if m["role"] == "user"], ["what is it?"])
        # What the member was asked is read where conversations are, by the user and the operator; by nobody else.
        there = [c for c in inside.all("/conversations") if c["key"] == f"from:{talk}"]
        self.assertEqual(len(there), 1)
        asked = self.transcript(ann, there[0]["id"])[0]
        self.assertEqual((asked["role"], asked["speaker"]), ("note", "desk"))
        bob = self.api.acting(key=user_key(self.api, inside.tenant, "bob"))
        self.refused(404, bob.get, f"/conversations/{there[0]['id']}")
        self.assertEqual([c for c in bob.all("/conversations")], [])
        # Each has a block of her own.
        bob.post("/conversations", {"ego": "office"})
        hers = [b for b in inside.get("/blocks", owner_type="pair", user="@ann", agent="@desk")["items"] if b["label"] == "case"]
        his = [b for b in inside.get("/blocks", owner_type="pair", user="@bob", agent="@desk")["items"] if b["label"] == "case"]
        self.assertNotEqual(hers[0]["id"], his[0]["id"])
        # Erasing the talk takes along what was asked for it.
        ann.delete(f"/conversations/{talk}")
        self.refused(404, ann.get, f"/conversations/{there[0]['id']}")

    def test_egos_are_put_by_version_and_refused_with_reasons(self):
        inside = self.house("desk", "billing")
        self.assertEqual(self.office(inside)["version"], 1)
        self.refused(412, inside.put, "/egos/office", {"spokesperson": "@desk", "members": ["@billing"]}, headers={"if-match": '"7"'})
        self.refused(422, inside.put, "/egos/desk", {"spokesperson": "@desk", "members": ["@billing"]})
        self.refused(422, inside.put, "/egos/office", {"spokesperson": "@desk", "members": []})
        self.refused(404, inside.put, "/egos/office", {"spokesperson": "@desk", "members": ["@nobody"]})
        self.refused(400, inside.post, "/agents", {"name": "office"})
        self.refused(400, inside.post, "/conversations", {"ego": "office"})
        self.refused(400, inside.post, "/conversations", {"ego": "office", "agent": "@desk", "user": "@ann"})
        # Keys that Sid gives are nobody else's to give.
        ann = self.api.acting(key=user_key(self.api, inside.tenant, "ann"))
        for key in ("ego:office:default", "from:conv_1", "task:task_1"):
            self.refused(400, ann.post, "/conversations", {"agent": "@desk", "key": key})
            with self.assertRaises(ApiError) as refused:
                ann.call("POST", "/v1/chat/completions", {"model": "desk", "metadata": {"conversation": key}, "messages": [{"role": "user", "content": "hi"}]})
            self.assertEqual(refused.exception.status, 400)
        self.refused(403, ann.put, "/egos/office", {"spokesperson": "@desk", "members": ["@billing"]})
        self.assertEqual([e["name"] for e in ann.get("/egos")["items"]], ["office"])
        inside.delete("/egos/office")
        self.refused(404, ann.get, "/egos/office")

    def test_a_kill_while_an_answer_is_waited_for_loses_and_doubles_nothing(self):
        inside = self.house("desk", "billing")
        inside.patch("/agents/@desk", {"colleagues": ["@billing"]})
        self.asking()
        asked, going_on = threading.Event(), threading.Event()

        def slow(told, since):
            asked.set()
            going_on.wait(60)
            return "42 EUR"

        self.parts["billing"] = slow
        talk = self.talk(inside, agent="desk")
        run = inside.post(f"/conversations/{talk}/messages", {"text": "what is it?", "wait": False})["run"]["id"]
        until("the other one is asked", asked.is_set)
        self.server.kill()
        going_on.set()
        self.server.start()
        until("it ends", lambda: inside.get(f"/runs/{run}")["status"] == "completed")
        self.assertEqual(self.transcript(inside, talk)[-1]["text"].split(": ")[0], "We say")
        there = next(c for c in inside.all("/conversations") if c["key"] == f"from:{talk}")
        self.assertEqual([m["role"] for m in self.transcript(inside, there["id"])], ["note", "assistant"])
        self.assertEqual(len(list(inside.all(f"/conversations/{talk}/runs"))), 1)

    def test_a_part_of_a_task_is_delegated_with_a_part_of_the_budget(self):
        inside = self.house("desk", "scout", tasks=True)
        inside.patch("/agents/@desk", {"reaches": ["@scout"]})

        def desk(told, since):
            if "Objective: the whole" not in told:
                return "Heard."
            if "is done] The Red Room" in told:
                return "Done." if since else call("complete_task", result="Booked.")
            if not since and 'answer_task (task: "' in told:
                return call("answer_task", task=told.split('answer_task (task: "')[1].split('"')[0], answer="the red one")
            if not since and "turn 1]" in told:
                return call("delegate_task", agent="scout", title="a venue", objective="the part", max_steps=10)
            return call("wait_until") if len(since) < 2 else "I wait."

        def scout(told, since):
            if since:
                return "I end my turn."
            return call("complete_task", result="The Red Room.") if "The answer: the red one" in told else call("ask_user", question="Red or blue?")

        self.parts = {"desk": desk, "scout": scout}
        talk = self.talk(inside, agent="desk")
        whole = inside.post("/tasks", {"agent": "@desk", "user": "@ann", "title": "a party", "objective": "the whole", "report_to": talk,
                                       "budget": {"max_steps": 40, "max_tokens": 4_000_000}})["id"]
        state = lambda: inside.get(f"/tasks/{whole}")["state"]
        until("the whole is done", lambda: state() in ("done", "failed", "cancelled"))
        tasks = {t["title"]: t for t in inside.all("/tasks")}
        self.assertEqual({title: (t["state"], t["budget"]["max_steps"]) for title, t in tasks.items()}, {"a party": ("done", 30), "a venue": ("done", 10)})
        self.assertEqual(sum(t["budget"]["max_tokens"] for t in tasks.values()), 4_000_000)
        self.assertLessEqual(tasks["a venue"]["used"]["steps"], 10)
        notes = lambda: [m["text"] for m in self.transcript(inside, talk) if m["role"] == "note"]
        told = until("it is told", notes)
        self.assertEqual(len(told), 1, told)
        self.assertIn("is done] Booked.", told[0])

    def test_agents_hand_off_with_the_rights_of_their_user(self):
        tools = ["hand_off", "list_handoffs", "take_handoff", "close_handoff", "return_handoff"]
        inside = self.house("desk", "phone", tools=tools)
        self.parts = {"desk": lambda told, since: since[0] if since else call("hand_off", title="Order a sandwich", body="extra pickles", agent="phone")}
        say = lambda user, agent: inside.post(f"/conversations/{self.talk(inside, user=user, agent=agent)}/messages", {"text": "go on"})
        say("ann", "desk")

        def taking(told, since):
            if since and "Nothing waits" in since[0]:
                return since[0]
            item = next((w for w in " ".join(since).split() if w.startswith("item_")), None)
            steps = [call("list_handoffs"), call("take_handoff", handoff=item), call("close_handoff", handoff=item, result="ordered")]
            return steps[len(since)] if len(since) < len(steps) else " | ".join(since)

        self.parts["phone"] = taking
        # Another user's assistant finds nothing.
        self.assertIn("Nothing waits for you", str(say("bob", "phone")))
        said = str(say("ann", "phone"))
        self.assertIn("extra pickles", said)
        self.assertIn("Closed.", said)
        ann = self.api.acting(key=user_key(self.api, inside.tenant, "ann"))
        done = [i for i in ann.get("/context/items", kind="handoff")["items"]]
        self.assertEqual([i["state"] for i in done], ["done"])
