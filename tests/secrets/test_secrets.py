"""Values of secrets are nowhere but in the answer that reveals them: canaries in every field, every operation that can touch a secret, then a search
through answers, streams, log, metrics, audit log, export, prompts and whatever the store holds.
"""
import base64, collections, json, random, socket, string, unittest, urllib.parse

from harness.api import make_tenant
from harness.canary import Canary, Listening, backup, held, prompts, read_everything
from harness.case import Case
from harness.server import Server
from harness.service import Service

KEYS = "one:" + base64.b64encode(random.randbytes(32)).decode()
MOST_BYTES, BODY_LIMIT = 32_768, 65_536

# Operations that are called here with a secret at hand; those that read are all called, by everybody.
TOUCHING = {"put_secret", "delete_secret", "reveal_secret", "rewrap_secrets", "search_items", "search_memory", "send_message", "openai_chat_completions",
            "begin_session", "make_item", "change_item", "delete_item", "share_item", "make_handoff", "backup_store", "set_tenant_limits", "put_toolset", "drop_toolset"}
# Nothing of a secret is in reach of these.
ELSEWHERE = set("""create_tenant create_key rotate_key revoke_key create_user update_user erase_user create_team add_team_member remove_team_member
    create_agent update_agent erase_agent open_conversation erase_conversation import_messages cancel_run create_block edit_block undo_block link_block
    unlink_block set_heartrate create_timer change_timer delete_timer put_ego drop_ego add_document replace_document remove_document search_documents connect_drive finish_drive disconnect_drive search_drive import_drive_file create_webhook change_webhook delete_webhook rotate_webhook test_webhook redeliver create_passage delete_passage compact_hints unshare_item claim_handoff finish_handoff return_handoff withdraw_handoff approve_proposal
    reject_proposal decide_approval undo_source create_task plan_task answer_task cancel_task probe_model drop_old_generations delete_image""".split())
# Tokens of logins: tests/blackbox/test_login.py looks for them everywhere.
ELSEWHERE |= {"begin_login", "confirm_login", "forget_login"}


class Secrets(Case):
    config = {"secrets": {"keys": KEYS}, "server": {"body_limit_bytes": BODY_LIMIT, "log_requests": True}, "log": {"format": "json", "filter": "trace"}, "tools": {"open": ["127.0.0.0/8:*"]}}

    def setUp(self):
        super().setUp()
        self.value, self.number = Canary(), Canary(string.digits, 16)
        self.heard, self.revealed = [], 0
        self.operator = Listening.to(self.api, self.heard)

    def people(self, name):
        """A tenant with a team, two people and an assistant, and who may do what there."""
        house = make_tenant(self.operator, name, ("ann", "bob"), ("helper",))
        house.post("/teams", {"name": "crew"})
        house.put("/teams/@crew/members/@ann", {})
        tenant = next(t["id"] for t in self.operator.all("/tenants") if t["name"] == name)
        ids = {handle: house.get(f"/users/@{handle}")["id"] for handle in ("ann", "bob")}
        ids |= {"agent": house.get("/agents/@helper")["id"], "tenant": tenant, "team": house.get("/teams/@crew")["id"]}
        key = lambda role, **more: self.operator.showing(house.post("/keys", {"name": "test", "role": {"tenant": tenant, **role}, **more})["key"])
        callers = {"operator": house, "house": key({"type": "tenant"}), "ann": key({"type": "user", "user": ids["ann"]}),
                   "bob": key({"type": "user", "user": ids["bob"]}), "assistant": key({"type": "agent", "user": ids["ann"], "agent": ids["agent"]}),
                   "reader": key({"type": "user", "user": ids["ann"]}, access="read-only"), "nobody": self.operator.showing("sid_" + "x" * 43)}
        return callers, ids

    def put(self, api, name, value, **more):
        query = more.pop("query", "")
        return api.raw("PUT", f"/context/secrets/{name}{query}", {"value": value, **more})

    def reveal(self, api, name, expected, query=""):
        status, headers, data = api.raw("POST", f"/context/secrets/{name}/reveal{query}", {})
        self.assertEqual((status, json.loads(data)["value"]), (200, expected), data)
        self.assertEqual(headers["cache-control"], "no-store")
        # This one answer is what the value is for.
        self.heard.remove(self.heard[-1])
        self.revealed += 1

    def refusal(self, api, method, path, body, content_type):
        try:
            status, _, data = api.raw(method, path, body, {"content-type": content_type})
            return status, data
        except ConnectionError:
            # Refused by its length and closed before it was sent: the answer may be lost on the way, as with every server.
            self.assertGreater(len(body), BODY_LIMIT)
            return 413, b""

    def odd_bodies(self):
        """Bodies that are refused, each with the value in it: (body, content type)."""
        v, n, json_type = self.value("odd"), self.number(), "application/json"
        texts = ['"%s"' % v, n, "[\"%s\"]" % v, '{"value": %s}' % n, '{"value": %s.5}' % n, '{"value": -%s}' % n, '{"value": ["%s"]}' % v, '{"value": {"value": "%s"}}' % v,
                 '{"value": "%s", "value": "%s"}' % (v, v), '{"value": "x", "%s": 1}' % v, '{"%s": "x"}' % v, '{"value": "x", "password": "%s"}' % v,
                 '{"value": "%s"' % v, '{"value": "%s"} trailing' % v, '{"value": "\\ud800%s"}' % v, '{"value": "%s", "description": %s}' % (v, n),
                 '{"value": "%s", "description": null}' % v, '{"description": "%s"}' % v, '{"value": "%s", "description": "a\\u0000b"}' % v,
                 '{"value": "%s", "description": "%s"}' % (v, "d" * 2_001), '{"value": "%s"}' % (v * (MOST_BYTES // len(v) + 1)),
                 '{"value": "%s"}' % (v * (BODY_LIMIT // len(v) + 1)), "{'value': '%s'}" % v, v]
        return [(t.encode(), json_type) for t in texts] + [
            (b'{"value": "' + v.encode() + b'\xff"}', json_type), (v.encode("utf-16"), json_type),
            (urllib.parse.urlencode({"value": v}).encode(), "application/x-www-form-urlencoded")]

    def read_everything(self, callers, ids):
        operations, unanswered = read_everything(self, callers, ids)
        unknown = {o for o, m, _ in operations if m != "GET"} - TOUCHING - ELSEWHERE
        self.assertEqual(unknown, set(), "operations that tests/secrets does not know: can they touch a secret?")
        self.assertEqual(unanswered, {"get_passage", "get_task", "get_approval", "get_ego", "get_delivery", "get_image", "get_login"})

    def over_mcp(self, api, name, arguments):
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        return api.raw("POST", "/mcp?tools=all", message, {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"})

    def cut_off(self, api, request):
        """Sends some bytes of a request and hangs up."""
        with socket.create_connection((api.host, api.port), 10) as s:
            s.sendall(request)

    def assert_nowhere(self, canary, server, but=()):
        """Looks for it everywhere."""
        self.assertGreater(len(self.heard), 100)
        places = [(f"the answer {status} to {what}", data) for what, status, data in self.heard]
        places += [("the log", server.log.read_bytes()), ("prompts", prompts(self.model)), ("a backup", backup(server)), *held(server)]
        self.assertEqual([(place, canary.seen(data)) for place, data in places if canary.seen(data)], [])

    def test_a_value_is_in_the_answer_that_reveals_it_and_nowhere_else(self):
        said = Canary()
        callers, ids = self.people("everywhere")
        ann, house, assistant = callers["ann"], callers["house"], callers["assistant"]
        note = ann.post("/context/items", {"kind": "note", "title": "How to reach the mailbox", "body": "With {{secret:mail}}."})
        talk = ann.post("/conversations", {"agent": "@helper", "key": "k"})["id"]
        ids |= {"user": ids["ann"], "name": "mail", "model": "helper", "toolset": "ring", "ego": "office", "task": "task_" + "0" * 26, "appr": "appr_" + "0" * 26, "img": "img_" + "0" * 26, "psg": "psg_" + "0" * 26, "delivery": "dlv_" + "0" * 26, "whk": house.post("/webhooks", {"url": "https://hooks.invalid/sid", "include": "content"})["id"], "item": note["id"], "doc": ann.call("POST", "/documents?title=note.txt", b"How to reach the mailbox: with {{secret:mail}}.")["id"], "tmr": ann.post("/timers", {"conversation": talk, "name": "later", "stimulus": "log in", "when": {"type": "at", "at": "2099-01-01T00:00:00Z"}})["id"], "conv": talk, "run": ann.post(f"/conversations/{talk}/messages", {"text": "log in with {{secret:mail}}"})["run"]["id"],
                "blk": ann.get("/blocks", owner_type="pair", user="@ann", agent="@helper")["items"][0]["id"]}

        # Each kind of owner; values with every kind of character in them.
        odd = "\"\\/\u00e9\u4e2d\U0001f511 &%+\n\t{{secret:other}}"
        owners = [(ann, ""), (ann, f"?owner_type=user&user={ids['ann']}"), (house, "?owner_type=team&team=@crew"), (house, "?owner_type=tenant"),
                  (callers["operator"], f"?owner_type=user&user={ids['bob']}")]
        for i, (api, query) in enumerate(owners):
            for name, value in (("mail", self.value(f"mail{i}")), (f"odd{i}", self.value(f"odd{i}") + odd), (f"{said()}{i}", self.value() * 2_000), ("empty", "")):
                status, _, data = self.put(api, name, value, description=f"{said('description')} of {name}", query=query)
                self.assertEqual(status, 200, data)
                self.reveal(api, name, value, query)
                # Changed, with and without a look; as an assistant, too.
                status, headers, _ = self.put(api, name, value + "2", description=said("again"), query=query)
                self.assertEqual(status, 200)
                for tag, status in (('"999"', 412), (headers["etag"], 200)):
                    self.assertEqual(api.raw("PUT", f"/context/secrets/{name}{query}", {"value": value + "2"}, {"if-match": tag})[0], status)
                self.reveal(api, name, value + "2", query)
        self.assertEqual(self.put(assistant, "mail", self.value("assistant"))[0], 200)
        self.assertEqual(assistant.raw("POST", "/context/secrets/mail/reveal", {})[0], 403)
        for name in ("reader", "nobody"):
            self.assertIn(self.put(callers[name], "mail", self.value("refused"))[0], (401, 403))
        for i in range(2):
            self.assertEqual(ann.raw("PUT", "/context/secrets/twice", {"value": self.value("key")}, {"idempotency-key": "k1"})[0], 200)
            ann.raw("PUT", "/context/secrets/twice", {"value": self.value("other")}, {"idempotency-key": "k1"})

        # Refused in every way there is.
        for body, content_type in self.odd_bodies():
            for path in ("/context/secrets/mail", "/context/secrets/bad%20name", "/context/secrets/mail/reveal", "/context/secrets"):
                for method in ("PUT", "POST", "PATCH") if path.endswith("mail") else ("PUT",):
                    status, data = self.refusal(ann, method, path, body, content_type)
                    self.assertTrue(400 <= status < 500, (status, body[:100], data))
            for api in (callers["reader"], callers["nobody"]):
                self.assertIn(self.refusal(api, "PUT", "/context/secrets/mail", body, content_type)[0], (401, 403, 413))
        for arguments in ({"name": "mail", "value": int(self.number())}, {"name": "mail", "value": [self.value()]}, {"name": "mail", "value": self.value("mcp")},
                          {"name": "mail", "value": "x", self.value("argument"): 1}, {"name": ["mail"], "value": self.value()}, {"value": self.value()},
                          {"name": "mail", "value": self.value("mcp") * 4_000}, self.value("not-an-object"), [self.value()], int(self.number())):
            for tool in ("put_secret", "secrets"):
                if isinstance(arguments, dict):
                    arguments = arguments | ({"action": "keep"} if tool == "secrets" else {})
                self.assertLess(self.over_mcp(ann, tool, arguments)[0], 500)
        self.assertLess(ann.raw("POST", "/mcp", b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"value": "' + self.value("bad").encode())[0], 500)
        self.over_mcp(ann, "reveal_secret", {"name": "mail"})

        # Limited.
        limited, theirs = self.people("limited")
        self.operator.put(f"/tenants/{theirs['tenant']}/limits", {"requests_per_second": 1})
        statuses = [self.put(limited["ann"], "mail", self.value("limited"))[0] for _ in range(8)]
        self.assertIn(429, statuses)

        # Cut off: half a body, a whole request whose answer nobody reads, a stream of pieces, a value that is revealed to nobody.
        head = lambda method, path, length: (f"{method} /api/v1/context/secrets/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ann.key}\r\n"
                                             f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n").encode()
        body = json.dumps({"value": self.value("cut")}).encode()
        for _ in range(5):
            self.cut_off(ann, head("PUT", "cut", len(body)) + body[:-5])
            self.cut_off(ann, head("PUT", "cut", len(body)) + body)
            self.cut_off(ann, head("PUT", "cut", len(body)) + body + head("POST", "mail/reveal", 0))
            self.cut_off(ann, b"PUT /api/v1/context/secrets/cut HTTP/1.1\r\ntransfer-encoding: chunked\r\nauthorization: Bearer " + ann.key.encode() + b"\r\n\r\n40\r\n" + body)

        # Sent by a function: to its service, which says it again.
        with Service() as service:
            value = self.value("sent")
            self.put(house, "ring", value, query="?owner_type=tenant")
            service.answer = lambda method, path: (200, {"you said": service.asked[-1][2]["x-key"]})
            source = {"kind": "http", "description": "Rings.", "url": service.url, "secret_headers": {"x-key": {"secret": "ring", "prefix": "k "}}}
            house.put("/tools/ring", {"source": source})
            # The note that was brought is text from outside, and is recalled: the call would wait for a yes.
            house.patch("/agents/@helper", {"approvals": {"ring": "never"}})
            self.model.answer = lambda request: {"tool": "ring", "arguments": {}} if request["messages"][-1]["role"] == "user" else "It rang."
            ann.post(f"/conversations/{talk}/messages", {"text": "Ring, please."})
            self.assertEqual([asked[2]["x-key"] for asked in service.asked], ["k " + value])
            self.assertIn(self.over_mcp(house, "drop_toolset", {"toolset": "nothing"})[0], (200,))

        # Talked about: what a model is shown.
        self.model.answer = lambda request: {"tool": "memory_search", "arguments": {"query": "mail"}} if request["messages"][-1]["role"] == "user" else "done {{secret:mail}}"
        before = len(self.model.requests)
        ids["run"] = ann.post(f"/conversations/{talk}/messages", {"text": "What is in {{secret:mail}}, and in mail?"})["run"]["id"]
        ann.raw("POST", "/v1/chat/completions", {"model": "helper", "messages": [{"role": "user", "content": "Show me {{secret:mail}} and all that you know of the mailbox"}]})
        self.assertGreater(len(self.model.requests), before)
        for api in callers.values():
            for path, body in (("/context/search", {"query": "mailbox secret value", "k": 20}), ("/search", {"query": "mailbox secret value", "k": 50}),
                               ("/context/sessions", {}), ("/secrets/rewrap", {})):
                api.raw("POST", path, body)
        ann.post("/context/handoffs", {"title": "Use {{secret:mail}}"})
        ann.patch(f"/context/items/{note['id']}", {"body": "With {{secret:mail}}, always."})
        self.read_everything(callers, ids)
        ann.delete("/context/secrets/twice")
        self.reveal(ann, "mail", self.value("mcp"))
        self.assertEqual(self.server.process.poll(), None)

        for canary in (self.value, self.number):
            self.assert_nowhere(canary, self.server)
        # The same walk finds what may be seen, where it should be.
        self.assertTrue(any(said.seen(data) for what, _, data in self.heard if what.startswith("GET /api/v1/context/secrets")))
        for path in ("/export", "/audit"):
            self.assertTrue(any(said.seen(data) for what, _, data in self.heard if what.startswith("GET /api/v1" + path)), path)
        for place, data in (("a backup", backup(self.server)), ("the store", b"".join(data for _, data in held(self.server)))):
            self.assertTrue(said.seen(data), place)
        log = self.server.log.read_bytes()
        self.assertGreater(log.count(b'"level":"TRACE"'), 10, "the log was kept at trace")

    def test_the_walk_sees_a_leak_wherever_it_is(self):
        leak = {place: Canary() for place in ("note", "message", "log", "encoded", "tag")}
        callers, ids = self.people("planted")
        ann = callers["ann"]
        ann.post("/context/items", {"kind": "note", "title": "x", "body": leak["note"]("x"), "tags": [leak["tag"]()]})
        ann.post("/context/items", {"kind": "note", "title": "y", "body": base64.b64encode(b"a" + leak["encoded"]().encode()).decode()})
        talk = ann.post("/conversations", {"agent": "@helper", "key": "k"})["id"]
        ann.post(f"/conversations/{talk}/messages", {"text": leak["message"]()})
        ann.raw("GET", "/context", headers={"x-request-id": leak["log"]()})
        ann.get("/context/items", bodies="true")
        answers = b"".join(data for _, _, data in self.heard)
        stored, copy = b"".join(data for _, data in held(self.server)), backup(self.server)
        for place in ("note", "message", "encoded", "tag"):
            self.assertTrue(leak[place].seen(answers) and leak[place].seen(stored) and leak[place].seen(copy), place)
        self.assertTrue(leak["message"].seen(prompts(self.model)) and leak["log"].seen(self.server.log.read_bytes()))
        self.assertFalse(Canary().seen(answers + stored))

    def test_a_panic_says_nothing_of_what_was_in_flight(self):
        """On Postgres handlers panic themselves, at any call of their store; on SQLite its writer does, and every request that waits for it fails."""
        point = "pg.call.before=40*off->20%panic" if self.server.database else "sqlite.job.after=30*off->panic"
        with Server(self.configuration()) as server:
            self.operator = Listening.to(server.api, self.heard)
            ann = self.people("panics")[0]["ann"]
            server.stop()
            server.env = {"FAILPOINTS": point, "RUST_BACKTRACE": "full"}
            server.start()
            statuses = collections.Counter()
            for i in range(120):
                try:
                    statuses[self.put(ann, f"s{i % 5}", self.value(f"panic{i}"), description="x")[0]] += 1
                    status, _, _ = ann.raw("POST", f"/context/secrets/s{i % 5}/reveal", {})
                    if status == 200:
                        self.heard.pop()
                    statuses[status] += 1
                except OSError:
                    statuses["cut off"] += 1
            self.assertGreater(statuses[200], 0, statuses)
            self.assertGreater(sum(n for s, n in statuses.items() if s == "cut off" or s >= 500), 0, statuses)
            log = server.log.read_bytes()
            self.assertIn(b"panicked at", log)
            for what, data in [("log", log), ("answers", b"".join(d for _, _, d in self.heard)), *held(server)]:
                self.assertEqual(self.value.seen(data), [], what)


if __name__ == "__main__":
    unittest.main()
