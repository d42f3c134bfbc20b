"""What is acknowledged is kept: kills between any two writes, repeated requests, many senders, streams that break."""
import threading, time

from harness.api import ApiError
from harness.case import Case
from harness.waiting import until


class Kills(Case):
    """The server is killed at a chosen point of a run and started again over the same data."""

    def setUp(self):
        super().setUp()
        self.inside = self.tenant()
        self.conversation = self.talk(self.inside)

    def restart(self):
        self.server.kill()
        self.server.start()

    def done(self, run):
        """The run, when it has ended."""
        now = lambda: self.inside.get(f"/runs/{run}")
        return until(lambda: f"the run ends: {now()}", lambda: (it := now())["status"] in ("completed", "failed", "cancelled") and it, every_s=0.1)

    def kill_during_call(self, number):
        """Kills the server while the model is being asked for the `number`th time from now."""
        first, reached, asked = len(self.model.requests), threading.Event(), []

        def answer(request):
            asked.append(request)
            if len(asked) == number:
                reached.set()
                time.sleep(0.5)
            if not any(m["role"] == "tool" for m in request["messages"]):
                return {"tool": "core_memory_append", "arguments": {"label": "human", "content": "Likes pickles.", "block": "human", "text": "Likes pickles."}}
            return "Noted."

        self.model.answer = answer
        run = self.inside.post(f"/conversations/{self.conversation}/messages", {"text": "I love pickles", "wait": False})["run"]["id"]
        until(lambda: f"call {number}: the model was asked {len(self.model.requests) - first} times", reached.is_set)
        self.restart()
        return self.done(run)

    def check(self, run):
        self.assertEqual(run["status"], "completed", run)
        messages = self.transcript(self.inside, self.conversation)
        self.assertEqual([m["role"] for m in messages], ["user", "assistant", "tool", "assistant"])
        self.assertEqual(messages[-1]["text"], "Noted.")
        events = self.inside.get(f"/runs/{run['id']}/events")
        events = events["items"] if isinstance(events, dict) else events
        self.assertEqual([e["seq"] for e in events], list(range(1, len(events) + 1)))
        self.assertEqual([e["event"] for e in events].count("done"), 1)
        self.assertEqual(events[-1]["event"], "done")

    def test_killed_in_the_first_model_call(self):
        self.check(self.kill_during_call(1))

    def test_killed_between_the_tool_and_the_answer(self):
        run = self.kill_during_call(2)
        self.check(run)
        blocks = list(self.inside.all("/blocks", owner_type="pair", agent="@helper", user="@ann"))
        human = next(b for b in blocks if b["label"] == "human")
        self.assertEqual(human["value"].count("Likes pickles."), 1, "the tool ran once")

    def test_killed_right_after_accepting(self):
        run = self.inside.post(f"/conversations/{self.conversation}/messages", {"text": "one", "wait": False})["run"]["id"]
        self.restart()
        self.assertEqual(self.done(run)["status"], "completed")
        self.assertEqual([m["text"] for m in self.transcript(self.inside, self.conversation)], ["one", "Understood."])

    def test_a_queue_survives(self):
        self.model.pause_s = 0.3
        runs = [self.inside.post(f"/conversations/{self.conversation}/messages", {"text": f"number {i}", "wait": False})["run"]["id"] for i in range(6)]
        time.sleep(0.4)
        self.restart()
        self.model.pause_s = 0.0
        for run in runs:
            self.assertEqual(self.done(run)["status"], "completed")
        said = [m["text"] for m in self.transcript(self.inside, self.conversation) if m["role"] == "user"]
        self.assertEqual(said, [f"number {i}" for i in range(6)])

    def test_a_clean_stop_loses_nothing_either(self):
        self.model.pause_s = 0.2
        run = self.inside.post(f"/conversations/{self.conversation}/messages", {"text": "one", "wait": False})["run"]["id"]
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.assertEqual(self.done(run)["status"], "completed")
        self.assertEqual([m["text"] for m in self.transcript(self.inside, self.conversation)], ["one", "Understood."])


class Requests(Case):
    def test_the_same_key_gives_the_same_answer(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        send = lambda text, key: inside.post(f"/conversations/{conversation}/messages", {"text": text}, headers={"idempotency-key": key})
        first, again = send("once", "k1"), send("once", "k1")
        self.assertEqual(first["run"]["id"], again["run"]["id"])
        self.assertEqual(first["reply"], again["reply"])
        self.refused(422, send, "something else", "k1")
        self.assertNotEqual(send("once", "k2")["run"]["id"], first["run"]["id"])
        self.assertEqual([m["text"] for m in self.transcript(inside, conversation) if m["role"] == "user"], ["once", "once"])
        # Other POSTs take the header as well.
        make = lambda: inside.post("/users", {"handle": "zoe"}, headers={"idempotency-key": "k3"})
        self.assertEqual(make()["id"], make()["id"])

    def test_passages_with_one_key_at_once(self):
        """Without a time of their own: who comes second is told the moment of the first."""
        inside = self.tenant()
        for round in range(5):
            answers, barrier = [], threading.Barrier(8)

            def make(text):
                barrier.wait()
                body = {"owner": {"type": "tenant"}, "text": text}
                try:
                    answers.append(inside.post("/passages", body, headers={"idempotency-key": f"passage {round}"}))
                except ApiError as e:
                    answers.append(e.status)

            # Two bodies under one key: one of them is stored, and whoever brings the other is refused.
            threads = [threading.Thread(target=make, args=(f"{'dill' if i < 6 else 'salt'} {round}",)) for i in range(8)]
            for t in threads:
                t.start()
            for t in threads:
                t.join(60)
            made = [a for a in answers if isinstance(a, dict)]
            self.assertTrue(made)
            self.assertTrue(all(a == made[0] for a in made), made)
            kinds = 6 if made[0]["text"].startswith("dill") else 2
            self.assertEqual((len(made), [a for a in answers if a not in made]), (kinds, [422] * (8 - kinds)))
            stored = [p for p in inside.all("/passages", owner_type="tenant") if p["text"].endswith(f" {round}")]
            self.assertEqual([p["id"] for p in stored], [made[0]["id"]])

    def test_sixty_four_senders_at_once(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        failures = []

        def send(i):
            try:
                inside.post(f"/conversations/{conversation}/messages", {"text": f"message {i}"})
            except Exception as e:
                failures.append(e)

        threads = [threading.Thread(target=send, args=(i,)) for i in range(64)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
        self.assertEqual(failures, [])
        messages = self.transcript(inside, conversation)
        said = [m["text"] for m in messages if m["role"] == "user"]
        self.assertEqual(sorted(said), sorted(f"message {i}" for i in range(64)))
        self.assertEqual(sum(m["role"] == "assistant" for m in messages), 64)
        runs = list(inside.all(f"/conversations/{conversation}/runs", limit=100))
        self.assertEqual({r["status"] for r in runs}, {"completed"})

    def test_a_busy_conversation_can_refuse(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        self.model.pause_s = 0.3
        inside.post(f"/conversations/{conversation}/messages", {"text": "long", "wait": False})
        time.sleep(0.2)
        self.refused(409, inside.post, f"/conversations/{conversation}/messages", {"text": "now", "on_busy": "reject"})

    def test_a_run_can_be_cancelled(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        self.model.answer, self.model.pause_s = (lambda r: "a very long answer " * 50), 0.1
        run = inside.post(f"/conversations/{conversation}/messages", {"text": "go on", "wait": False})["run"]["id"]
        time.sleep(0.3)
        inside.post(f"/runs/{run}/cancel")
        until("the run ends", lambda: inside.get(f"/runs/{run}")["status"] in ("cancelled", "completed"))
        self.assertEqual(inside.get(f"/runs/{run}")["status"], "cancelled")
        self.model.answer, self.model.pause_s = (lambda r: "Fine."), 0.0
        self.assertEqual(inside.post(f"/conversations/{conversation}/messages", {"text": "and now?"})["reply"], "Fine.")
        self.transcript(inside, conversation)


class Streams(Case):
    def setUp(self):
        super().setUp()
        self.inside = self.tenant()
        self.conversation = self.talk(self.inside)
        self.model.answer = lambda request: "one two three four five six seven eight nine ten eleven twelve"

    def send(self):
        return self.inside.post(f"/conversations/{self.conversation}/messages", {"text": "count", "wait": False})["run"]["id"]

    def text(self, events):
        """The answer as a client puts it together: the committed message; deltas may be fewer (a quick answer needs none), never other."""
        last = max((i for i, (_, name, _) in enumerate(events) if name == "started"), default=0)
        deltas = "".join(e["text"] for _, name, e in events[last:] if name == "text_delta")
        answer = [e["message"]["text"] for _, name, e in events if name == "message"][-1]
        self.assertTrue(answer.startswith(deltas.rstrip()), (deltas, answer))
        return answer

    def test_a_stream_carries_the_answer_and_ends_in_done(self):
        events = list(self.inside.events(f"/conversations/{self.conversation}/messages", {"text": "count", "stream": True}))
        self.assertEqual(self.text(events), self.model.answer(None))
        self.assertEqual([n for n, _, _ in events], list(range(1, len(events) + 1)))
        self.assertEqual(events[-1][1], "done")
        self.assertEqual(events[-1][2]["status"], "completed")
        self.assertIn("recalled", [name for _, name, _ in events])

    def test_text_arrives_while_the_model_speaks(self):
        self.model.pause_s = 0.15
        arrivals = []
        for _, name, _ in self.inside.events(f"/conversations/{self.conversation}/messages", {"text": "count", "stream": True}):
            if name == "text_delta":
                arrivals.append(time.time())
        self.assertGreaterEqual(len(arrivals), 3)
        self.assertGreater(arrivals[-1] - arrivals[0], 0.3)

    def test_resuming_gives_exactly_the_rest(self):
        self.model.pause_s = 0.05
        run = self.send()
        part, stream = [], self.inside.events(f"/runs/{run}/events")
        for event in stream:
            part.append(event)
            if len(part) == 4:
                break
        stream.close()
        rest = list(self.inside.events(f"/runs/{run}/events", last_event_id=part[-1][0]))
        self.assertEqual([n for n, _, _ in part + rest], list(range(1, len(part + rest) + 1)))
        self.assertEqual(self.text(part + rest), self.model.answer(None))
        # Long after the end the whole stream can be read again.
        self.assertEqual(list(self.inside.events(f"/runs/{run}/events")), part + rest)

    def test_resuming_works_across_a_kill(self):
        self.model.pause_s = 0.1
        run = self.send()
        part, stream = [], self.inside.events(f"/runs/{run}/events")
        try:
            for event in stream:
                part.append(event)
                if len(part) == 3:
                    self.server.kill()
        except OSError:
            pass
        self.server.start()
        self.model.pause_s = 0.0
        rest = list(self.inside.events(f"/runs/{run}/events", last_event_id=part[-1][0], timeout=30))
        numbers = [n for n, _, _ in part + rest]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        self.assertEqual(rest[-1][1], "done")
        self.assertEqual(self.text(part + rest), self.model.answer(None))

    def test_hanging_up_does_not_stop_the_run(self):
        self.model.pause_s = 0.05
        stream = self.inside.events(f"/conversations/{self.conversation}/messages", {"text": "count", "stream": True})
        next(stream)
        stream.close()
        runs = lambda: list(self.inside.all(f"/conversations/{self.conversation}/runs"))
        until("the run goes on to its end", lambda: (found := runs()) and found[0]["status"] == "completed", every_s=0.1)
        self.assertEqual(self.transcript(self.inside, self.conversation)[-1]["text"], self.model.answer(None))

    def test_a_slow_reader_holds_nobody_up(self):
        self.model.answer = lambda request: "word " * 4000
        slow = self.inside.events(f"/conversations/{self.conversation}/messages", {"text": "count", "stream": True})
        next(slow)
        start = time.time()
        other = self.talk(self.inside, key="d2")
        self.model.answer = lambda request: "quick"
        self.assertEqual(self.inside.post(f"/conversations/{other}/messages", {"text": "hi"})["reply"], "quick")
        self.assertLess(time.time() - start, 5)
        time.sleep(1)
        events = list(slow)
        self.assertEqual(events[-1][1], "done")


class Refusals(Case):
    def test_errors_name_what_is_wrong(self):
        inside = self.tenant()
        self.assertIn("nobody", self.refused(404, inside.post, "/conversations", {"agent": "@nobody", "user": "@ann"}).text)
        self.refused((400, 422), inside.post, "/conversations", {"agent": "@helper", "user": "@ann", "colour": "red"})
        self.refused((400, 422), inside.post, "/users", {})
        self.refused((409, 422), inside.post, "/users", {"handle": "ann"})
        self.refused(404, inside.get, "/nothing/here")
        self.refused(405, inside.put, "/users")
        try:
            inside.get("/agents/@nobody")
        except ApiError as e:
            self.assertEqual(e.problem["status"], 404)
            self.assertTrue(e.problem.get("request_id"))
