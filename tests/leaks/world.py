"""The world of the leak tests: who calls, what there is, and what each operation is called with. Each string carries its owner's canary."""
import collections, re, threading

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
    PATHS = [("/agents/", "agent"), ("/users/", "user"), ("/teams/", "team"), ("/conversations/", "conv"), ("/approvals/", "appr"), ("/runs/", "run"), ("/blocks/", "blk"),
             ("/passages/", "psg"), ("/keys/", "key"), ("/tenants/", "ten"), ("/context/items/", "item"), ("/context/handoffs/", "handoff"),
             ("/context/proposals/", "item"), ("/context/secrets/", "secret"), ("/models/", "model"), ("/tools/", "toolset"), ("/egos/", "ego"), ("/tasks/", "task"), ("/timers/", "tmr"), ("/documents/", "doc"), ("/images/", "img"), ("/webhooks/", "whk"), ("/deliveries/", "dlv"), ("/v1/models/", "agent")]

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

    for _name in """list_agents get_agent list_teams get_team list_team_members list_users get_user get_conversation list_conversations get_approval
            list_runs get_run list_run_steps get_run_events cancel_run get_block get_block_history get_passage get_item get_document list_shares
            list_handoffs claim_handoff return_handoff withdraw_handoff approve_proposal reject_proposal get_time begin_session get_overview
            list_configured_models probe_model list_keys revoke_key get_index list_generations drop_old_generations backup_store list_tenants
            get_tenant_limits list_toolsets get_toolset drop_toolset list_egos get_ego drop_ego list_tasks get_task list_timers get_timer delete_timer list_documents describe_document read_document download_document remove_document get_drive connect_drive disconnect_drive list_images get_image delete_image get_login begin_login forget_login list_webhooks get_webhook delete_webhook test_webhook list_deliveries get_delivery redeliver openai_list_models openai_get_model list_messages delete_passage delete_item erase_conversation erase_user erase_agent
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

    def list_approvals(self):
        return self.rng.choice([{}, {"status": "pending"}, {"conversation": self.world.pick(self.rng, "conv", self.caller)}]), None, {}

    def list_sources(self):
        return {}, None, {}

    def undo_source(self):
        return {}, {"source": {"channel": self.rng.choice(["web", "import", "agent"]), "name": "*"}}, {}

    def decide_approval(self):
        return {}, {"decision": self.rng.choice(["approve", "deny"]), "note": self.text()}, {}

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

    def add_document(self):
        owner, user = self.owner()
        shared = owner["type"] in ("team", "tenant")
        text = self.shared_text(None) if shared else self.text(user)
        return {"title": text, "format": "text", "owner_type": owner["type"], **{k: v for k, v in owner.items() if k != "type"}}, {"text": text}, {}

    def replace_document(self):
        return {"format": "text"}, {"text": self.shared_text(None)}, {}  # It may be a document of a team.

    def search_documents(self):
        body = {"query": self.words(), "k": 50}
        if self.rng.random() < 0.3:
            body["document"] = self.world.pick(self.rng, "doc", self.caller)
        return {}, body, {}

    # Nobody has set Drive up here.
    def finish_drive(self):
        return {}, {"state": "x", "code": "x"}, {}

    def search_drive(self):
        return {}, {"query": self.words()}, {}

    def import_drive_file(self):
        return {}, {"file": "x", "owner": self.foreign_owner()}, {}

    def confirm_login(self):
        return {}, {"code": self.text()[:8]}, {}

    def create_timer(self):
        body = {"agent": self.world.pick(self.rng, "agent", self.caller), "name": self.text(), "stimulus": self.text(),
                "when": {"type": "at", "at": "2099-01-01T00:00:00Z"}}
        if self.caller.user is None:
            user = self.rng.randrange(USERS)
            body.update(user=self.user_id(user), name=self.text(user), stimulus=self.text(user))
        elif self.rng.random() < 0.3:
            body["user"] = self.world.pick(self.rng, "user", self.caller)
        return {}, body, {}

    def set_heartrate(self):
        body = {"every_ms": 3_600_000, "only_when_open": self.rng.random() < 0.5}
        if self.caller.user is None or self.rng.random() < 0.3:
            body["user"] = self.world.pick(self.rng, "user", self.caller)
        return {}, body, {}

    def change_timer(self):
        return {}, {"paused": self.rng.random() < 0.5}, {"if-match": str(self.rng.randrange(1, 3))}

    def create_webhook(self):
        return {}, {"url": "https://hooks.invalid/sid", "description": f"told of {canary(self.caller.tenant)}", "include": "content"}, {}

    def change_webhook(self):
        return {}, {"enabled": True, "description": f"told of {canary(self.caller.tenant)}"}, {}

    def rotate_webhook(self):
        return {}, {}, {}

    def put_toolset(self):
        source = {"kind": "http", "description": f"rings at {canary(self.caller.tenant)}", "url": "https://bell.invalid/ring"}
        return {}, {"source": source, "default": False}, {}

    def put_ego(self):
        agents = [self.world.pick(self.rng, "agent", self.caller) for _ in range(2)]
        return {}, {"spokesperson": agents[0], "members": [agents[1]], "memory": self.rng.choice(["per_user", "shared"]),
                    "blocks": [{"label": "case", "description": f"the case of {canary(self.caller.tenant)}"}]}, {}

    def create_task(self):
        user = self.some_user()
        body = {"agent": self.agent_id(), "user": self.user_id(user), "title": self.text(user)[:200], "objective": self.text(user), "budget": {"max_steps": 2}}
        if self.rng.random() < 0.5:
            body["report_to"] = self.world.pick(self.rng, "conv", self.caller)
        return {}, body, {}

    def plan_task(self):
        return {}, {"steps": [self.text()]}, {}

    def answer_task(self):
        return {}, {"answer": self.text()}, {}

    def cancel_task(self):
        return {}, {"reason": "no longer needed"}, {}

    def create_tenant(self):
        return {}, {"name": "mine"}, {}

    def set_tenant_limits(self):
        return {}, {"requests_per_second": 1}, {}
