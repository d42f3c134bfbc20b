"""The test case of the black-box suites: one server and one fake model for a whole class."""
import os, unittest

from .api import Api, ApiError, make_tenant
from .fake_model import FakeModel
from .server import Server, merged


def cannot_run(reason):
    """Skips the test here; in CI, where everything must run, fails it."""
    if os.environ.get("CI", "") not in ("", "0", "false"):
        raise AssertionError(f"cannot run in CI: {reason}")
    raise unittest.SkipTest(reason)


class Case(unittest.TestCase):
    """`self.server`, `self.api` (the operator's) and `self.model` are there; `config` is laid over the usual one."""

    # `port`: for a configuration that has to say how it is reached.
    config, store, port, maxDiff = {}, None, None, None

    @classmethod
    def setUpClass(cls):
        cls.model = cls.enter(FakeModel())
        cls.server = cls.make_server()
        cls.addClassCleanup(cls.server.remove)
        cls.server.start()
        cls.api = cls.server.api

    @classmethod
    def make_server(cls):
        return Server(cls.configuration(), store=cls.store, port=cls.port)

    @classmethod
    def enter(cls, context):
        cls.addClassCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    @classmethod
    def configuration(cls):
        model = {"base_url": cls.model.url, "model": "fake", "context_window": 8192, "base_delay_ms": 50}
        # Short leases, so that a test of a crash does not have to wait for a long one to run out.
        return merged({"models": {"default": model}, "engine": {"lease_ttl_ms": 2000, "poll_ms": 200}}, cls.config)

    def run(self, result=None):
        """What goes wrong is shown with what the servers said meanwhile."""
        result = self.defaultTestResult() if result is None else result
        bad = lambda: len(result.failures) + len(result.errors)
        before = bad()
        done = super().run(result)
        if bad() > before:
            for server in {getattr(self, "server", None), *getattr(self, "servers", ())} - {None}:
                said = [line for line in server.text().splitlines() if " WARN " in line or " ERROR " in line]
                print(f"{self.id()}: warnings and errors of the server at {server.port}, the last of {len(said)}:", *said[-20:], sep="\n    ", flush=True)
        return done

    def setUp(self):
        self.model.answer, self.model.pause_s = (lambda request: "Understood."), 0.0

    def tenant(self, users=("ann",), agents=("helper",)):
        """A tenant of this test alone."""
        name = self.id().split(".")[-1].replace("_", "-")[-40:]
        return make_tenant(self.api, name, users, agents)

    def talk(self, api, user="ann", agent="helper", key="d1"):
        return api.post("/conversations", {"agent": f"@{agent}", "user": f"@{user}", "key": key})["id"]

    def refused(self, status, call, *arguments, **more):
        """The call must be refused with this status and a readable problem; gives the error."""
        with self.assertRaises(ApiError) as caught:
            call(*arguments, **more)
        error = caught.exception
        self.assertIn(error.status, status if isinstance(status, tuple) else (status,), error)
        self.assertTrue(error.headers.get("content-type", "").startswith("application/problem+json"), error.headers.get("content-type"))
        self.assertRegex(error.code or "", r"^SID-[A-Z0-9]+-[A-Z0-9-]+$", error.text)
        self.assertTrue(error.problem.get("detail") or error.problem.get("title"), error.text)
        return error

    def transcript(self, api, conversation):
        """All messages; their sequence numbers must be dense from 1."""
        messages = list(api.all(f"/conversations/{conversation}/messages", order="asc", limit=200))
        self.assertEqual([m["seq"] for m in messages], list(range(1, len(messages) + 1)))
        return messages


class TwoServers(Case):
    """`self.server` and `self.second` are two servers on one Postgres database."""

    store = "postgres"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.second = cls.server.replica()
        cls.addClassCleanup(cls.second.remove)
        cls.second.start()
        cls.servers = (cls.server, cls.second)

    def on(self, server, caller=None):
        """`caller`, or `self.inside`, at this server."""
        caller = caller or self.inside
        return Api(server.url, caller.key, caller.tenant, caller.user)
