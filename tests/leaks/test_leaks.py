"""Nobody's words in anybody else's answer: random operations of many callers, over every door, in a world where each string carries its owner's
canary. Operations come from the OpenAPI document: one that has no rule here fails the test.

`SID_LEAK_OPERATIONS` says how many (20,000 unless it is set), `SID_LEAK_SEED` which.
"""
import base64, collections, concurrent.futures, json, os, random, re, threading, urllib.parse

from harness.api import make_tenant
from harness.case import Case

OPERATIONS = int(os.environ.get("SID_LEAK_OPERATIONS", "20000"))
SEED = int(os.environ.get("SID_LEAK_SEED", "0")) or random.randrange(1 << 32)
TENANTS, USERS = 3, 3
CANARY = re.compile(r"cnry(\d)([a-z]\d?)z")
RANDOM = "7zzzzzzzzzzzzzzzzzzzzzzzzz"


def canary(tenant, user=None):
    """A word of this user, or of everybody in the tenant."""
    return f"cnry{tenant}{'a' if user is None else f'u{user}'}z"


class Caller:
    def __init__(self, api, tenant, user, role):
        self.api, self.tenant, self.user, self.role = api, tenant, user, role

    def may_see(self, tenant, owner):
        """Whether a canary may stand in what this caller is answered."""
        return int(tenant) == self.tenant and (self.user is None or owner in ("a", f"u{self.user}"))

    def __str__(self):
        return f"{self.role} of tenant {self.tenant}" + ("" if self.user is None else f", user {self.user}")


class World:
    """What there is, by kind: (tenant, user or None, id)."""

    def __init__(self):
        self.known, self.lock = collections.defaultdict(list), threading.Lock()

    def add(self, kind, tenant, user, thing):
        with self.lock:
            self.known[kind].append((tenant, user, thing))
            del self.known[kind][:-400]

    def pick(self, rng, kind, caller, foreign=False):
        """-> (owner is visible to the caller, id)."""
        with self.lock:
            things = list(self.known[kind])
        if foreign or rng.random() < 0.4:
            things = [t for t in things if t[0] != caller.tenant or (caller.user is not None and t[1] not in (None, caller.user))] or things
        else:
            things = [t for t in things if t[0] == caller.tenant and (caller.user is None or t[1] in (None, caller.user))] or things
        if not things:
            return f"{kind}_{RANDOM}"
        return rng.choice(things)[2]


class Rules:
    """What an operation is called with. `self.rule(id)` -> (path values, query, body, headers), or None where it is not called at all."""

    FOREIGN_ONLY = {"erase_user", "erase_agent", "revoke_key", "update_user", "update_agent", "add_team_member", "remove_team_member",
                    "rotate_key", "set_tenant_limits", "unlink_block", "link_block"}
    # Whose id stands in a path: operations below a prefix.
    PATHS = [("/agents/", "agent"), ("/users/", "user"), ("/teams/", "team"), ("/conversations/", "conv"), ("/runs/", "run"), ("/blocks/", "blk"),
             ("/passages/", "psg"), ("/keys/", "key"), ("/tenants/", "ten"), ("/context/items/", "item"), ("/context/handoffs/", "handoff"),
             ("/context/proposals/", "item"), ("/context/secrets/", "secret"), ("/models/", "model"), ("/v1/models/", "agent")]

    def __init__(self, world, rng, caller):
        self.world, self.rng, self.caller = world, rng, caller

    def text(self, user=None):
        """Words that carry the canary of whom they are about: the caller's own user, the one named, or everybody."""
        user = self.caller.user if self.caller.user is not None else user
        return f"{self.rng.choice(['pickles', 'garden', 'spare key', 'mailbox'])} {canary(self.caller.tenant, user)} {self.rng.randrange(10**6)}"

    def some_user(self):
        return self.caller.user if self.caller.user is not None else self.rng.randrange(USERS)

    def user_id(self, user):
        return next(i for t, u, i in self.world.known["user"] if (t, u) == (self.caller.tenant, user))

    def agent_id(self):
        return self.rng.choice([i for t, _, i in self.world.known["agent"] if t == self.caller.tenant])

    def team_id(self):
        return self.rng.choice([i for t, _, i in self.world.known["team"] if t == self.caller.tenant])

    def owner(self):
        """-> (owner, the user whom its text is about)."""
        kind, user = self.rng.choice(["user", "pair", "team", "tenant"]), self.some_user()
        return {"user": ({"type": "user", "user": self.user_id(user)}, user),
                "pair": ({"type": "pair", "user": self.user_id(user), "agent": self.agent_id()}, user),
                "team": ({"type": "team", "team": self.team_id()}, None),
                "tenant": ({"type": "tenant"}, None)}[kind]

    def foreign_owner(self):
        kind = self.rng.choice(["user", "pair", "team"])
        of = lambda what: self.world.pick(self.rng, what, self.caller, foreign=True)
        return {"type": kind, **({"team": of("team")} if kind == "team" else {"user": of("user")}), **({"agent": of("agent")} if kind == "pair" else {})}

    def shared_text(self, user):
        """For an owner whom others see: everybody's canary."""
        return f"shared {canary(self.caller.tenant, user)} {self.rng.randrange(10**6)}"

    def owner_query(self):
        owner = self.owner()[0] if self.rng.random() < 0.5 else self.foreign_owner()
        return {"owner_type": owner["type"], **{k: v for k, v in owner.items() if k != "type"}}

    def words(self):
        return self.rng.choice(["pickles", "garden", "spare key", "mailbox", "shared", canary(self.rng.randrange(TENANTS), self.rng.randrange(USERS))])

    def of(self, operation, path):
        """-> (path values, query, body, headers)."""
        rng, world, caller = self.rng, self.world, self.caller
        foreign = operation in self.FOREIGN_ONLY
        values = {}
        for name in re.findall(r"\{(\w+)\}", path):
            kind = next((k for prefix, k in self.PATHS if prefix + "{" + name in path), name)
            values[name] = world.pick(rng, kind, caller, foreign)
        rule = getattr(self, operation, None)
        if rule is None:
            raise AssertionError(f"operation {operation} has no rule in tests/leaks: whose data does it touch?")
        query, body, headers = rule() or ({}, None, {})
        return values, query, body, headers

    # Reading: an id in the path, or nothing.
    def plain(self):
        return {}, None, {}

    for _name in """list_agents get_agent list_teams get_team list_team_members list_users get_user get_conversation list_conversations
            list_runs get_run list_run_steps get_run_events cancel_run get_block get_block_history get_passage get_item get_document list_shares
            list_handoffs claim_handoff return_handoff withdraw_handoff approve_proposal reject_proposal get_time begin_session get_overview
            list_configured_models probe_model list_keys revoke_key get_index list_generations drop_old_generations backup_store list_tenants
            get_tenant_limits openai_list_models openai_get_model list_messages delete_passage delete_item erase_conversation erase_user erase_agent
            export_data undo_block unlink_block remove_team_member rewrap_secrets list_user_teams get_protected_resource""".split():
        locals()[_name] = plain

    def search_memory(self):
        body = {"query": self.words()}
        if self.rng.random() < 0.5:
            body["agent"] = self.world.pick(self.rng, "agent", self.caller)
        if self.rng.random() < 0.5:
            body["user"] = self.world.pick(self.rng, "user", self.caller)
        return {}, body, {}

    def search_items(self):
        return {}, {"query": self.words(), "k": 20}, {}

    def read_diary(self):
        return {"agent": self.world.pick(self.rng, "agent", self.caller), "user": self.world.pick(self.rng, "user", self.caller)}, None, {}

    def list_audit(self):
        return {"about": self.world.pick(self.rng, "user", self.caller)}, None, {}

    def get_context(self):
        return {"which": "last"}, None, {}

    def list_blocks(self):
        return self.owner_query(), None, {}

    list_passages = list_blocks

    def list_items(self):
        return self.rng.choice([{"bodies": "true"}, {"shared": "true"}, {"bodies": "true", **self.owner_query()},
                                {"tree": self.world.pick(self.rng, "item", self.caller), "bodies": "true"}]), None, {}

    def list_secrets(self):
        owner = self.owner_query()
        return ({} if owner["owner_type"] == "pair" else {k: v for k, v in owner.items() if k != "agent"}), None, {}

    # Writing.
    def create_passage(self):
        owner, user = self.owner() if self.rng.random() < 0.7 else (self.foreign_owner(), None)
        return {}, {"owner": owner, "text": self.shared_text(user), "tags": [f"tag{canary(self.caller.tenant, user)}"]}, {}

    def create_block(self):
        owner, user = self.owner() if self.rng.random() < 0.7 else (self.foreign_owner(), None)
        return {}, {"owner": owner, "label": f"l{self.rng.randrange(10**9)}", "value": self.shared_text(user)}, {}

    def edit_block(self):
        return {}, {"op": "append", "text": "nothing personal"}, {"if-match": str(self.rng.randrange(1, 3))}

    def link_block(self):
        return {}, {"access": "read"}, {}

    def make_item(self):
        body = {"kind": self.rng.choice(["note", "memory", "preference", "hint", "project", "page"]), "title": self.text(self.some_user()),
                "body": self.text(self.some_user()), "tags": [f"tag{canary(self.caller.tenant, self.caller.user)}"]}
        if self.caller.user is None:
            user = self.rng.randrange(USERS)
            body.update(owner={"type": "user", "user": self.user_id(user)}, title=self.text(user), body=self.text(user), tags=[])
        elif self.rng.random() < 0.3:
            body["owner"] = self.foreign_owner()
        return {}, body, {}

    def change_item(self):
        return {}, {"position": self.rng.randrange(9)}, {}

    def compact_hints(self):
        return {}, {}, {}

    def share_item(self):
        # With people of other tenants only: what is shared on purpose is no leak.
        strangers = [i for t, _, i in self.world.known["user"] if t != self.caller.tenant]
        return {}, {"user": self.rng.choice(strangers), "level": "read"}, {}

    def unshare_item(self):
        return {"user": self.world.pick(self.rng, "user", self.caller)}, None, {}

    def make_handoff(self):
        return {}, {"title": self.text(), "body": self.text(), "recipient": self.world.pick(self.rng, "agent", self.caller)}, {}

    def finish_handoff(self):
        return {}, {"result": "done"}, {}

    def put_secret(self):
        return {}, {"value": self.text(), "description": self.text()}, {}

    delete_secret = reveal_secret = plain

    def open_conversation(self):
        body = {"agent": self.world.pick(self.rng, "agent", self.caller), "key": f"k{self.rng.randrange(5)}"}
        if self.caller.user is None or self.rng.random() < 0.5:
            body["user"] = self.world.pick(self.rng, "user", self.caller)
        return {}, body, {}

    def send_message(self):
        # A tenant's application does not say whose conversation an id is: its words are everybody's.
        return {}, {"text": self.text()}, {}

    def import_messages(self):
        return {}, {"messages": [{"role": "user", "text": self.text()}]}, {}

    def openai_chat_completions(self):
        agent = self.world.pick(self.rng, "agent", self.caller)
        return {}, {"model": agent, "messages": [{"role": "user", "content": self.text()}]}, {}

    # Managing: the canary of everybody in the tenant, or nothing.
    def create_agent(self):
        return {}, {"name": f"a{self.rng.randrange(10**9)}", "instructions": f"about {canary(self.caller.tenant)}"}, {}

    def update_agent(self):
        return {}, {"instructions": "taken over"}, {}

    def create_user(self):
        return {}, {"handle": f"h{self.rng.randrange(10**9)}"}, {}

    def update_user(self):
        return {}, {"display_name": "taken over"}, {}

    def create_team(self):
        return {}, {"name": f"t{self.rng.randrange(10**9)}"}, {}

    def add_team_member(self):
        return {}, {}, {}

    def create_key(self):
        return {}, {"name": "stolen", "role": {"type": "user", "tenant": self.world.pick(self.rng, "ten", self.caller, True),
                                               "user": self.world.pick(self.rng, "user", self.caller, True)}}, {}

    def rotate_key(self):
        return {}, {}, {}

    def create_tenant(self):
        return {}, {"name": "mine"}, {}

    def set_tenant_limits(self):
        return {}, {"requests_per_second": 1}, {}


class Leaks(Case):
    config = {"secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.world, cls.callers = World(), []
        tenants = {}
        for t in range(TENANTS):
            users = [f"user{u}" for u in range(USERS)]
            inside = make_tenant(cls.api, f"acme{t}", users, [{"name": f"helper{i}", "instructions": f"serve {canary(t)}"} for i in range(2)])
            tenants[t] = next(x["id"] for x in cls.api.all("/tenants") if x["name"] == f"acme{t}")
            cls.world.add("ten", t, None, tenants[t])
            for agent in inside.all("/agents"):
                cls.world.add("agent", t, None, agent["id"])
            inside.post("/teams", {"name": "crew"})
            cls.world.add("team", t, None, inside.get("/teams/@crew")["id"])
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
                cls.world.add("run", t, u, said["run"]["id"])
                ann = cls.callers[-3].api
                item = ann.post("/context/items", {"kind": "project", "title": f"project {canary(t, u)}"})
                cls.world.add("item", t, u, item["id"])
                ann.put("/context/secrets/mail", {"value": f"secret {canary(t, u)}"})
                cls.world.add("secret", t, u, "mail")
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
        kinds = {"create_passage": "psg", "create_block": "blk", "make_item": "item", "make_handoff": "handoff", "open_conversation": "conv"}
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

    def test_nobody_sees_anybody_elses_words(self):
        missing = [o for o, _, _ in self.operations if not hasattr(Rules, o)]
        self.assertEqual(missing, [], "operations without a rule in tests/leaks: whose data do they touch?")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            outcomes = collections.Counter(pool.map(self.one, range(OPERATIONS)))
        print(f"seed {SEED}: {OPERATIONS} operations: {dict(sorted(outcomes.items(), key=str))}")
        # A world in which everything is refused proves nothing.
        self.assertGreater(sum(n for s, n in outcomes.items() if s in (200, 201, 202, 204)), OPERATIONS // 10)
        self.assertGreater(outcomes[404] + outcomes[403], OPERATIONS // 20)
        for request in self.model.requests:
            seen = set(CANARY.findall(json.dumps(request)))
            self.assertLessEqual(len({t for t, _ in seen}), 1, f"seed {SEED}: two tenants in one prompt: {seen}")
            self.assertLessEqual(len({o for _, o in seen if o != "a"}), 1, f"seed {SEED}: two users in one prompt: {seen}")
        self.assertEqual(CANARY.findall(self.server.text()), [], "the log holds nobody's words")

    def test_the_checker_sees_a_leak(self):
        bob = next(c for c in self.callers if (c.tenant, c.user) == (0, 1))
        for tenant, user in ((0, 2), (1, None), (1, 1)):
            with self.assertRaises(AssertionError):
                self.check(bob, "planted", f"x {canary(tenant, user)} y".encode())
        self.check(bob, "own", f"{canary(0, 1)} {canary(0)}".encode())
