"""Several servers on one database: any of them accepts, runs and streams; what one leaves behind another takes up."""
import signal, threading, time

from harness.api import Api, ApiError, user_key
from harness.case import TwoServers
from harness.waiting import until


class Replicas(TwoServers):
    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "ben"))
        self.conversation = self.talk(self.inside)
        self.model.answer = lambda request: "one two three four five six seven eight nine ten eleven twelve"

    def send(self, server=None, text="count"):
        return self.on(server or self.server).post(f"/conversations/{self.conversation}/messages", {"text": text, "wait": False})["run"]["id"]

    def whole(self, events):
        self.assertEqual([n for n, _, _ in events], list(range(1, len(events) + 1)))
        self.assertEqual(events[-1][1], "done")
        last = max((i for i, (_, name, _) in enumerate(events) if name == "started"), default=0)
        deltas = "".join(e["text"] for _, name, e in events[last:] if name == "text_delta")
        answer = [e["message"]["text"] for _, name, e in events if name == "message"][-1]
        self.assertTrue(answer.startswith(deltas.rstrip()), (deltas, answer))
        return answer

    def test_a_stream_is_followed_on_the_server_that_does_not_run_it(self):
        self.model.pause_s = 0.1
        run, arrivals, events = self.send(), [], []
        for event in self.on(self.second).events(f"/runs/{run}/events"):
            events.append(event)
            if event[1] == "text_delta":
                arrivals.append(time.time())
        self.assertEqual(self.whole(events), self.model.answer(None))
        self.assertGreaterEqual(len(arrivals), 2, "the text came while the model was speaking")

    def test_a_stream_that_breaks_goes_on_elsewhere(self):
        self.model.pause_s = 0.1
        run, part = self.send(), []
        stream = self.inside.events(f"/runs/{run}/events")
        for event in stream:
            part.append(event)
            if len(part) == 3:
                break
        stream.close()
        rest = list(self.on(self.second).events(f"/runs/{run}/events", last_event_id=part[-1][0]))
        self.assertEqual(self.whole(part + rest), self.model.answer(None))

    def test_attaching_elsewhere_asks_whose_it_is(self):
        run = self.send()
        self.assertEqual(list(self.inside.events(f"/runs/{run}/events"))[-1][1], "done")
        ben = self.on(self.second).acting(key=user_key(self.api, self.inside.tenant, "ben"))
        theirs = Api(self.second.url, ben.key)
        self.assertEqual(self.refused(404, theirs.get, f"/runs/{run}/events").code, "SID-STORE-NOT-FOUND")
        with self.assertRaises(ApiError) as caught:
            list(theirs.events(f"/runs/{run}/events", last_event_id=1))
        self.assertEqual(caught.exception.status, 404)

    def test_functions_that_changed_elsewhere_are_noticed(self):
        def described(description):
            """Puts a toolset on the first server; -> what the second one's next run is told of it, when what it remembers is old."""
            source = {"kind": "http", "description": description, "url": "https://bell.invalid/ring"}
            put = self.inside.put("/tools/ring", {"source": source})
            time.sleep(2.2)
            self.on(self.second).post(f"/conversations/{self.conversation}/messages", {"text": "Hi"})
            tools = {t["function"]["name"]: t["function"]["description"] for t in self.model.requests[-1]["tools"]}
            return put["version"], tools["ring"]

        self.assertEqual(described("first"), (1, "first"))
        self.assertEqual(described("second"), (2, "second"))
        # Dropped and made anew, as often as it was put before: the version alone tells nothing.
        self.inside.delete("/tools/ring")
        self.inside.put("/tools/ring", {"source": {"kind": "http", "description": "third", "url": "https://bell.invalid/ring"}})
        self.assertEqual(described("fourth"), (2, "fourth"))

    def test_cancelled_on_the_other_server(self):
        self.model.pause_s = 1.0
        run = self.send()
        time.sleep(0.5)
        self.on(self.second).post(f"/runs/{run}/cancel")
        self.assertEqual(self.ended(self.second, run)["status"], "cancelled")

    def ended(self, server, run):
        """The run as this server knows it, when it has ended."""
        now = lambda: self.on(server).get(f"/runs/{run}")
        return until(lambda: f"the run ends: {now()}", lambda: (it := now())["status"] in ("completed", "failed", "cancelled") and it)

    def test_waiting_on_the_server_that_does_not_run_it(self):
        self.model.pause_s = 0.1
        replies, threads = [], []
        for i in range(8):
            server = (self.server, self.second)[i % 2]
            post = lambda server=server, i=i: replies.append(self.on(server).post(f"/conversations/{self.conversation}/messages", {"text": f"number {i}"}))
            threads.append(threading.Thread(target=post))
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual([r["run"]["status"] for r in replies], ["completed"] * 8)
        transcript = self.transcript(self.inside, self.conversation)
        self.assertEqual([m["role"] for m in transcript], ["user", "assistant"] * 8)

    def test_the_answering_server_is_killed(self):
        third = self.server.replica()
        self.addCleanup(third.remove)
        third.start()
        self.model.pause_s = 0.2
        run, part = self.send(third), []
        try:
            for event in self.on(third).events(f"/runs/{run}/events"):
                part.append(event)
                if len(part) == 4:
                    third.kill()
        except OSError:
            pass
        self.model.pause_s = 0.0
        rest = list(self.on(self.second).events(f"/runs/{run}/events", last_event_id=part[-1][0], timeout=30))
        self.assertEqual(self.whole(part + rest), self.model.answer(None))
        self.assertEqual([m["role"] for m in self.transcript(self.inside, self.conversation)], ["user", "assistant"])

    def test_a_server_that_slept_through_its_lease_writes_nothing(self):
        third = self.server.replica()
        self.addCleanup(third.remove)
        third.start()
        self.model.pause_s = 0.5
        run = self.send(third)
        time.sleep(0.7)
        third.process.send_signal(signal.SIGSTOP)
        self.model.pause_s = 0.0
        self.assertEqual(self.ended(self.second, run)["status"], "completed")
        before = self.transcript(self.inside, self.conversation), list(self.on(self.second).events(f"/runs/{run}/events"))
        third.process.send_signal(signal.SIGCONT)
        time.sleep(2)
        after = self.transcript(self.inside, self.conversation), list(self.on(self.second).events(f"/runs/{run}/events"))
        self.assertEqual(before, after)
        self.assertEqual(self.on(third).get(f"/runs/{run}")["status"], "completed")

    def test_told_to_stop_a_server_hands_its_runs_on(self):
        third = self.server.replica({"server": {"drain_timeout_ms": 1000}})
        self.addCleanup(third.remove)
        third.start()
        self.model.pause_s = 1.0
        run = self.send(third)
        time.sleep(0.5)
        self.assertEqual(third.stop(), 0)
        self.model.pause_s = 0.0
        self.assertEqual(self.ended(self.second, run)["status"], "completed")
        self.assertEqual([m["role"] for m in self.transcript(self.inside, self.conversation)], ["user", "assistant"])
