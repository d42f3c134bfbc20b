"""Two tenants, their users and keys: nobody sees what is not theirs, and a foreign id answers like a random one."""
from harness.api import user_key
from harness.case import Case

RANDOM = "00000000000000000000000000"


class Tenants(Case):
    def test_without_a_key_nothing_but_health_answers(self):
        bare = self.server.api
        bare.key = None
        for path in ("/tenants", "/agents", "/models", "/v1/models"):
            status, _, _ = bare.raw("GET", path)
            self.assertEqual(status, 401, path)
        for path in ("/health/live", "/health/ready"):
            self.assertEqual(bare.raw("GET", path)[0], 200, path)

    def test_a_wrong_key_is_refused(self):
        wrong = self.server.api
        wrong.key = "sid_" + "x" * 40
        self.refused(401, wrong.get, "/tenants")

    def test_foreign_ids_answer_like_random_ones(self):
        one = self.tenant()
        self.api.post("/tenants", {"name": "other"})
        other = self.api.acting(tenant="other")
        conversation = self.talk(one)
        said = one.post(f"/conversations/{conversation}/messages", {"text": "the safe code is 4711"})
        ids = {"/conversations/": conversation, "/runs/": said["run"]["id"], "/agents/": one.get("/agents/@helper")["id"], "/users/": one.get("/users/@ann")["id"]}
        for path, foreign in ids.items():
            self.assertEqual(one.get(path + foreign)["id"], foreign)
            theirs = self.refused(404, other.get, path + foreign)
            nobodys = self.refused(404, other.get, path + foreign.split("_")[0] + "_" + RANDOM)
            for problem in (theirs.problem, nobodys.problem):
                problem.pop("request_id", None)
            self.assertEqual(theirs.text.replace(foreign, "ID").split('"request_id"')[0], nobodys.text.replace(foreign.split("_")[0] + "_" + RANDOM, "ID").split('"request_id"')[0])
        for method, path in (("GET", f"/conversations/{conversation}/messages"), ("DELETE", f"/conversations/{conversation}"),
                             ("GET", f"/runs/{ids['/runs/']}/events"), ("POST", f"/runs/{ids['/runs/']}/cancel"), ("DELETE", f"/users/{ids['/users/']}")):
            self.refused(404, other.call, method, path, {} if method == "POST" else None)
        self.refused(404, other.post, f"/conversations/{conversation}/messages", {"text": "hello"})
        self.assertEqual(list(other.all("/conversations")), [])
        self.assertEqual(other.post("/search", {"query": "safe code"})["hits"], [])
        self.assertEqual(len(self.transcript(one, conversation)), 2)

    def test_a_users_key_sees_that_user_only(self):
        inside = self.tenant(users=("ann", "bob"))
        mine, theirs = self.talk(inside, "ann"), self.talk(inside, "bob")
        inside.post(f"/conversations/{mine}/messages", {"text": "my locker is number 88"})
        inside.post(f"/conversations/{theirs}/messages", {"text": "my locker is number 99"})
        ann = self.api.acting(key=user_key(self.api, inside.tenant, "ann"))
        ann.tenant = None
        self.assertEqual([c["id"] for c in ann.all("/conversations")], [mine])
        self.refused(404, ann.get, f"/conversations/{theirs}/messages")
        self.refused((403, 404), ann.get, "/tenants")
        hits = ann.post("/search", {"query": "what is my locker number", "agent": "@helper"})["hits"]
        self.assertTrue(hits and all("99" not in h["text"] for h in hits), hits)

    def test_two_users_of_one_agent_are_kept_apart_in_the_prompt(self):
        inside = self.tenant(users=("ann", "bob"))
        inside.post(f"/conversations/{self.talk(inside, 'bob')}/messages", {"text": "I keep my spare key under the blue flowerpot"})
        before = len(self.model.requests)
        inside.post(f"/conversations/{self.talk(inside, 'ann')}/messages", {"text": "where is the spare key?"})
        self.assertNotIn("flowerpot", str(self.model.requests[before:]))
        before = len(self.model.requests)
        inside.post(f"/conversations/{self.talk(inside, 'bob', key='d2')}/messages", {"text": "where is the spare key?"})
        self.assertIn("flowerpot", str(self.model.requests[before:]))

    def test_team_memory_follows_membership(self):
        inside = self.tenant(users=("ann", "bob"), agents=())
        inside.post("/teams", {"name": "crew"})
        inside.put("/teams/@crew/members/@ann")
        inside.post("/agents", {"name": "helper", "teams": ["@crew"]})
        inside.acting(user="ann").post("/passages", {"owner": {"type": "team", "team": "@crew"}, "text": "the staging password is heron-42"})
        ask = {"query": "staging password", "agent": "@helper"}
        seen = lambda user: [h["text"] for h in inside.post("/search", {**ask, "user": f"@{user}"})["hits"]]
        self.assertIn("heron-42", str(seen("ann")))
        self.assertNotIn("heron-42", str(seen("bob")))
        inside.put("/teams/@crew/members/@bob")
        self.assertIn("heron-42", str(seen("bob")))
        inside.delete("/teams/@crew/members/@bob")
        self.assertNotIn("heron-42", str(seen("bob")))

    def test_erasing_a_user_takes_everything_that_derives_from_them(self):
        inside = self.tenant(users=("ann", "bob"))
        for user in ("ann", "bob"):
            inside.post(f"/conversations/{self.talk(inside, user)}/messages", {"text": f"{user} plays the bassoon"})
        receipt = inside.delete("/users/@ann")
        self.assertTrue(receipt, "the receipt says what was erased")
        self.refused(404, inside.get, "/users/@ann")
        self.assertEqual(len(list(inside.all("/conversations"))), 1)
        self.assertNotIn("ann plays", str(inside.post("/search", {"query": "bassoon"})["hits"]))
        status, _, exported = inside.raw("GET", "/export")
        self.assertEqual(status, 200)
        self.assertNotIn(b"ann plays", exported)
        self.assertIn(b"bob plays", exported)
        # A new user of the same name begins with nothing.
        inside.post("/users", {"handle": "ann"})
        before = len(self.model.requests)
        inside.post(f"/conversations/{self.talk(inside, 'ann')}/messages", {"text": "which instrument do I play?"})
        self.assertNotIn("bassoon", str(self.model.requests[before:]))

    def test_erasing_a_conversation_forgets_it(self):
        inside = self.tenant()
        gone, kept = self.talk(inside, key="gone"), self.talk(inside, key="kept")
        inside.post(f"/conversations/{gone}/messages", {"text": "the cottage is in Oslo"})
        inside.post(f"/conversations/{kept}/messages", {"text": "the cottage has a red door"})
        inside.delete(f"/conversations/{gone}")
        self.refused(404, inside.get, f"/conversations/{gone}/messages")
        hits = str(inside.post("/search", {"query": "cottage", "agent": "@helper", "user": "@ann"})["hits"])
        self.assertNotIn("Oslo", hits)
        self.assertIn("red door", hits)
