"""Who may do what: roles, scopes, ends and rotation of keys, assistants, odd credentials, limits, a trusted proxy, the audit log."""
import http.client, json, time, unittest

from harness.case import Case
from harness.server import Server, merged


def new_key(api, kind="tenant", **more):
    """A key made by `api`, and the caller that shows it."""
    role = {"type": kind, **{k: more.pop(k) for k in ("tenant", "user", "agent") if k in more}}
    made = api.post("/keys", {"name": "test", "role": role, **more})
    return made, api.showing(made["key"])


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


class Roles(Case):
    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "bob"))
        self.talk_id = self.talk(self.inside, "ann")
        _, self.app = new_key(self.inside)

    def operations(self, api):
        """What each of these answers: 200, or the status of the refusal."""
        calls = {
            "read": ("GET", f"/conversations/{self.talk_id}/messages", None),
            "chat": ("POST", f"/conversations/{self.talk_id}/messages", {"text": "hello"}),
            "write": ("POST", "/passages", {"owner": {"type": "pair", "user": "@ann", "agent": "@helper"}, "text": "likes tea"}),
            "directory": ("GET", "/agents", None),
            "make": ("POST", "/teams", {"name": f"crew-{time.monotonic_ns()}"}),
            "keys": ("GET", "/keys", None),
            "export": ("GET", "/export", None),
            "audit": ("GET", "/audit", None),
            "operate": ("GET", "/tenants", None),
        }
        found = {}
        for name, (method, path, body) in calls.items():
            status = api.raw(method, path, body)[0]
            found[name] = 200 if 200 <= status < 300 else status
        return found

    def test_each_role_may_what_it_is_for(self):
        yes, no = 200, 403
        names = ("read", "chat", "write", "directory", "make", "keys", "export", "audit", "operate")
        expected = {
            ("tenant", "owner"): (yes, yes, yes, yes, yes, yes, yes, yes, no),
            ("tenant", "admin"): (yes, yes, yes, yes, yes, no, yes, yes, no),
            ("tenant", "member"): (yes, yes, yes, yes, no, no, yes, yes, no),
            ("tenant", "read-only"): (yes, no, no, yes, no, no, no, no, no),
            ("user", "member"): (yes, yes, yes, yes, no, no, yes, yes, no),
            ("user", "read-only"): (yes, no, no, yes, no, no, no, no, no),
            ("agent", "agent"): (yes, yes, yes, yes, no, no, no, no, no),
        }
        for (kind, access), row in expected.items():
            more = {"tenant": {}, "user": {"user": "@ann"}, "agent": {"user": "@ann", "agent": "@helper"}}[kind]
            _, api = new_key(self.inside, kind, access=access, **more)
            self.assertEqual(self.operations(api), dict(zip(names, row)), (kind, access))
        self.assertEqual(self.api.raw("GET", "/tenants")[0], 200)
        looking, _ = new_key(self.api, "operator", access="read-only")
        self.assertEqual(self.api.showing(looking["key"]).raw("GET", "/tenants")[0], 403, "an operator that only looks does not operate")

    def test_scopes_take_away(self):
        _, api = new_key(self.inside, scopes=["memory-read"])
        found = self.operations(api)
        self.assertEqual({name for name, status in found.items() if status == 200}, {"read"})
        self.assertEqual({status for name, status in found.items() if name != "read"}, {403})
        error = self.refused(403, api.post, "/passages", {"owner": {"type": "tenant"}, "text": "x"})
        self.assertIn("memory-write", error.problem["detail"])
        self.assertIn('scope="sid:memory-write"', error.headers["www-authenticate"])
        for bad in (["all"], "memory-read", [1], [["memory-read"]]):
            self.refused(400, self.app.post, "/keys", {"name": "x", "role": {"type": "tenant"}, "scopes": bad})

    def test_nobody_gives_out_more_than_it_has(self):
        _, maker = new_key(self.inside, scopes=["keys-manage", "memory-read"])
        self.refused(403, new_key, maker)
        self.refused(403, new_key, maker, "user", user="@ann")
        self.refused(403, new_key, maker, "operator", scopes=["memory-read"])
        made, reader = new_key(maker, scopes=["memory-read"])
        self.assertEqual(self.operations(reader)["read"], 200)
        self.assertEqual({k["id"] for k in maker.all("/keys")} & {k["id"] for k in self.app.all("/keys") if k["scopes"] is None}, set())
        self.assertIn(made["id"], {k["id"] for k in maker.all("/keys")})

    def test_a_key_ends_on_time(self):
        _, short = new_key(self.inside, expires_at=iso(2))
        self.assertEqual(short.raw("GET", "/agents")[0], 200)
        deadline = time.time() + 10
        while short.raw("GET", "/agents")[0] == 200 and time.time() < deadline:
            time.sleep(0.1)
        self.refused(401, short.get, "/agents")

    def test_rotation_with_an_overlap(self):
        old, with_old = new_key(self.inside, access="admin")
        new = self.app.post(f"/keys/{old['id']}/rotate", {"overlap_s": 2})
        with_new = self.app.showing(new["key"])
        self.assertEqual((new["access"], new["role"]), (old["access"], old["role"]))
        for api in (with_old, with_new):
            self.assertEqual(api.raw("GET", "/agents")[0], 200)
        deadline = time.time() + 10
        while with_old.raw("GET", "/agents")[0] == 200 and time.time() < deadline:
            time.sleep(0.1)
        self.refused(401, with_old.get, "/agents")
        self.assertEqual(with_new.raw("GET", "/agents")[0], 200)
        self.refused(422, self.app.post, f"/keys/{old['id']}/rotate", {})
        self.refused(400, self.app.post, f"/keys/{new['id']}/rotate", {"overlap_s": 31 * 86400})

    def test_assistants_see_what_their_turns_see(self):
        self.inside.post("/agents", {"name": "other"})
        foreign = [self.talk(self.inside, "ann", "other"), self.talk(self.inside, "bob")]
        _, by_key = new_key(self.inside, "agent", user="@ann", agent="@helper")
        _, ann = new_key(self.inside, "user", user="@ann")
        by_header = ann.acting(agent="helper")
        by_both = self.app.acting(user="ann", agent="@helper")
        for api in (by_key, by_header, by_both):
            self.assertEqual(api.get(f"/conversations/{self.talk_id}")["id"], self.talk_id)
            for conversation in foreign:
                self.refused(404, api.get, f"/conversations/{conversation}")
                self.refused(404, api.post, f"/conversations/{conversation}/messages", {"text": "x"})
            self.refused((403, 404), api.post, "/search", {"query": "x", "agent": "@other"})
            self.refused(403, api.delete, f"/conversations/{self.talk_id}")
            self.refused(403, api.get, "/audit")
        self.refused(403, by_key.acting(agent="other").get, "/agents")
        self.refused(403, by_key.acting(user="bob").get, "/agents")
        self.refused(400, self.app.acting(agent="helper").get, "/agents")
        self.refused(404, ann.acting(agent="nobody").get, "/agents")

    def test_odd_credentials_are_401(self):
        key, u = self.app.key, self.server.url.split("//")[1]
        odd = [None, "", "null", "[]", "{}", "true", "0", "undefined", f'["{key}"]', f'"{key}"', key[:-1], key + "x", key.upper(), f"{key},{key}",
               "sid_", "sid_\u00e9", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.", "a.b.c", "' OR 1=1 --"]
        sets = [{"authorization": f"Bearer {o}"} for o in odd if o is not None] + [{"x-api-key": o} for o in odd if o]
        sets += [{}, {"authorization": key}, {"authorization": f"Basic {key}"}, {"authorization": "Bearer"}, {"cookie": f"key={key}"}]
        for headers in sets:
            for path in ("/api/v1/agents", "/v1/models"):
                c = http.client.HTTPConnection(u, timeout=30)
                c.putrequest("GET", path)
                for name, value in headers.items():
                    c.putheader(name, value.encode())
                c.endheaders()
                r = c.getresponse()
                body = r.read()
                self.assertEqual(r.status, 401, (headers, body))
                self.assertTrue(r.headers["www-authenticate"].startswith("Bearer"), headers)
                c.close()
        c = http.client.HTTPConnection(u, timeout=30)
        c.putrequest("GET", "/api/v1/agents")
        c.putheader("authorization", f"Bearer {key}")
        c.putheader("authorization", f"Bearer {key}")
        c.endheaders()
        self.assertEqual(c.getresponse().status, 401, "twice")
        c.close()
        for query in (f"?key={key}", f"?api_key={key}", f"?access_token={key}"):
            self.assertEqual(self.app.showing(None).raw("GET", f"/api/v1/agents{query}")[0], 401, query)

    def test_the_audit_log_names_things_and_holds_no_text(self):
        _, ann = new_key(self.inside, "user", user="@ann")
        user = self.inside.get("/users/@ann")["id"]
        ann.post(f"/conversations/{self.talk_id}/messages", {"text": "the heron nests in May"}, headers={"x-request-id": "audit-test-1"})
        self.app.get(f"/conversations/{self.talk_id}/messages")
        self.app.post("/search", {"query": "heron nests", "user": "@ann"})
        self.refused(403, ann.post, "/teams", {"name": "herons"})
        entries = list(self.app.all("/audit", about="@ann"))
        found = {e["operation"]: e for e in entries}
        sent = found["send_message"]
        self.assertEqual((sent["user"], sent["subject"], sent["status"], sent["request"], sent["resource"]),
                         (user, user, 200, "audit-test-1", self.talk_id))
        self.assertEqual((found["list_messages"]["user"], found["list_messages"]["subject"]), (None, user))
        self.assertEqual((found["search_memory"]["subject"], found["create_team"]["status"]), (user, 403))
        self.assertNotIn("heron", json.dumps(list(self.app.all("/audit"))))
        own = list(ann.all("/audit"))
        self.assertTrue(own and all(user in (e["user"], e["subject"]) for e in own))
        self.assertEqual([e["operation"] for e in self.app.all("/audit", operation="create_team")], ["create_team"])
        self.assertNotIn("heron", self.server.text())

    def test_the_audit_log_outlives_a_restart(self):
        if self.server.config["store"]["kind"] == "in-process":
            raise unittest.SkipTest("the in-process store forgets")
        for _ in range(5):
            self.app.get(f"/conversations/{self.talk_id}")
        self.server.stop()
        self.server.start()
        entries = list(self.app.all("/audit", operation="get_conversation"))
        self.assertEqual(len(entries), 5)
        self.assertEqual({e["status"] for e in entries}, {200})


class Limits(Case):
    config = {"server": {"rate_limit_per_second": 4}}

    def test_a_limited_key_is_told_how_it_stands(self):
        api, refused = self.api, None
        for path in ("/api/v1/tenants", "/v1/models"):
            status, headers, _ = api.raw("GET", path)
            self.assertEqual(status, 200)
            self.assertEqual(headers["ratelimit-policy"], '"key";q=4;w=1')
            self.assertRegex(headers["ratelimit"], r'^"key";r=\d+;t=\d+$')
            self.assertEqual(headers["x-ratelimit-limit-requests"], "4")
            self.assertRegex(headers["x-ratelimit-remaining-requests"], r"^\d+$")
            self.assertRegex(headers["x-ratelimit-reset-requests"], r"^\d+s$")
        for _ in range(200):
            status, headers, body = api.raw("GET", "/v1/models")
            if status != 200:
                refused = status, headers, json.loads(body)
                break
        self.assertIsNotNone(refused, "four a second")
        self.assertEqual(refused[0], 429)
        self.assertGreaterEqual(int(refused[1]["retry-after"]), 1)
        self.assertEqual((refused[1]["x-ratelimit-remaining-requests"], refused[2]["error"]["type"]), ("0", "rate_limit_error"))
        self.assertIn(";r=0;", refused[1]["ratelimit"])


class TrustedProxy(Case):
    """Open WebUI before Sid: from its address, with its key, in its header; never with fewer of these."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.api.post("/tenants", {"name": "acme"})
        cls.inside = cls.api.acting(tenant="acme")
        cls.inside.post("/agents", {"name": "helper"})
        cls.inside.post("/users", {"handle": "ann"})
        cls.proxy_key, cls.proxy = new_key(cls.inside)
        _, cls.other = new_key(cls.inside)

    def restarted(self, **settings):
        self.server.stop()
        usual = {"key": self.proxy_key["id"], "user_header": "X-OpenWebUI-User-Id", "name_header": "X-OpenWebUI-User-Name"}
        self.server.config["auth"] = {"trusted_proxy": merged(usual, settings)} if settings else {}
        self.server.start()

    @staticmethod
    def seen(api, **headers):
        """Handles of the users that the caller sees: a user sees itself alone."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, body = api.raw("GET", "/users", headers=headers)
        return [u["handle"] for u in json.loads(body)["items"]] if status == 200 else status

    def test_the_header_counts_only_from_the_proxy_with_its_key(self):
        if self.server.config["store"]["kind"] == "in-process":
            raise unittest.SkipTest("the in-process store forgets its keys")
        header = {"x_openwebui_user_id": "carla", "x_openwebui_user_name": "Carla%20B%C3%A4r"}
        self.assertEqual(self.seen(self.proxy, **header), ["ann"], "off: the header means nothing")
        self.restarted(addresses=["10.9.9.9", "192.0.2.0/24"])
        self.assertEqual(self.seen(self.proxy, **header), ["ann"], "from elsewhere")
        self.restarted(addresses=["::ffff:127.0.0.0/104"])
        self.assertEqual(self.seen(self.other, **header), ["ann"], "with another key")
        self.assertEqual(self.seen(self.inside, **header), ["ann"], "an operator")
        self.assertEqual(self.seen(self.other, x_forwarded_for="127.0.0.1", **header), ["ann"])
        self.assertEqual(self.seen(self.proxy), ["ann"], "without the header")
        self.assertEqual(self.seen(self.proxy, **header), ["carla"])
        self.assertEqual(self.inside.get("/users/@carla")["display_name"], "Carla Bär")
        self.assertEqual(self.seen(self.proxy, x_sid_user="carla", **header), ["carla"])
        self.assertEqual(self.seen(self.proxy, x_sid_user="ann", **header), 403, "two names")
        self.assertEqual(self.seen(self.proxy, x_openwebui_user_id="@x"), 400)
        self.assertEqual(self.proxy.raw("POST", "/teams", {"name": "x"}, headers={"x-openwebui-user-id": "carla"})[0], 403, "a user's rights")
        answer = self.proxy.call("POST", "/v1/chat/completions", {"model": "helper", "messages": [{"role": "user", "content": "hi"}]},
                                 headers={"x-openwebui-user-id": "carla"})
        self.assertEqual(answer["choices"][0]["message"]["content"], "Understood.")
        self.assertEqual(len(list(self.inside.all("/conversations", user="@carla"))), 1)
        self.restarted()
        self.assertEqual(sorted(self.seen(self.proxy, **header)), ["ann", "carla"], "off again")
