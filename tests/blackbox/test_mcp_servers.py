"""Tools of MCP servers: the operator's own programs, and servers on the network that tenants name."""
import base64, json, pathlib, shutil, sys, tempfile

from harness import paths
from harness.case import Case
from harness.server import free_port
from harness.service import Service
from harness.waiting import until
import test_tools

ODD = str(paths.ROOT / "tests/harness/mcp_server.py")
FOLDER = tempfile.mkdtemp(prefix="sid-mcp-")


def alive(pid):
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


class Local(Case):
    odd = {"command": sys.executable, "args": [ODD, FOLDER], "tenants": ["*"], "timeout_ms": 2000, "env": ["MINE=1"]}
    config = {"tools": {"mcp": {"odd": odd, "others": {**odd, "args": [ODD, FOLDER + "/others"], "tenants": ["ten_01jd0000000000000000000000"]}, "none": {"command": "/no/such/program", "tenants": ["*"]}}},
              "server": {"log_requests": False}}
    sid, ask, offered = test_tools.Tools.sid, test_tools.Tools.ask, test_tools.Tools.offered

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(shutil.rmtree, FOLDER, True)

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann",))

    def put(self, name, source, **more):
        return self.inside.put(f"/tools/{name}", {"source": {"kind": "mcp", **source}, **more})

    def pids(self):
        return [int(n) for n in (pathlib.Path(FOLDER) / "pids").read_text().split()]

    def test_an_agent_calls_a_tool_of_a_program(self):
        made = self.put("odd", {"server": "odd", "only": ["environment", "add"]})
        self.assertEqual({f["name"]: f["effect"] for f in made["functions"]}, {"odd_add": "once", "odd_environment": "once"}, "its own word is not believed")
        self.assertEqual(json.loads(self.ask("odd_add", {"a": "2", "b": 3})), {"sum": 5})
        names = set(self.ask("odd_environment", {}).split()) - {"LC_CTYPE", "PWD", "__CF_USER_TEXT_ENCODING"}
        self.assertEqual(names, {"PATH", "HOME", "LANG", "MINE"})
        believed = self.put("odd", {"server": "odd", "prefix": "", "believe_hints": True, "effects": {"add": "idempotent"}})
        effects = {f["name"]: f["effect"] for f in believed["functions"]}
        self.assertEqual((effects["environment"], effects["nonsense"], effects["add"], effects["die"]), ("read", "idempotent", "idempotent", "once"))

    def test_a_tenant_can_name_what_the_operator_has_and_nothing_else(self):
        bad = lambda source, word: self.assertIn(word, self.refused((400, 422), self.put, "bad", source).text)
        bad({"server": "others"}, "no MCP server of this name")
        bad({"server": "nowhere"}, "no MCP server of this name")
        bad({"server": "odd", "url": "https://mcp.example.com"}, "either")
        bad({}, "either")
        bad({"command": "/bin/sh"}, "command")
        bad({"server": "none"}, "cannot be started")
        bad({"url": "http://127.0.0.1:8/mcp"}, "ask an operator to open it")
        bad({"url": "http://169.254.169.254/mcp"}, "metadata")

    def test_a_program_that_misbehaves_is_contained_and_comes_back(self):
        self.put("odd", {"server": "odd"})
        for name, says in (("die", "may have been carried out"), ("hang", "no answer within 2.0 s"), ("flood", "may have been carried out"), ("nonsense", "")):
            self.assertIn(says, self.ask(f"odd_{name}", {}), name)
            until(f"it is back after {name}", lambda: self.ask("odd_add", {"a": 1, "b": 1}) == '{"sum":2}')
        self.assertLessEqual(sum(map(alive, self.pids())), 1, "one process at a time")

    def test_tools_that_come_and_go_are_noticed(self):
        self.put("odd", {"server": "odd"})
        (pathlib.Path(FOLDER) / "tools").write_text("later")
        self.addCleanup((pathlib.Path(FOLDER) / "tools").unlink)
        self.ask("odd_add", {"a": 1, "b": 1})

        def is_offered():
            self.ask("odd_add", {"a": 1, "b": 1})
            return "odd_later" in self.offered()
        until("a tool that was added is offered", is_offered)

    def test_the_command_line_adds_it(self):
        self.assertIn("odd_add", self.sid("add", "mcp:odd", "--only", "add"))
        self.assertIn("Adds two numbers", self.sid("show", "odd"))


class Ends(Case):
    """A class of its own: the server is killed."""

    folder = tempfile.mkdtemp(prefix="sid-mcp-")
    config = {"tools": {"mcp": {"odd": {"command": sys.executable, "args": [ODD, folder], "tenants": ["*"]}}}}

    def test_a_program_ends_with_the_server(self):
        self.addCleanup(shutil.rmtree, self.folder, True)
        pids = pathlib.Path(self.folder) / "pids"
        until("it is started", lambda: pids.exists() and pids.read_text().strip())
        pid = int(pids.read_text().split()[0])
        self.assertTrue(alive(pid))
        self.server.kill()
        until("it has ended", lambda: not alive(pid))
        self.server.start()


class Remote(Case):
    config = {"tools": {"open": ["127.0.0.0/8:*"], "mcp_discovery_ms": 2000}, "secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}
    sid, ask, offered = test_tools.Tools.sid, test_tools.Tools.ask, test_tools.Tools.offered

    def answer(self, asked):
        """A server without sessions, which says whom it sees."""
        method, result = asked["method"], {}
        if method == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "1"}}
        elif method == "tools/list":
            result = {"tools": [{"name": "whoami", "inputSchema": {"type": "object"}}]}
        elif method == "tools/call":
            result = {"content": [{"type": "text", "text": json.dumps(self.service.asked[-1][2].get("authorization"))}]}
        return 200, {"jsonrpc": "2.0", "id": asked.get("id"), "result": result}

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann",))
        self.service = Service()
        self.addCleanup(self.service.__exit__)
        self.tokens = 0

        def answer(method, path):
            asked = self.service.asked[-1][3]
            if path == "/token":
                self.tokens += 1
                return 200, {"access_token": f"token-{self.tokens}", "token_type": "bearer", "expires_in": 3600}
            return self.answer(asked) if asked else (405, {})
        self.service.answer = answer

    def put(self, **source):
        return self.inside.put("/tools/notes", {"source": {"kind": "mcp", "url": self.service.url + "/mcp", **source}})

    def called(self):
        return [h for m, p, h, body in self.service.asked if body and body.get("method") == "tools/call"]

    def test_a_secret_is_sent_and_shown_to_nobody(self):
        headers = {"authorization": {"secret": "notes", "prefix": "Bearer "}}
        self.assertIn("notes", self.refused(400, self.put, secret_headers=headers).text)
        self.inside.put("/context/secrets/notes?owner_type=tenant", {"value": "key-4711"})
        self.assertEqual([f["name"] for f in self.put(secret_headers=headers)["functions"]], ["notes_whoami"])
        self.assertEqual(self.ask("notes_whoami", {}), '"Bearer [secret notes]"')
        self.assertEqual(self.called()[-1]["authorization"], "Bearer key-4711")
        # A new value is used at once.
        self.inside.put("/context/secrets/notes?owner_type=tenant", {"value": "key-4712"})
        self.ask("notes_whoami", {})
        self.assertEqual(self.called()[-1]["authorization"], "Bearer key-4712")
        self.assertNotIn("key-471", json.dumps(self.model.requests) + self.server.text() + json.dumps(self.inside.get("/tools/notes")))

    def test_a_token_is_asked_for_with_client_credentials(self):
        # A body that is a form is none of the harness's business.
        oauth = {"token_url": self.token_service(), "client_id": "sid", "client_secret": "notes", "scope": "read"}
        self.inside.put("/context/secrets/notes?owner_type=tenant", {"value": "p&w"})
        self.put(oauth=oauth)
        self.assertEqual(self.ask("notes_whoami", {}), '"Bearer [secret token]"')
        self.assertEqual(self.called()[-1]["authorization"], "Bearer t0ken")
        (headers, form), = self.forms[:1]
        self.assertEqual(base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode(), "sid:p%26w")
        self.assertEqual((form["grant_type"], form["scope"], form["resource"]), (["client_credentials"], ["read"], [self.service.url + "/mcp"]))

    def token_service(self):
        import threading
        from http.server import BaseHTTPRequestHandler, HTTPServer
        from urllib.parse import parse_qs
        forms = self.forms = []

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                forms.append(({k.lower(): v for k, v in self.headers.items()}, parse_qs(body)))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"access_token": "t0ken", "token_type": "bearer", "expires_in": 3600}')
        http = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        self.addCleanup(http.server_close)
        self.addCleanup(http.shutdown)
        return f"http://127.0.0.1:{http.server_port}/token"

    def test_a_server_that_is_gone_does_not_hold_up_a_run(self):
        self.put()
        self.ask("notes_whoami", {})
        self.service.answer = lambda method, path: (503, {})
        self.assertIn("503", self.ask("notes_whoami", {}))
        self.server.kill()
        self.server.start()
        self.inside.post(f"/conversations/{self.talk(self.inside)}/messages", {"text": "Hi"})
        self.assertIn("notes_whoami", self.offered(), "what it had when it was put is known from the start")

        def is_left_out():
            self.inside.post(f"/conversations/{self.talk(self.inside)}/messages", {"text": "Hi"})
            return "notes_whoami" not in self.offered()
        until("a server that cannot be used is left out", is_left_out)
        shown = self.inside.get("/tools/notes")
        self.assertIn("503", shown["problem"])
        self.assertEqual([f["name"] for f in shown["functions"]], ["notes_whoami"])

    def test_an_address_without_a_server_is_refused_with_the_reason(self):
        url = f"http://127.0.0.1:{free_port()}/mcp"
        self.assertIn("cannot be reached", self.refused(400, self.inside.put, "/tools/x", {"source": {"kind": "mcp", "url": url}}).text)
        self.service.answer = lambda method, path: (200, {"hello": "world"})
        self.assertIn("no message of the protocol", self.refused(400, self.put).text)
