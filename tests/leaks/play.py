"""Random operations of many callers, over every door; every answer is searched for canaries that its caller may not see."""
import base64, collections, concurrent.futures, json, os, random, re, urllib.parse

from harness.api import make_tenant
from harness.case import Case
from world import CANARY, RANDOM, TENANTS, USERS, Caller, Rules, World, canary

SEED = int(os.environ.get("SID_LEAK_SEED", "0")) or random.randrange(1 << 32)


class Play(Case):
    config = {"secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.world, cls.callers = World(), []
        tenants = {}
        for t in range(TENANTS):
            users = [f"user{u}" for u in range(USERS)]
            inside = make_tenant(cls.api, f"acme{t}", users, [{"name": f"helper{i}", "instructions": f"serve {canary(t)}", "tasks": True} for i in range(2)])
            tenants[t] = next(x["id"] for x in cls.api.all("/tenants") if x["name"] == f"acme{t}")
            cls.world.add("ten", t, None, tenants[t])
            for agent in inside.all("/agents"):
                cls.world.add("agent", t, None, agent["id"])
            inside.post("/teams", {"name": "crew"})
            cls.world.add("team", t, None, inside.get("/teams/@crew")["id"])
            inside.put(f"/tools/bell{t}", {"source": {"kind": "http", "description": f"rings at {canary(t)}", "url": "https://bell.invalid/ring"}, "default": False})
            cls.world.add("toolset", t, None, f"bell{t}")
            inside.put(f"/egos/office{t}", {"spokesperson": "@helper0", "members": ["@helper1"], "blocks": [{"label": "case", "description": f"the case of {canary(t)}"}]})
            cls.world.add("ego", t, None, f"office{t}")
            hook = inside.post("/webhooks", {"url": "https://hooks.invalid/sid", "description": f"told of {canary(t)}", "include": "content"})
            cls.world.add("whk", t, None, hook["id"])
            cls.world.add("dlv", t, None, inside.post(f"/webhooks/{hook['id']}/test")["id"])
            key = lambda role, **more: inside.post("/keys", {"name": "test", "role": {"tenant": tenants[t], **role}, **more})
            made = key({"type": "tenant"})
            cls.world.add("key", t, None, made["id"])
            cls.callers.append(Caller(cls.api_with(made["key"]), t, None, "owner"))
            agents = [a["id"] for a in inside.all("/agents")]
            for u, handle in enumerate(users):
                user = inside.get(f"/users/@{handle}")["id"]
                cls.world.add("user", t, u, user)
                inside.put(f"/teams/@crew/members/@{handle}", {})
                for role, spec in (("member", {"type": "user", "user": user}), ("agent", {"type": "agent", "user": user, "agent": agents[u % 2]}),
                                   ("read-only", {"type": "user", "user": user})):
                    made = key(spec, **({"access": "read-only"} if role == "read-only" else {}))
                    cls.world.add("key", t, u, made["id"])
                    cls.callers.append(Caller(cls.api_with(made["key"]), t, u, role))
                talk = inside.post("/conversations", {"agent": agents[0], "user": user, "key": "k0"})["id"]
                said = inside.post(f"/conversations/{talk}/messages", {"text": f"I love pickles {canary(t, u)}"})
                cls.world.add("conv", t, u, talk)
                task = inside.post("/tasks", {"agent": agents[0], "user": user, "title": f"task {canary(t, u)}", "budget": {"max_steps": 1}, "report_to": talk})
                cls.world.add("task", t, u, task["id"])
                cls.world.add("run", t, u, said["run"]["id"])
                ann = cls.callers[-3].api
                item = ann.post("/context/items", {"kind": "project", "title": f"project {canary(t, u)}"})
                cls.world.add("item", t, u, item["id"])
                ann.put("/context/secrets/mail", {"value": f"secret {canary(t, u)}"})
                cls.world.add("secret", t, u, "mail")
                timer = inside.post("/timers", {"conversation": talk, "name": f"timer {canary(t, u)}", "stimulus": f"say {canary(t, u)}", "when": {"type": "at", "at": "2099-01-01T00:00:00Z"}})
                cls.world.add("tmr", t, u, timer["id"])
                text = f"document {canary(t, u)}"
                document = ann.call("POST", "/documents?" + urllib.parse.urlencode({"title": text, "format": "text"}), text.encode())
                cls.world.add("doc", t, u, document["id"])
                left = ann.post("/context/handoffs", {"title": f"handoff {canary(t, u)}"})
                cls.world.add("handoff", t, u, left["id"])
        document = cls.api.call("GET", "/openapi.json")
        cls.operations = [(o["operationId"], m.upper(), p) for p, item in document["paths"].items() for m, o in item.items()]

    @classmethod
    def api_with(cls, key):
        return type(cls.api)(cls.server.url, key)

    def check(self, caller, what, data):
        for tenant, owner in CANARY.findall(data.decode("utf-8", "replace")):
            if not caller.may_see(tenant, owner):
                raise AssertionError(f"seed {SEED}: {caller} saw {canary(tenant)[:5]}{owner}: {what}\n{data[:3000]!r}")

    def learn(self, operation, caller, rules, body, answer):
        """What was made can be asked for by everybody else from now on."""
        kinds = {"create_passage": "psg", "create_block": "blk", "make_item": "item", "add_document": "doc", "make_handoff": "handoff", "open_conversation": "conv"}
        if operation in kinds and isinstance(answer, dict) and "id" in answer:
            owner = answer.get("owner") or {"type": "user", "user": answer.get("user")}
            # What is a team's or the tenant's is nobody's own.
            user = next((u for t, u, i in list(self.world.known["user"]) if i == owner.get("user")), None) if owner["type"] in ("user", "pair") else None
            self.world.add(kinds[operation], caller.tenant, user, answer["id"])
        if operation == "change_item" and isinstance(answer, dict) and answer.get("outcome") == "proposed":
            self.world.add("item", caller.tenant, caller.user, answer["item"]["id"])
        if operation == "send_message" and isinstance(answer, dict) and "run" in answer:
            self.world.add("run", caller.tenant, caller.user, answer["run"]["id"])

    def one(self, number):
        rng = random.Random(f"{SEED}/{number}")
        caller = rng.choice(self.callers)
        operation, method, path = rng.choice(self.operations)
        rules = Rules(self.world, rng, caller)
        values, query, body, headers = rules.of(operation, path)
        if operation == "send_message" and caller.user is None:
            return "left out"  # An application's words in somebody's conversation are that person's from then on.
        if operation == "get_run_events" and rng.random() < 0.5:
            headers = {**headers, "accept": "text/event-stream"}
        if rng.random() < 0.15 and not path.startswith("/v1"):
            return self.over_mcp(rng, caller, operation, values, query, body, headers)
        full = self.fill(path, values, query)
        status, h, data = caller.api.raw(method, full, body, headers)
        what = f"{method} {full} {json.dumps(body)} -> {status}"
        self.assertLess(status, 500 if status != 501 else 502, what + data.decode("utf-8", "replace")[:500])
        self.check(caller, what, data)
        answer = json.loads(data) if data[:1] == b"{" and status < 300 and h.get("content-type", "").startswith("application/json") else None
        self.learn(operation, caller, rules, body, answer)
        if status == 404 and values and operation not in ("reveal_secret", "delete_secret"):
            self.same_as_random(rng, caller, method, path, values, query, body, headers, data)
        return status

    @staticmethod
    def fill(path, values, query):
        for name, value in values.items():
            path = path.replace("{" + name + "}", urllib.parse.quote(value, safe=""))
        return path + ("?" + urllib.parse.urlencode(query) if query else "")

    def is_foreign(self, caller, thing):
        with self.world.lock:
            owners = [(t, u) for things in self.world.known.values() for t, u, known in things if known == thing]
        return bool(owners) and all(t != caller.tenant or (caller.user is not None and u not in (None, caller.user)) for t, u in owners)

    def same_as_random(self, rng, caller, method, path, values, query, body, headers, data):
        """A foreign id must answer as one that nobody has."""
        name = next(iter(values))
        real = values[name]
        if "_" not in real or not self.is_foreign(caller, real):
            return
        fake = real.split("_")[0] + "_" + RANDOM
        _, _, other = caller.api.raw(method, self.fill(path, {**values, name: fake}, query), body, headers)
        plain = lambda text, thing: re.sub(r'"request_id":\s*"[^"]*"', "", text.decode("utf-8", "replace").replace(thing, "ID"))
        self.assertEqual(plain(data, real), plain(other, fake), f"seed {SEED}: {caller}: {method} {path} {values}")

    def over_mcp(self, rng, caller, operation, values, query, body, headers):
        arguments = {**values, **query, **(body or {}), **{k.replace("-", "_"): v for k, v in headers.items() if k == "if-match"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": operation, "arguments": arguments}}
        status, _, data = caller.api.raw("POST", "/mcp?tools=all", message, {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"})
        self.assertEqual(status, 200, data[:500])
        self.check(caller, f"MCP {operation} {arguments}", data)
        return "mcp"

    def play(self, operations):
        """So many of them, by eight callers at once."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            outcomes = collections.Counter(pool.map(self.one, range(operations)))
        print(f"seed {SEED}: {operations} operations: {dict(sorted(outcomes.items(), key=str))}")
        # A world in which everything is refused proves nothing.
        self.assertGreater(sum(n for s, n in outcomes.items() if s in (200, 201, 202, 204)), operations // 10)
        self.assertGreater(outcomes[404] + outcomes[403], operations // 20)
        for request in self.model.requests:
            seen = set(CANARY.findall(json.dumps(request)))
            self.assertLessEqual(len({t for t, _ in seen}), 1, f"seed {SEED}: two tenants in one prompt: {seen}")
            self.assertLessEqual(len({o for _, o in seen if o != "a"}), 1, f"seed {SEED}: two users in one prompt: {seen}")
        self.assertEqual(CANARY.findall(self.server.text()), [], "the log holds nobody's words")
