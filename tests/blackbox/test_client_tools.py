"""Tools of the caller: a run ends with calls, and the caller answers; over REST, and across a crash of the server."""
import json, threading

from harness.api import ApiError
from harness.case import Case

LOOK = {"name": "look", "description": "Looks somewhere.", "parameters": {"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]}}
BUY = {"name": "buy", "description": "Buys something."}


def calls_until_answered(*calls):
    """A model that makes these calls until the last message is a result."""
    def answer(request):
        last = request["messages"][-1]
        return "Done: " + last["content"] if last["role"] == "tool" else [{"tool": name, "arguments": arguments} for name, arguments in calls]
    return answer


class ClientTools(Case):
    def setUp(self):
        super().setUp()
        self.inside = self.tenant(agents=("helper",))
        self.conversation = self.talk(self.inside)
        self.path = f"/conversations/{self.conversation}/messages"

    def send(self, **body):
        return self.inside.post(self.path, body)

    def code(self, status, **body):
        return self.refused(status, self.inside.post, self.path, body).code

    def results(self, calls, text="seen"):
        return [{"call_id": call["id"], "text": text} for call in calls]

    def prompt(self):
        return [m for m in self.model.requests[-1]["messages"] if m["role"] != "system"]

    def test_a_run_ends_with_calls_and_goes_on_with_results(self):
        self.model.answer = calls_until_answered(("look", {"where": "shop"}), ("buy", {}))
        said = self.send(text="Buy bread.", tools=[LOOK, BUY])
        self.assertEqual((said["run"]["status"], said["run"]["stop_reason"]), ("completed", "client_calls"))
        self.assertEqual([(c["name"], c["arguments"], c["for_client"]) for c in said["calls"]], [("look", {"where": "shop"}, True), ("buy", {}, True)])
        self.assertIn("look", [t["function"]["name"] for t in self.model.requests[-1]["tools"]])
        # A poller finds them with the messages.
        last = self.inside.get(self.path, order="desc")["items"][0]
        self.assertEqual(last["tool_calls"], said["calls"])
        error = self.refused(422, self.inside.post, self.path, {"results": self.results(said["calls"][:1])})
        self.assertEqual(error.code, "SID-CORE-CALLS-OPEN")
        self.assertIn(said["calls"][1]["id"], error.problem["detail"])
        done = self.send(results=self.results(said["calls"]))
        self.assertEqual((done["reply"], done["run"]["stop_reason"]), ("Done: seen", "end_turn"))
        self.assertNotIn("calls", done)
        self.assertEqual([m["role"] for m in done["messages"]], ["tool", "tool", "assistant"])
        self.assertIn("look", [t["function"]["name"] for t in self.model.requests[-1]["tools"]], "the tools stay with the calls")
        self.assertEqual(self.code(409, results=self.results(said["calls"])), "SID-CORE-CALL-OVER")
        self.assertEqual(self.code(422, results=[{"call_id": "call_0", "text": "?"}]), "SID-CORE-UNKNOWN-CALL")

    def test_calls_are_passed_over_when_something_else_is_said(self):
        self.model.answer = lambda request: {"tool": "look", "arguments": {"where": "shop"}}
        said = self.send(text="Look.", tools=[LOOK])
        self.model.answer = lambda request: "Fine."
        self.send(text="Never mind.")
        first = self.prompt()
        self.assertEqual([m["role"] for m in first[:3]] + [first[-1]["content"][-11:]], ["user", "assistant", "tool", "Never mind."])
        self.assertEqual(first[2]["content"], "The client gave no answer.")
        self.assertEqual(self.code(409, results=self.results(said["calls"])), "SID-CORE-CALL-OVER")
        self.send(text="And now?")
        self.assertEqual(self.prompt()[:3], first[:3])

    def test_tools_that_cannot_be_offered_are_refused(self):
        for bad in ({"name": "conversation_search"}, {"name": "no spaces"}, {"name": "x", "parameters": {"type": "array"}}):
            self.assertEqual(self.code(400, text="Hi", tools=[bad]), "SID-CORE-CLIENT-TOOL", bad)
        self.assertEqual(self.code(400, text="Hi", tools=[{"name": "x", "more": 1}]), "SID-API-UNKNOWN-FIELD")
        self.assertEqual(self.code(400), "SID-API-BAD-REQUEST")
        self.assertEqual(self.inside.get(f"/conversations/{self.conversation}/runs")["items"], [])

    def test_a_stream_tells_of_the_calls_and_of_the_end(self):
        self.model.answer = calls_until_answered(("look", {"where": "shop"}))
        events = list(self.inside.events(self.path, {"text": "Look.", "tools": [LOOK], "stream": True}))
        calls = [data["call"] for _, name, data in events if name == "tool_call"]
        self.assertEqual([(c["name"], c["for_client"]) for c in calls], [("look", True)])
        self.assertEqual(events[-1][2]["stop_reason"], "client_calls")
        events = list(self.inside.events(self.path, {"results": self.results(calls), "stream": True}))
        self.assertEqual(events[-1][2]["stop_reason"], "end_turn")

    def test_of_many_answers_at_once_one_is_accepted(self):
        self.model.answer = calls_until_answered(("look", {"where": "shop"}))
        calls = self.send(text="Look.", tools=[LOOK])["calls"]
        statuses = []
        def answer(n):
            try:
                self.send(results=self.results(calls, f"seen {n}"))
                statuses.append(200)
            except ApiError as error:
                statuses.append(error.status)
        threads = [threading.Thread(target=answer, args=(n,)) for n in range(8)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual(sorted(statuses), [200] + [409] * 7)

    def test_calls_wait_across_a_crash_and_leave_with_their_results(self):
        self.model.answer = calls_until_answered(("look", {"where": "shop"}))
        calls = self.send(text="Look.", tools=[LOOK])["calls"]
        self.server.kill()
        self.server.start()
        self.assertEqual(self.send(results=self.results(calls))["reply"], "Done: seen")
        exported = self.inside.raw("GET", "/export?user=@ann")[2]
        lines = [json.loads(line) for line in exported.splitlines()]
        told = [m for m in lines if m["kind"] == "message"]
        self.assertEqual([m["role"] for m in told], ["user", "assistant", "tool", "assistant"])
        self.assertTrue(told[1]["tool_calls"][0]["for_client"])
