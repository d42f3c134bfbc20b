"""Nothing of a person is left after the erasure: a canary in everything that Sid can hold of her, then a search through every reading operation, whatever
the store holds, a copy that is made afterwards, the log; and an older copy that is put in its place.

What stays is said in docs/context.md, and checked here: who did what with whose memory by ids, and what she wrote into things of others.
"""
import base64, json, os, random, tempfile

from harness import reaper
from harness.api import make_tenant
from harness.canary import Canary, Listening, analyze, backup, held, prompts, read_everything
from harness.case import Case
from harness.server import merged
from harness.waiting import until

KINDS = ("note", "memory", "preference", "hint", "project", "page")


class Erasure(Case):
    config = {"secrets": {"keys": "one:" + base64.b64encode(random.randbytes(32)).decode()}, "log": {"format": "json", "filter": "trace"},
              "engine": {"idle_ms": 100, "lease_ttl_ms": 2000, "poll_ms": 100}}

    @classmethod
    def configuration(cls):
        # A log of erasures beside the database, as several servers of one need it; the embedded store has one anyway.
        folder = tempfile.mkdtemp(prefix="sid-erasures-")
        reaper.remove_later(folder)
        return merged(super().configuration(), {"store": {"erasures": os.path.join(folder, "erasures.ndjson")}})

    def setUp(self):
        super().setUp()
        self.hers, self.his = Canary(), Canary()
        self.heard = []
        self.operator = Listening.to(self.api, self.heard)

    def people(self, name):
        c = self.hers
        house = make_tenant(self.operator, name, (), ("helper", "editor"))
        house.post("/users", {"handle": c("ann"), "display_name": c("Ann")})
        house.post("/users", {"handle": "bob"})
        house.post("/teams", {"name": "crew"})
        ids = {"ann": house.get(f"/users/@{c('ann')}")["id"], "bob": house.get("/users/@bob")["id"], "team": house.get("/teams/@crew")["id"],
               "agent": house.get("/agents/@helper")["id"], "tenant": next(t["id"] for t in self.operator.all("/tenants") if t["name"] == name)}
        for who in ("ann", "bob"):
            house.put(f"/teams/@crew/members/{ids[who]}", {})
        key = lambda role, note: self.operator.showing(house.post("/keys", {"name": note, "role": {"tenant": ids["tenant"], **role}})["key"])
        return house, ids, {"operator": house, "house": key({"type": "tenant"}, "house"), "ann": key({"type": "user", "user": ids["ann"]}, c("key")),
                            "bob": key({"type": "user", "user": ids["bob"]}, "bob")}

    def works(self, api, c):
        """Works on a task until its budget is used up, and wants to make a call that waits for a yes; answers both ids."""
        self.model.answer = lambda request: c("worked")
        task = api.post("/tasks", {"agent": "@editor", "title": c("task"), "objective": c("objective"), "plan": [c("step")], "budget": {"max_steps": 1}})["id"]
        until("its budget is used up", lambda: api.get(f"/tasks/{task}")["state"] == "failed", every_s=0.1)
        talk = api.post("/conversations", {"agent": "@editor", "key": c("ring")})["id"]
        script = [{"tool": "ring", "arguments": {"words": c("words")}}, c("waits")]
        self.model.answer = lambda request: script.pop(0) if script else c("more")
        api.post(f"/conversations/{talk}/messages", {"text": c("ring")})
        (waiting,) = api.get(f"/approvals?status=pending&conversation={talk}")["items"]
        return task, waiting["id"]

    def talks(self, ann, house, ids):
        """Conversations in which the model uses its memory, and so many words that they are summarised."""
        c = self.hers
        calls = iter([{"tool": "core_memory_append", "arguments": {"label": "human", "content": c("block")}},
                      {"tool": "archival_memory_insert", "arguments": {"content": c("archived")}}, c("answer"),
                      {"tool": "conversation_search", "arguments": {"query": "pickles"}}, c("found")])
        self.model.answer = lambda request: next(calls, c("more"))
        first, second = (ann.post("/conversations", {"agent": "@helper", "key": c(f"talk{i}")})["id"] for i in range(2))
        ann.post(f"/conversations/{first}/messages", {"text": c("said pickles")}, headers={"idempotency-key": c("idem")})
        ann.post(f"/conversations/{second}/messages", {"text": c("asked")})
        # Days ago: the diary tells of them.
        old = [{"role": role, "text": c(f"old {i} pickles"), "speaker": c("speaker"), "at": f"2026-0{1 + i % 6}-{1 + i % 27:02}T10:00:00Z", "id": c(f"m{i}")}
               for i, role in enumerate(["user", "assistant"] * 20)]
        ann.post(f"/conversations/{second}/import", {"messages": old})
        # More than the window: what is paged out is summarised.
        for i in range(12):
            ann.post(f"/conversations/{first}/messages", {"text": c(f"long{i} ") + "and then there was more to tell " * 60})
        third = house.post("/conversations", {"agent": "@editor", "user": ids["ann"], "key": c("talk3")})["id"]
        house.post(f"/conversations/{third}/messages", {"text": c("third")})
        ann.raw("POST", "/v1/chat/completions", {"model": "helper", "messages": [{"role": "user", "content": c("front door")}]})
        summary = lambda: ann.get(f"/conversations/{first}")["summary"]
        pages = lambda: ann.get("/diary", agent="@helper", user=ids["ann"], limit=100)["items"]
        until("a summary and a diary", lambda: summary() and {"day", "week", "month"} <= {page["level"] for page in pages()}, every_s=0.1)
        self.assertTrue(c.seen(summary().encode()) and c.seen(json.dumps(pages()).encode()))

    def keeps(self, ann, house, ids):
        """Everything that is kept beside conversations."""
        c = self.hers
        editor = ann.acting(agent="@editor")
        made = {}
        for kind in KINDS:
            made[kind] = ann.post("/context/items", {"kind": kind, "title": c(kind), "body": c("body ") * 400, "tags": [c("tag")]},
                                  headers={"idempotency-key": c(kind)})
            ann.patch(f"/context/items/{made[kind]['id']}", {"body": c("changed")})
        ann.post("/context/items", {"kind": "section", "title": c("section"), "parent": made["project"]["id"]})
        ann.post("/context/items", {"kind": "hint", "title": c("child"), "parent": made["hint"]["id"]})
        ann.put(f"/context/items/{made['project']['id']}/shares", {"user": ids["bob"], "level": "edit"})
        mine = editor.post("/context/items", {"kind": "memory", "title": c("mine")})
        editor.patch(f"/context/items/{mine['id']}", {"title": c("proposed")})
        left = editor.post("/context/handoffs", {"title": c("handoff"), "body": c("body"), "recipient": "@helper"})
        helper = ann.acting(agent="@helper")
        helper.post(f"/context/handoffs/{left['id']}/claim")
        helper.post(f"/context/handoffs/{left['id']}/finish", {"result": c("result")})
        editor.post("/context/sessions")
        ann.put(f"/context/secrets/{c('secret')}", {"value": c("value"), "description": c("description")})
        ann.post(f"/context/secrets/{c('secret')}/reveal")
        self.heard.pop()
        for where in ({"agent": "@helper"}, {"conversation": ann.post("/conversations", {"agent": "@helper", "key": "timers"})["id"]}):
            timer = ann.post("/timers", {**where, "name": c("timer"), "stimulus": c("stimulus"), "when": {"type": "at", "at": "2099-01-01T00:00:00Z"}})
            ann.patch(f"/timers/{timer['id']}", {"name": c("renamed")})
        for query in ("", "&owner_type=pair&user=@" + c("ann") + "&agent=@helper"):
            ann.call("POST", f"/documents?title={c('title')}.txt&format=text{query}", c("document pickles").encode())
            ann.call("POST", f"/documents?title={c('broken')}.pdf{query}", c("no pdf").encode())
        for owner in ({"type": "user", "user": ids["ann"]}, {"type": "pair", "user": ids["ann"], "agent": "@helper"}):
            ann.post("/passages", {"owner": owner, "text": c("passage"), "tags": [c("tag")]})
            block = ann.post("/blocks", {"owner": owner, "label": c("label"), "description": c("about"), "value": c("one")})
            ann.patch(f"/blocks/{block['id']}", {"op": "append", "text": c("two")})
            ann.post(f"/blocks/{block['id']}/undo", {})
        for query in (c("said pickles"), "pickles"):
            ann.post("/search", {"query": query})
            ann.post("/context/search", {"query": query})
        # Refused, and by others: the audit log names what was asked for.
        self.refused(403, self.callers["bob"].patch, f"/users/@{c('ann')}", {"display_name": "x"})
        self.refused((403, 404), self.callers["bob"].delete, f"/context/secrets/{c('secret')}?owner_type=user&user=@{c('ann')}")

    def test_nothing_of_a_person_is_left(self):
        c = self.hers
        house, ids, self.callers = self.people("everything")
        ann, bob = self.callers["ann"], self.callers["bob"]
        words = {"type": "object", "properties": {"words": {"type": "string"}}}
        house.put("/tools/ring", {"source": {"kind": "http", "description": "Rings.", "parameters": words, "url": "https://bell.invalid/ring"}, "default": False})
        house.put("/egos/office", {"spokesperson": "@helper", "members": ["@editor"], "blocks": [{"label": "case"}]})
        hook = house.post("/webhooks", {"url": "https://hooks.invalid/sid", "include": "content"})["id"]
        house.patch("/agents/@editor", {"tasks": True, "tools": ["ring"], "approvals": {"ring": "always"}})
        talk = bob.post("/conversations", {"agent": "@helper", "key": "k"})["id"]
        bob.post(f"/conversations/{talk}/messages", {"text": self.his("pickles")})
        task, approval = self.works(bob, self.his)
        kept = bob.post("/context/items", {"kind": "note", "title": self.his("note")})
        timer = bob.post("/timers", {"conversation": talk, "name": self.his("timer"), "stimulus": "later", "when": {"type": "at", "at": "2099-01-01T00:00:00Z"}})
        document = bob.call("POST", "/documents?title=his.txt", self.his("document pickles").encode())
        self.works(ann, c)
        self.talks(ann, house, ids)
        self.keeps(ann, house, ids)
        ids |= {"conversation": talk, "run": bob.get(f"/conversations/{talk}/runs")["items"][0]["id"], "item": kept["id"], "timer": timer["id"], "document": document["id"], "task": task, "approval": approval, "webhook": hook,
                "block": bob.get("/blocks", owner_type="pair", user="@bob", agent="@helper")["items"][0]["id"], "passage": "psg_" + "0" * 26}
        analyze(self.server)
        # The search finds her before, where she is.
        older = self.copy()
        stored = b"".join(data for _, data in held(self.server))
        self.assertTrue(c.seen(stored) and c.seen(backup(self.server)) and c.seen(prompts(self.model)))
        export = ann.raw("GET", "/export")[2]
        lines = [json.loads(line) for line in export.splitlines()]
        count = lambda kind: sum(line["kind"] == kind for line in lines)
        # What search finds of items is a passage, too; the secret has a key.
        searchable = sum(line["item"]["kind"] not in ("proposal", "session") for line in lines if line["kind"] == "item")
        made = {"conversations": count("conversation"), "messages": count("message"), "items": count("item") + count("secret") + 1,
                "passages": count("passage") + searchable, "runs": sum(len(ann.get(f"/conversations/{c['id']}/runs")["items"]) for c in ann.all("/conversations")),
                "block_versions": sum(len(ann.get(f"/blocks/{line['id']}/history")["items"]) for line in lines if line["kind"] == "block")}

        self.heard.clear()
        log_before = self.server.log.stat().st_size
        receipt = self.operator.acting(tenant="everything").delete(f"/users/@{c('ann')}")
        self.heard.clear()
        self.assertEqual({kind: receipt[kind] for kind in made} | {"pending": receipt["pending"]}, made | {"pending": 0})
        # The background was still writing pages and vectors.
        self.assertGreaterEqual(receipt["diary_entries"], count("diary"))
        self.assertGreaterEqual(receipt["vectors"], count("message") // 2)
        self.nothing_left(self.server, ids, log_before)
        for old in (ann, ann.acting(agent="@editor")):
            self.refused(401, old.get, "/context")
        # Bob's is all there.
        self.assertTrue(self.his.seen(bob.raw("GET", "/export")[2]) and self.his.seen(b"".join(data for _, data in held(self.server))))

        # An older copy does not bring her back.
        self.restore(older)
        self.nothing_left(self.server, ids, self.server.log.stat().st_size)
        self.refused(404, house.get, f"/users/{ids['ann']}")
        self.refused(401, ann.get, "/context")
        self.assertTrue(self.his.seen(bob.raw("GET", "/export")[2]))

    def nothing_left(self, server, ids, log_before):
        self.heard.clear()
        callers = {name: api for name, api in self.callers.items() if name != "ann"}
        _, unanswered = read_everything(self, callers, {"user": ids["bob"], "team": ids["team"], "agent": ids["agent"], "tenant": ids["tenant"], "name": "mail", "conv": ids["conversation"],
                                        "run": ids["run"], "item": ids["item"], "tmr": ids["timer"], "doc": ids["document"], "task": ids["task"], "appr": ids["approval"], "blk": ids["block"], "psg": ids["passage"], "whk": ids["webhook"], "model": "helper", "toolset": "ring", "ego": "office", "img": "img_" + "0" * 26})
        self.assertEqual(unanswered, {"get_passage", "get_image", "get_login", "get_delivery"}, "what is refused shows nothing")
        for api in callers.values():
            for query in ("pickles", "old", "note passage archived answer body"):
                api.raw("POST", "/search", {"query": query, "k": 200})
                api.raw("POST", "/context/search", {"query": query, "k": 50})
        places = [(f"the answer {status} to {what}", data) for what, status, data in self.heard]
        places += [("the log afterwards", server.log.read_bytes()[log_before:]), ("a backup", backup(server)), *held(server)]
        self.assertEqual([(place, self.hers.seen(data)) for place, data in places if self.hers.seen(data)], [])

    def copy(self):
        """An older copy of the store."""
        if not self.server.database:
            return backup(self.server)
        # Postgres copies a database that nobody uses.
        self.assertEqual(self.server.stop(), 0)
        copy = self.server.database.copy()
        self.server.start()
        return copy

    def restore(self, older):
        """Puts it in the place of the store, as an operator would: while no server runs."""
        self.assertEqual(self.server.stop(), 0)
        if self.server.database:
            self.server.database.name, url, admin_url = older
            self.server.config["store"].update(url=url, admin_url=admin_url)
        else:
            for file in self.server.data.glob("sid.db*"):
                file.unlink()
            (self.server.data / "sid.db").write_bytes(older)
        self.server.start()
