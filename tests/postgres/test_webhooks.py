"""Webhooks over replicas: each attempt is made by one server, and one that dies is replaced."""
import base64, time

from harness.case import TwoServers
from harness.receiver import Receiver
from harness.waiting import until

KEYS = "one:" + base64.b64encode(bytes(32)).decode()
COUNT = 30


class Webhooks(TwoServers):
    config = {"tools": {"open": ["127.0.0.0/8:*"]}, "secrets": {"keys": KEYS}, "webhooks": {"poll_ms": 50, "timeout_ms": 5000, "per_webhook": 2}}

    def setUp(self):
        super().setUp()
        self.inside = self.tenant()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        self.hook = self.inside.post("/webhooks", {"url": self.receiver.url})

    def deliveries(self, **query):
        return self.inside.get(f"/webhooks/{self.hook['id']}/deliveries", **query)["items"]

    def all_arrive(self):
        pending = lambda: self.deliveries(state="pending")
        until(lambda: f"nothing is pending: {pending()}", lambda: not pending(), every_s=0.1)
        self.assertEqual({d["state"] for d in self.deliveries()}, {"delivered"})

    def test_each_attempt_is_made_by_one_server(self):
        self.receiver.answer = lambda n: time.sleep(0.05) or 200
        for api in [self.inside, self.on(self.second)] * (COUNT // 2):
            api.post(f"/webhooks/{self.hook['id']}/test")
        self.all_arrive()
        self.assertEqual(len(self.receiver.ids()), COUNT)
        self.assertEqual(set(self.receiver.ids()), {d["id"] for d in self.deliveries()})
        self.assertLessEqual(self.receiver.most, 2, "no more at once than it may be sent, by both together")

    def test_what_a_server_had_taken_when_it_died_another_sends(self):
        self.receiver.answer = lambda n: "hang" if n == 0 else 200
        sent = {self.inside.post(f"/webhooks/{self.hook['id']}/test")["id"] for _ in range(4)}
        until("the first one is sent", lambda: self.receiver.heard, every_s=0.02)
        self.second.kill()
        self.addCleanup(self.second.start)
        self.all_arrive()
        self.assertEqual(set(self.receiver.ids()), sent)
