"""A login to an MCP server over replicas: its refresh token is shown once, whichever server needs the next token."""
import base64, concurrent.futures, json

from harness.case import TwoServers
from harness.login_service import LoginService
from harness.server import free_port
from harness.waiting import until

KEYS = {"keys": "one:" + base64.b64encode(bytes(32)).decode()}


class Login(TwoServers):
    port = free_port()
    config = {"server": {"public_url": f"http://127.0.0.1:{port}"}, "tools": {"open": ["127.0.0.0/8:*"]}, "secrets": KEYS}

    def test_two_servers_refresh_once(self):
        service = LoginService()
        self.addCleanup(service.__exit__)
        agents = [f"agent{i}" for i in range(6)]
        inside = self.tenant(agents=agents)
        inside.put("/tools/notes", {"source": {"kind": "mcp", "url": service.url, "login": {}}})
        for name in agents:
            inside.patch(f"/agents/@{name}", {"approvals": {"*": "never"}})
        for api, who in ((inside, "tenant"), (inside.acting(user="ann"), "ann")):
            service.log_in(api, "/tools/notes/login", who)
        self.model.answer = lambda request: "Done." if any(m["role"] == "tool" for m in request["messages"]) else {"tool": "notes_whoami", "arguments": {}}
        both = [inside, self.on(self.second, inside)]
        # The server that has not seen the login hears of it at its next look.
        until("both know of the login", lambda: all(api.get("/tools/notes")["functions"] for api in both), every_s=0.1)
        talks = [(both[i % 2], self.talk(inside, agent=name)) for i, name in enumerate(agents)]

        def ask(server_and_talk):
            api, talk = server_and_talk
            return json.dumps(api.post(f"/conversations/{talk}/messages", {"text": "Who am I?"})["messages"])

        for told in map(ask, talks):
            self.assertIn("you are ann", told)
        # All tokens are worth nothing at once, and the next ones come slowly: both servers are at it at the same time.
        service.slow_s = 0.5
        service.expire()
        talks = [(api, self.talk(inside, agent=name, key="again")) for (api, _), name in zip(talks, agents)]
        with concurrent.futures.ThreadPoolExecutor(len(talks)) as pool:
            for told in pool.map(ask, talks):
                self.assertIn("you are ann", told)
        self.assertEqual(service.replayed, 0)
