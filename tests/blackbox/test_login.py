"""Logging in to an MCP server in a browser, over a real server and an authorization server that refuses what it has to."""
import base64, concurrent.futures, http.client, json, time, urllib.parse

from harness.case import Case
from harness.login_service import LoginService
from harness.server import free_port
import test_tools

KEYS = {"keys": "one:" + base64.b64encode(bytes(32)).decode()}


class Login(Case):
    sid, offered = test_tools.Tools.sid, test_tools.Tools.offered
    port = free_port()
    config = {"server": {"public_url": f"http://127.0.0.1:{port}"}, "tools": {"open": ["127.0.0.0/8:*"], "mcp_discovery_ms": 3000}, "secrets": KEYS}

    def setUp(self):
        super().setUp()
        self.service = LoginService()
        self.addCleanup(self.service.__exit__)
        self.inside = self.tenant(users=("ann", "bob"))
        self.ann, self.bob = self.inside.acting(user="ann"), self.inside.acting(user="bob")
        self.inside.put("/tools/notes", {"source": {"kind": "mcp", "url": self.service.url, "login": {}}})
        self.inside.patch("/agents/@helper", {"approvals": {"*": "never"}})

    def open(self, url):
        """As a browser does; -> (status, the page)."""
        parts = urllib.parse.urlsplit(url)
        conn = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        conn.request("GET", f"{parts.path}?{parts.query}")
        answer = conn.getresponse()
        page = answer.read().decode()
        self.assertEqual((answer.getheader("cache-control"), answer.getheader("referrer-policy")), ("no-store", "no-referrer"))
        self.assertIn("default-src 'none'", answer.getheader("content-security-policy"))
        return answer.status, page

    def code(self, page):
        return page.split("<h1>")[1].split("</h1>")[0]

    def log_in(self, api, who):
        begun = api.post("/tools/notes/login")
        status, page = self.open(self.service.grant(begun["url"], who))
        self.assertEqual(status, 200, page)
        self.assertEqual(api.get("/tools/notes/login")["state"], "unconfirmed")
        done = api.post("/tools/notes/login/confirm", {"code": self.code(page)})
        self.assertEqual(done, {"state": "logged_in", "issuer": self.service.issuer})

    def ask(self, api=None, user="ann"):
        script = [{"tool": "notes_whoami", "arguments": {}}, "Done."]
        self.model.answer = lambda request: script.pop(0) if script else "Understood."
        said = (api or self.inside).post(f"/conversations/{self.talk(self.inside, user=user)}/messages", {"text": "Who am I?"})
        self.assertEqual(said["run"]["status"], "completed", said)
        tools = [m["content"] for m in self.model.requests[-1]["messages"] if m["role"] == "tool"]
        return tools[-1] if tools else None

    def test_each_user_is_who_they_are(self):
        self.assertIn("tenant has to log in", self.inside.get("/tools/notes")["problem"])
        self.log_in(self.inside, "tenant")
        self.assertEqual([f["name"] for f in self.inside.get("/tools/notes")["functions"]], ["notes_whoami"])
        told = self.ask()
        self.assertIn("the user has to log in first, by `sid tools login notes`", told)
        self.log_in(self.ann, "ann")
        self.assertIn("you are ann", self.ask())
        self.assertIn("log in first", self.ask(user="bob"))
        self.log_in(self.bob, "bob")
        self.assertIn("you are bob", self.ask(user="bob"))
        self.assertIn("you are ann", self.ask())
        # Each is a secret of theirs, sealed; nobody else is told of it.
        self.assertIn("login/notes", [s["name"] for s in self.ann.get("/context/secrets")["items"]])
        self.ann.delete("/tools/notes/login")
        self.assertEqual(self.ann.get("/tools/notes/login")["state"], "none")
        self.assertIn("log in first", self.ask())
        self.assertIn("you are bob", self.ask(user="bob"))

    def test_users_are_told_of_no_other_toolset(self):
        self.inside.put("/tools/plain", {"source": {"kind": "http", "description": "x", "url": f"{self.service.base}/plain"}})
        self.assertIn("wants no login", self.refused(400, self.inside.get, "/tools/plain/login").text)
        for name in ("plain", "nothing"):
            self.assertIn("toolset not found", self.refused(404, self.ann.post, f"/tools/{name}/login").text)

    def test_one_login_for_all_where_the_tenant_says_so(self):
        self.inside.put("/tools/notes", {"source": {"kind": "mcp", "url": self.service.url, "login": {"shared": True}}})
        self.log_in(self.inside, "tenant")
        self.assertIn("you are tenant", self.ask())

    def test_tokens_are_refreshed_once_whoever_asks(self):
        self.log_in(self.inside, "tenant")
        self.log_in(self.ann, "ann")
        self.assertIn("you are ann", self.ask())
        # The server forgets its tokens: the next call is answered 401, refreshed and made.
        self.service.expire()
        self.assertIn("you are ann", self.ask())
        # Many at once, and a slow answer: a refresh token that is shown twice would end the login.
        self.service.lasts, self.service.slow_s = 31, 0.3
        self.service.expire()
        self.assertIn("you are ann", self.ask())
        agents = [f"more{i}" for i in range(4)]
        for name in agents:
            self.inside.post("/agents", {"name": name, "model": "default", "approvals": {"*": "never"}})
        self.model.answer = lambda request: "Done." if any(m["role"] == "tool" for m in request["messages"]) else {"tool": "notes_whoami", "arguments": {}}
        time.sleep(1.5)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            talks = [self.talk(self.inside, agent=name) for name in agents]
            runs = list(pool.map(lambda talk: self.inside.post(f"/conversations/{talk}/messages", {"text": "Who am I?"}), talks))
        for run in runs:
            self.assertIn("you are ann", json.dumps(run["messages"]))
        self.assertEqual(self.service.replayed, 0)

    def test_a_refresh_that_nobody_waits_for_is_kept(self):
        self.log_in(self.inside, "tenant")
        self.log_in(self.ann, "ann")
        self.service.expire()
        # Longer than a call waits for a session: it is given up, and the token that comes afterwards is the only good one.
        self.service.slow_s = 5
        self.assertIn("does not greet", self.ask())
        time.sleep(4)
        self.service.slow_s = 0
        self.assertIn("you are ann", self.ask())
        self.assertEqual(self.service.replayed, 0)

    def test_a_call_that_ran_out_of_time_is_not_made_again(self):
        self.service.refuses_stream = True
        self.inside.put("/tools/notes", {"source": {"kind": "mcp", "url": self.service.url, "login": {}, "timeout_ms": 2000}})
        self.log_in(self.inside, "tenant")
        self.log_in(self.ann, "ann")
        self.assertIn("you are ann", self.ask())
        self.service.calls, self.service.call_s = 0, 4
        self.assertIn("may have been carried out", self.ask())
        self.assertEqual(self.service.calls, 1)

    def test_a_login_that_has_ended_says_what_to_do(self):
        self.log_in(self.inside, "tenant")
        self.log_in(self.ann, "ann")
        self.service.expire()
        self.service.refresh.clear()
        self.assertIn("its login has ended: the user has to log in again", self.ask())
        self.assertEqual(self.ann.get("/tools/notes/login")["state"], "ended")
        self.log_in(self.ann, "ann")
        self.assertIn("you are ann", self.ask())

    def test_a_link_that_was_passed_on_logs_nobody_in(self):
        begun = self.bob.post("/tools/notes/login")
        # Bob sends the link to Ann, who says yes: her browser has the code, and he has not.
        status, page = self.open(self.service.grant(begun["url"], "ann"))
        self.assertEqual(status, 200)
        self.assertIn("If somebody sent you here, close this page", page)
        for _ in range(4):
            self.refused(400, self.bob.post, "/tools/notes/login/confirm", {"code": "00000000"})
        self.assertIn("too often", self.refused(400, self.bob.post, "/tools/notes/login/confirm", {"code": "00000000"}).text)
        self.refused(400, self.bob.post, "/tools/notes/login/confirm", {"code": self.code(page)})
        self.refused(400, self.ann.post, "/tools/notes/login/confirm", {"code": self.code(page)})
        self.assertEqual(self.bob.get("/tools/notes/login")["state"], "none")

    def test_answers_that_are_not_the_servers_are_refused(self):
        back = lambda **more: self.open(self.service.grant(self.ann.post("/tools/notes/login")["url"], **more))
        self.assertEqual(back(state="x")[0], 400)
        self.assertEqual(back(state=None)[0], 400)
        self.assertEqual(back(iss="https://evil.example")[0], 400)
        self.assertEqual(back(code="forged")[0], 400)
        status, page = back(code=None, error="<script>access_denied")
        self.assertEqual(status, 400)
        self.assertNotIn("<script>", page)
        # A code is of use once, and so is the way back.
        begun = self.ann.post("/tools/notes/login")
        url = self.service.grant(begun["url"])
        self.assertEqual(self.open(url)[0], 200)
        self.assertEqual(self.open(url)[0], 400)
        # One that was begun anew takes the place of the first.
        first = self.service.grant(self.ann.post("/tools/notes/login")["url"])
        self.ann.post("/tools/notes/login")
        self.assertEqual(self.open(first)[0], 400)

    def test_metadata_that_is_somebody_elses_is_refused(self):
        begin = lambda: self.refused(400, self.ann.post, "/tools/notes/login").text
        self.service.metadata = {"resource": {"resource": "https://other.example/mcp"}}
        self.assertIn("is about https://other.example/mcp", begin())
        self.service.metadata = {"server": {"issuer": "https://other.example"}}
        self.assertIn("is of https://other.example", begin())
        self.service.metadata = {"server": {"code_challenge_methods_supported": ["plain"]}}
        self.assertIn("PKCE", begin())
        self.service.metadata = {"resource": {"authorization_servers": ["http://169.254.169.254/as"]}}
        self.assertIn("metadata", begin())
        self.service.metadata = {"server": {"token_endpoint": "http://10.0.0.1/token"}}
        self.assertIn("10.0.0.1", begin())
        self.service.metadata = {"server": {"registration_endpoint": None}}
        self.assertIn("registers no clients", begin())
        for login in ({"client_id": "x"}, {"client_id": "x", "client_secret": "s"}, {"issuer": self.service.issuer, "client_secret": "s"}):
            source = {"kind": "mcp", "url": self.service.url, "login": login}
            self.assertIn("issuer", self.refused(400, self.inside.put, "/tools/bad", {"source": source}).text)

    def test_tokens_go_nowhere_else(self):
        self.log_in(self.inside, "tenant")
        self.log_in(self.ann, "ann")
        # Another server under the same name gets none of them.
        other = LoginService()
        self.addCleanup(other.__exit__)
        self.inside.put("/tools/notes", {"source": {"kind": "mcp", "url": other.url, "login": {}}})
        self.assertEqual(self.ann.get("/tools/notes/login")["state"], "none")
        self.assertNotIn("access-", json.dumps(other.asked))
        # No header of another toolset can name the login.
        self.inside.put("/tools/thief", {"source": {"kind": "http", "description": "x", "url": f"{self.service.base}/thief", "secret_headers": {"x-stolen": {"secret": "login/notes"}}}})
        script = [{"tool": "thief", "arguments": {}}, "Done."]
        self.model.answer = lambda request: script.pop(0) if script else "Understood."
        self.inside.post(f"/conversations/{self.talk(self.inside, key='thief')}/messages", {"text": "Go."})
        self.assertNotIn("/thief", json.dumps(self.service.asked))
        # Nobody puts one by hand, so that somebody works with an account that is not theirs, or sees one; an assistant ends none.
        helper = self.inside.acting(user="ann", agent="@helper")
        for name in ("login%2Fnotes", "login%2Fnotes%2Fpending", "google-drive%2Ftokens"):
            for api in (helper, self.ann, self.inside):
                self.assertIn("is a login's", self.refused(403, api.put, f"/context/secrets/{name}", {"value": "{}"}).text)
                self.refused(403, api.post, f"/context/secrets/{name}/reveal")
        self.refused(403, helper.delete, "/context/secrets/login%2Fnotes")
        # And what is seen of it is never a token.
        everything = self.inside.raw("GET", "/export")[2].decode() + json.dumps(self.model.requests)
        for token in [*self.service.access, *self.service.refresh]:
            self.assertNotIn(token, everything)

    def test_the_command_line_logs_in(self):
        self.assertIn("not logged in", self.sid("login", "notes", "--status"))
        told = self.sid("login", "notes")
        url = next(word for word in told.split() if word.startswith(self.service.issuer))
        code = self.code(self.open(self.service.grant(url, "tenant"))[1])
        self.assertIn("--code CODE", self.sid("login", "notes", "--status"))
        self.assertIn("logged in at", self.sid("login", "notes", "--code", code.lower()[:4] + "-" + code[4:]))
        self.assertIn("forgotten", self.sid("logout", "notes"))
