"""What the Compose file starts, as processes of this machine: Postgres, a migration, two real servers, the load balancer."""
import re, threading, unittest

from harness.api import Api, make_tenant
from harness.fake_model import FakeModel
from harness.server import Server, free_port
from haproxy import HaProxy
from tools import DEPLOY

SENDERS = 4


def of_compose(key):
    return int(re.search(rf"^{key} = (\d+)", (DEPLOY / "compose" / "sid.toml").read_text(), re.MULTILINE)[1])


class Stack(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        model = FakeModel()
        self.addCleanup(model.__exit__, None, None, None)
        model.__enter__()
        model.pause_s = 0.05
        port, drain = free_port(), {k: of_compose(k) for k in ("drain_delay_ms", "drain_timeout_ms")}
        config = {"models": {"default": {"base_url": model.url, "model": "fake", "context_window": 8192}}}
        listening = lambda i: {"server": {"listen": f"127.0.0.{i}:{port}", **drain}}
        first = Server({**config, **listening(2)}, store="postgres")
        self.addCleanup(first.remove)
        first.start(wait=False)
        second = first.replica(listening(3))
        self.addCleanup(second.remove)
        second.start(wait=False)
        self.servers = [first, second]
        self.haproxy = HaProxy(["127.0.0.2", "127.0.0.3"], port)
        self.addCleanup(self.haproxy.end)
        self.haproxy.until("a server is ready", lambda: self.haproxy.ask("GET", "/health/ready")[0] == 200)
        self.api = Api(f"http://127.0.0.1:{self.haproxy.port}", first.key)

    def serves(self, server):
        """Whether this very server has been sent messages since its start: asked past the balancer."""
        status, _, text = Api("http://" + server.config["server"]["listen"]).raw("GET", "/metrics")
        return status == 200 and b'method="POST",route="/api/v1/conversations/{' in text

    def test_nobody_notices_a_rolling_restart(self):
        inside = make_tenant(self.api, "t", ["ann"], ["helper"])
        conversations = [inside.post("/conversations", {"agent": "@helper", "user": "@ann", "key": f"d{i}"})["id"] for i in range(SENDERS)]
        over, sent, failed = threading.Event(), {c: [] for c in conversations}, []

        def send(conversation):
            api = inside.acting()
            while not over.is_set():
                text = f"message {len(sent[conversation])}"
                try:
                    # No key and no second try: whatever goes wrong is seen.
                    api.post(f"/conversations/{conversation}/messages", {"text": text})
                    sent[conversation].append(text)
                except Exception as e:
                    failed.append(repr(e))
                    over.set()

        senders = [threading.Thread(target=send, args=(c,)) for c in conversations]
        for sender in senders:
            sender.start()
        try:
            for server in self.servers:
                self.assertEqual(server.stop(), 0, server.text())
                server.start(wait=False)
                # A balancer that has not seen it yet would have nobody left if the next one stopped now.
                self.haproxy.until("the server is back", lambda server=server: over.is_set() or self.serves(server))
        finally:
            over.set()
            for sender in senders:
                sender.join()
        self.assertEqual(failed, [])
        for conversation, texts in sent.items():
            said = [m["text"] for m in inside.all(f"/conversations/{conversation}/messages", order="asc", limit=200) if m["role"] == "user"]
            self.assertEqual(said, texts, "each once, in order")


if __name__ == "__main__":
    unittest.main()
