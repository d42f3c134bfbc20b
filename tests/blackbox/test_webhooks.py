"""Webhooks: an application hears of what happens, once it listens, whatever its endpoint does meanwhile."""
import base64, hashlib, hmac, json, os, threading, time

from harness.api import user_key
from harness.case import Case
from harness.receiver import Receiver
from harness.waiting import until

KEYS = "one:" + base64.b64encode(bytes(32)).decode()


def signature(secret, headers, body):
    """As the specification says it, by other code than Sid's."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class WebhookCase(Case):
    config = {"tools": {"open": ["127.0.0.0/8:*"]}, "secrets": {"keys": KEYS},
              "webhooks": {"first_retry_ms": 100, "poll_ms": 50, "timeout_ms": 1500, "per_webhook": 2}}

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "bob"))
        self.receiver = self.receive()

    def receive(self):
        receiver = Receiver()
        self.addCleanup(receiver.close)
        return receiver

    def hook(self, *events, receiver=None, **more):
        return self.inside.post("/webhooks", {"url": (receiver or self.receiver).url, "events": list(events), **more})

    def say(self, talk, text="hello", **more):
        return self.inside.post(f"/conversations/{talk}/messages", {"text": text, **more})["run"]

    def wait(self, what, is_over):
        """Waits for it; what the endpoint has heard by then is told when it is in vain."""
        until(lambda: f"{what}; told: {self.receiver.told()}", is_over)

    def deliveries(self, hook, **query):
        return self.inside.get(f"/webhooks/{hook['id']}/deliveries", **query)["items"]

    def all_over(self, hook, count):
        found = self.deliveries(hook)
        return len(found) == count and all(d["state"] != "pending" for d in found)


class Webhooks(WebhookCase):
    def test_what_happens_is_told_and_signed(self):
        hook = self.hook("message.answered", "run.completed")
        talk = self.talk(self.inside)
        run = self.say(talk, "my secret wish")
        self.wait("both are told", lambda: self.all_over(hook, 2))
        told = {t["type"]: t for t in self.receiver.told()}
        self.assertEqual(set(told), {"message.answered", "run.completed"})
        data = told["message.answered"]["data"]
        self.assertEqual((data["run"], data["conversation"], data["stop_reason"]), (run["id"], talk, "end_turn"))
        self.assertEqual(data["user"], self.inside.get("/users/@ann")["id"])
        self.assertNotIn("content", data)
        for headers, body in self.receiver.heard:
            self.assertEqual(headers["webhook-signature"], signature(hook["secret"], headers, body))
            self.assertLess(abs(time.time() - int(headers["webhook-timestamp"])), 60)
            self.assertEqual(headers["content-type"], "application/json")
            self.assertNotIn(b"my secret wish", body)
        self.assertEqual(sorted(self.receiver.ids()), sorted(d["id"] for d in self.deliveries(hook)))
        delivery = self.deliveries(hook)[0]
        self.assertEqual((delivery["state"], delivery["attempts"], delivery["status"], len(delivery["history"])), ("delivered", 1, 200, 1))
        self.assertIn(delivery["body"].encode(), [body for _, body in self.receiver.heard])

    def test_words_are_told_to_who_asks_for_them(self):
        self.model.answer = lambda request: "The answer is forty-two."
        hook = self.hook("message.answered", include="content")
        self.say(self.talk(self.inside))
        self.wait("it is told", lambda: self.all_over(hook, 1))
        self.assertEqual(self.receiver.told()[0]["data"]["content"]["text"], "The answer is forty-two.")

    def test_failures_are_tried_again_under_the_same_id_with_the_same_body(self):
        answers = [500, "reset", (302, {"location": "http://127.0.0.1:1/elsewhere"}), "hang", 404, 200]
        self.receiver.answer = lambda n: answers[min(n, len(answers) - 1)]
        hook = self.hook("webhook.test")
        sent = self.inside.post(f"/webhooks/{hook['id']}/test")
        # The waits grow: a wish for it again begins them anew.
        while not self.all_over(hook, 1):
            self.inside.post(f"/webhooks/{hook['id']}/deliveries/{sent['id']}/redeliver")
            seen = len(self.receiver.heard)
            self.wait("it is tried", lambda: len(self.receiver.heard) > seen or self.all_over(hook, 1))
        self.wait("it is delivered", lambda: self.all_over(hook, 1))
        self.assertEqual(set(self.receiver.ids()), {sent["id"]})
        self.assertEqual(len({body for _, body in self.receiver.heard}), 1)
        delivery = self.inside.get(f"/webhooks/{hook['id']}/deliveries/{sent['id']}")
        self.assertEqual(delivery["state"], "delivered")
        history = delivery["history"]
        self.assertEqual(([a["status"] for a in history][-1], history[0]["status"]), (200, 500))
        self.assertTrue(any("redirect" in (a["error"] or "") for a in history), history)
        self.assertTrue(any("1.5 s" in (a["error"] or "") for a in history), history)
        self.assertIsNone(self.inside.get(f"/webhooks/{hook['id']}")["failing_since"])

    def test_without_help_it_is_tried_again_too(self):
        self.receiver.answer = lambda n: 503 if n < 1 else 200
        hook = self.hook("webhook.test")
        self.inside.post(f"/webhooks/{hook['id']}/test")
        self.wait("it is delivered", lambda: self.all_over(hook, 1))
        self.assertEqual(self.deliveries(hook)[0]["attempts"], 2)

    def test_an_endpoint_that_asks_for_a_rest_has_it(self):
        self.receiver.answer = lambda n: (429, {"retry-after": "3"}) if len(self.receiver.heard) == 1 else 200
        hook = self.hook("webhook.test")
        self.inside.post(f"/webhooks/{hook['id']}/test")
        self.wait("its rest is written down", lambda: self.inside.get(f"/webhooks/{hook['id']}")["failing_since"])
        self.inside.post(f"/webhooks/{hook['id']}/test")
        self.wait("both are told", lambda: self.all_over(hook, 2))
        first, second = self.receiver.times[:2]
        self.assertGreater(second - first, 2.9, "the second one waited as well")

    def test_gone_is_gone(self):
        self.receiver.answer = lambda n: 410
        hook = self.hook("webhook.test")
        self.inside.post(f"/webhooks/{hook['id']}/test")
        self.wait("it is disabled", lambda: self.inside.get(f"/webhooks/{hook['id']}")["state"] == "disabled")
        self.assertIn("410", self.inside.get(f"/webhooks/{hook['id']}")["disabled_because"])
        self.refused(422, self.inside.post, f"/webhooks/{hook['id']}/test")
        self.receiver.answer = lambda n: 200
        self.inside.patch(f"/webhooks/{hook['id']}", {"enabled": True})
        delivery = self.deliveries(hook)[0]
        self.inside.post(f"/webhooks/{hook['id']}/deliveries/{delivery['id']}/redeliver")
        self.wait("it is delivered", lambda: self.deliveries(hook, state="delivered"))

    def test_conversations_are_told_in_order(self):
        hook = self.hook("run.completed")
        talk = self.talk(self.inside)
        self.receiver.answer = lambda n: 500 if n == 0 and len(self.receiver.heard) == 1 else 200
        runs = [self.say(talk, f"message {i}")["id"] for i in range(5)]
        self.wait("all are told", lambda: self.all_over(hook, 5))
        told = [t["data"]["run"] for t in self.receiver.told()]
        self.assertEqual(told, [runs[0], *runs])

    def test_secrets_change_with_an_overlap(self):
        hook = self.hook("webhook.test")
        fresh = self.inside.post(f"/webhooks/{hook['id']}/rotate", {"overlap_s": 3600})
        self.assertNotEqual(fresh["secret"], hook["secret"])
        self.assertEqual(fresh["secrets"], 2)
        self.inside.post(f"/webhooks/{hook['id']}/test")
        self.wait("it is told", lambda: self.all_over(hook, 1))
        headers, body = self.receiver.heard[-1]
        self.assertEqual(headers["webhook-signature"].split(" "), [signature(fresh["secret"], headers, body), signature(hook["secret"], headers, body)])
        last = self.inside.post(f"/webhooks/{hook['id']}/rotate", {"overlap_s": 0})
        self.inside.post(f"/webhooks/{hook['id']}/test")
        self.wait("it is told", lambda: self.all_over(hook, 2))
        headers, body = self.receiver.heard[-1]
        self.assertEqual(headers["webhook-signature"], signature(last["secret"], headers, body))
        stored = b"".join(p.read_bytes() for p in self.server.folder.rglob("*") if p.is_file())
        for secret in (hook["secret"], fresh["secret"], last["secret"]):
            self.assertNotIn(secret.removeprefix("whsec_").encode(), stored)
            self.assertNotIn(secret, json.dumps([self.inside.get(f"/webhooks/{hook['id']}"), self.inside.get("/webhooks")]))

    def test_a_kill_between_commit_and_delivery_loses_nothing(self):
        hook = self.hook("run.completed")
        talk = self.talk(self.inside)
        self.receiver.answer = lambda n: "reset"
        runs = []
        for i in range(6):
            runs.append(self.say(talk, f"message {i}")["id"])
            if i % 2:
                self.server.kill()
                self.server.start()
        self.receiver.answer = lambda n: 200
        self.receiver.heard.clear()
        for delivery in self.deliveries(hook):
            if delivery["state"] == "pending":
                self.inside.post(f"/webhooks/{hook['id']}/deliveries/{delivery['id']}/redeliver")
        self.wait("all are told", lambda: self.all_over(hook, 6))
        self.assertEqual({t["data"]["run"] for t in self.receiver.told()}, set(runs))
        self.assertEqual({d["subject"] for d in self.deliveries(hook)}, set(runs))

    def test_erasing_somebody_is_told_and_takes_the_rest_along(self):
        hook = self.hook(include="content")
        run = self.say(self.talk(self.inside), "I like pickles")["id"]
        self.wait("both are told", lambda: self.all_over(hook, 2))
        ann = self.inside.get("/users/@ann")["id"]
        self.inside.delete("/users/@ann")
        self.wait("the erasure is told", lambda: any(t["type"] == "user.erased" for t in self.receiver.told()))
        self.assertEqual(self.receiver.told()[-1]["data"], {"user": ann, "content": None})
        left = self.deliveries(hook)
        self.assertEqual([d["event"] for d in left], ["user.erased"])
        self.assertNotIn(run, json.dumps(left))

    def test_only_those_who_run_the_application_have_webhooks(self):
        ann = self.api.acting(key=user_key(self.api, self.inside.tenant, "ann"))
        hook = self.hook()
        for call in (lambda: ann.get("/webhooks"), lambda: ann.post("/webhooks", {"url": self.receiver.url}), lambda: ann.get(f"/webhooks/{hook['id']}"),
                     lambda: ann.delete(f"/webhooks/{hook['id']}"), lambda: ann.post(f"/webhooks/{hook['id']}/rotate", {})):
            self.refused(403, call)
        other = self.api.post("/tenants", {"name": f"other-{os.getpid()}"})
        elsewhere = self.api.acting(tenant=other["id"])
        for call in (lambda: elsewhere.get(f"/webhooks/{hook['id']}"), lambda: elsewhere.post(f"/webhooks/{hook['id']}/test"),
                     lambda: elsewhere.get(f"/webhooks/{hook['id']}/deliveries"), lambda: elsewhere.get("/webhooks/whk_" + "0" * 26)):
            self.refused(404, call)
        for wrong, about in (({"url": "http://10.0.0.1/"}, "host"), ({"url": "ftp://example.org"}, "scheme"), ({"url": self.receiver.url, "events": ["run.exploded"]}, "run.failed"),
                             ({"url": "http://169.254.169.254/latest"}, "metadata")):
            self.assertIn(about, self.refused(400, self.inside.post, "/webhooks", wrong).text)
        key = {"idempotency-key": "k1"}
        first, again = (self.inside.post("/webhooks", {"url": self.receiver.url}, headers=key) for _ in range(2))
        self.assertEqual(first["id"], again["id"])
        self.assertNotIn("secret", again, "it was shown")
        self.refused(412, self.inside.patch, f"/webhooks/{hook['id']}", {"description": "x"}, headers={"if-match": '"9"'})

    def test_only_who_may_read_memory_has_words_sent(self):
        key = self.inside.post("/keys", {"name": "directory", "role": {"type": "tenant"}, "scopes": ["directory-write"]})["key"]
        narrow = self.api.showing(key)
        self.assertIn("memory-read", self.refused(403, narrow.post, "/webhooks", {"url": self.receiver.url, "include": "content"}).text)
        thin, whole = narrow.post("/webhooks", {"url": self.receiver.url}), self.hook(include="content")
        self.refused(403, narrow.patch, f"/webhooks/{thin['id']}", {"include": "content"})
        self.refused(403, narrow.patch, f"/webhooks/{whole['id']}", {"url": "http://127.0.0.1:1/"})
        self.say(self.talk(self.inside))
        self.wait("all are told", lambda: self.all_over(whole, 2) and self.all_over(thin, 2))
        delivery = self.deliveries(whole)[0]
        self.assertIn("content", json.loads(delivery["body"])["data"])
        path = f"/webhooks/{whole['id']}/deliveries"
        for body in (narrow.get(path)["items"][0]["body"], narrow.get(f"{path}/{delivery['id']}")["body"], narrow.post(f"{path}/{delivery['id']}/redeliver")["body"]):
            self.assertIsNone(body)


class SlowEndpoints(WebhookCase):
    config = {**WebhookCase.config, "webhooks": {**WebhookCase.config["webhooks"], "timeout_ms": 30_000}}

    def test_a_slow_endpoint_delays_no_other(self):
        slow, quick, is_told = self.receive(), self.receiver, threading.Event()
        self.addCleanup(is_told.set)
        slow.answer = lambda n: is_told.wait(60) and 200
        slow_hook, quick_hook = self.hook("webhook.test", receiver=slow), self.hook("webhook.test")
        for _ in range(8):
            self.inside.post(f"/webhooks/{slow_hook['id']}/test")
        self.wait("the slow one has what it may be sent at once", lambda: len(slow.heard) == 2)
        self.inside.post(f"/webhooks/{quick_hook['id']}/test")
        self.wait("the quick one is told", lambda: quick.heard)
        self.assertEqual(len(slow.heard), 2, "before the slow one has answered anything")
        is_told.set()
        self.wait("the slow one is told", lambda: self.all_over(slow_hook, 8))
        self.assertLessEqual(slow.most, 2, "no more at once than it may be sent")
