"""What is sealed opens in its place alone, and with keys that are rotated while everybody reads."""
import base64, collections, contextlib, http.client, json, random, sqlite3, threading, uuid

from harness.api import make_tenant
from harness.canary import Canary, Listening
from harness.case import Case
from harness.waiting import until

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def fresh(name):
    return f"{name}:{base64.b64encode(random.randbytes(32)).decode()}"


def uuid_of(thing):
    """The UUID in an id such as `item_…`."""
    number = 0
    for letter in thing.split("_")[1]:
        number = number * 32 + ALPHABET.index(letter)
    return uuid.UUID(int=number)


class Rows:
    """The sealed documents of the store, from underneath."""

    def __init__(self, server):
        self.server = server

    def where(self, column, thing):
        return f"{column} = '{uuid_of(thing)}'" if self.server.database else f"{column} = x'{uuid_of(thing).hex}'"

    def secret(self, thing):
        return self.where("id", thing)

    def key(self, user):
        """The data key of a user."""
        return f"kind = 'data_key' AND {self.where('of_user', user)}"

    def change(self, change):
        """Calls `change(get, put)` while no server of the embedded store runs."""
        if self.server.database:
            sql = self.server.database.sql
            return change(lambda where: sql(f"SELECT data FROM sid.items WHERE {where}"),
                          lambda where, data: sql(f"UPDATE sid.items SET data = $json${data}$json$ WHERE {where}"))
        assert self.server.stop() == 0
        with contextlib.closing(sqlite3.connect(self.server.data / "sid.db")) as db, db:
            change(lambda where: db.execute(f"SELECT data FROM items WHERE {where}").fetchone()[0],
                   lambda where, data: db.execute(f"UPDATE items SET data = ? WHERE {where}", (data,)))
        self.server.start()


class Moved(Case):
    config = {"secrets": {"keys": fresh("one")}}

    def setUp(self):
        super().setUp()
        self.value, self.heard, self.known = Canary(), [], {}
        self.operator = Listening.to(self.api, self.heard)

    def keep(self, house, owner, name):
        """A secret with a value of its own; `owner` is a user's id or a query. Gives its id."""
        query = f"?owner_type=user&user={owner}" if owner.startswith("user_") else owner
        kept = house.put(f"/context/secrets/{name}{query}", {"value": self.value(name)})
        self.known[kept["id"]] = (house, f"/context/secrets/{name}", query, self.value(name))
        return kept["id"]

    def opens(self, secret):
        house, path, query, value = self.known[secret]
        self.assertEqual(house.post(f"{path}/reveal{query}")["value"], value)
        self.heard.pop()

    def stays_closed(self, secret):
        house, path, query, _ = self.known[secret]
        self.assertEqual(self.refused(409, house.post, f"{path}/reveal{query}").code, "SID-CONTEXT-SEALED")

    def test_a_ciphertext_that_was_moved_or_changed_does_not_open(self):
        first = make_tenant(self.operator, "first", ("ann", "bob", "carl", "dora", "eve", "frank", "ivy"))
        second = make_tenant(self.operator, "second", ("ann", "gil"))
        first.post("/teams", {"name": "crew"})
        ids = {handle: first.get(f"/users/@{handle}")["id"] for handle in ("ann", "bob", "carl", "dora", "eve", "frank", "ivy")}
        other = {handle: second.get(f"/users/@{handle}")["id"] for handle in ("ann", "gil")}
        keep, rows = self.keep, Rows(self.server)
        swapped = {
            "rows of one owner": (keep(first, ids["ann"], "a1"), keep(first, ids["ann"], "a2")),
            "owners": (keep(first, ids["ann"], "b"), keep(first, ids["bob"], "b2")),
            "a team's and the tenant's": (keep(first, "?owner_type=team&team=@crew", "c"), keep(first, "?owner_type=tenant", "c")),
            "a user's and the tenant's": (keep(first, ids["bob"], "d"), keep(first, "?owner_type=tenant", "d2")),
            "tenants": (keep(first, ids["ann"], "same"), keep(second, other["ann"], "same")),
            "tenants' own": (keep(first, "?owner_type=tenant", "e"), keep(second, "?owner_type=tenant", "e")),
        }
        behind = [keep(first, ids["carl"], "f"), keep(first, ids["dora"], "f"), keep(first, ids["frank"], "f"), keep(second, other["gil"], "f")]
        swapped_keys = [(ids["carl"], ids["dora"]), (ids["frank"], other["gil"])]
        mine, kept = keep(first, ids["eve"], "g"), [keep(first, ids["ann"], "h"), keep(second, other["ann"], "h")]
        damage = {"no nonce": lambda d: d | {"nonce": ""}, "a short nonce": lambda d: d | {"nonce": "AAAA"}, "no base64": lambda d: d | {"sealed": "\u00e9"},
                  "nothing": lambda d: {}, "not a text": lambda d: d | {"sealed": 7, "nonce": None}, "an empty value": lambda d: d | {"sealed": ""},
                  "a bit": lambda d: d | {"sealed": base64.b64encode(bytes([base64.b64decode(d["sealed"])[0] ^ 1]) + base64.b64decode(d["sealed"])[1:]).decode()},
                  "another nonce": lambda d: d | {"nonce": base64.b64encode(bytes(12)).decode()}, "cut": lambda d: d | {"sealed": d["sealed"][:-8]}}
        damaged = {name: keep(first, ids["ivy"], f"i{i}") for i, name in enumerate(damage)}
        was = {}

        def move(get, put):
            pairs = [(rows.secret(a), rows.secret(b)) for a, b in swapped.values()] + [(rows.key(a), rows.key(b)) for a, b in swapped_keys]
            for a, b in pairs:
                was[a], was[b] = get(a), get(b)
                self.assertNotEqual(was[a], was[b])
                put(a, was[b]), put(b, was[a])
            # A data key in the place of a value.
            was[rows.secret(mine)] = get(rows.secret(mine))
            put(rows.secret(mine), get(rows.key(ids["eve"])))
            for name, secret in damaged.items():
                was[rows.secret(secret)] = get(rows.secret(secret))
                put(rows.secret(secret), json.dumps(damage[name](json.loads(was[rows.secret(secret)]))))

        rows.change(move)
        closed = [secret for pair in swapped.values() for secret in pair] + behind + [mine] + list(damaged.values())
        for secret in closed:
            with self.subTest(self.known[secret][1:3]):
                self.stays_closed(secret)
        for secret in kept:
            self.opens(secret)
        # Nothing is sealed with a key that is not the owner's.
        self.assertEqual(self.refused(409, first.put, f"/context/secrets/new?owner_type=user&user={ids['carl']}", {"value": self.value()}).code, "SID-CONTEXT-SEALED")
        self.assertEqual(len(first.get("/context/secrets", owner_type="user", user=ids["carl"])["items"]), 1)
        self.assertEqual([what for what, _, data in self.heard if self.value.seen(data)], [])
        self.assertEqual(self.value.seen(self.server.log.read_bytes()), [])

        rows.change(lambda get, put: [put(where, data) for where, data in was.items()])
        for secret in closed + kept:
            self.opens(secret)


class Rotation(Case):
    """One server of the embedded store, whose readers wait while it starts; two on Postgres, restarted in turn, whose readers never wait for both."""

    def setUp(self):
        super().setUp()
        self.one, self.two = fresh("one"), fresh("two")
        self.known, self.failed, self.reads, self.ended = {}, [], collections.Counter(), threading.Event()

    def configure(self, *keys):
        """Restarts one server after the other."""
        for server in self.servers:
            server.config["secrets"] = {"keys": "\n".join(keys)}
            if server.process:
                self.assertEqual(server.stop(), 0)
            server.start()
            # Somebody reads with the new configuration, too.
            seen = self.reads[server.port]
            until("somebody reads there", lambda: not self.known or self.reads[server.port] >= seen + 20, every_s=0.01)

    def anywhere(self, apis, method, path, body):
        """As a balancer does it: another server where one takes no connection; waits while there is none."""
        def some():
            for api in random.sample(apis, len(apis)):
                try:
                    return api, *api.raw(method, path, body)
                except (OSError, http.client.HTTPException):
                    continue
        return until("a server answers", some, every_s=0.02)

    def load(self, part):
        apis = [server.api.acting(tenant="acme") for server in self.servers]
        for number in range(10**9):
            if self.ended.is_set():
                return
            if number % 50 == 0:
                # A new owner each time: its data key is made now.
                handle = f"u{part}-{number}"
                for method, path, body in (("POST", "/users", {"handle": handle}), ("PUT", f"/context/secrets/mail?owner_type=user&user=@{handle}", {"value": handle})):
                    _, status, _, data = self.anywhere(apis, method, path, body)
                    if status not in (200, 201, 409):
                        self.failed.append((method, path, status, data))
                self.known[handle] = True
            handle = random.choice(list(self.known))
            api, status, _, data = self.anywhere(apis, "POST", f"/context/secrets/mail/reveal?owner_type=user&user=@{handle}", {})
            if status != 200 or json.loads(data)["value"] != handle:
                self.failed.append((handle, status, data))
            self.reads[api.port] += 1

    def test_keys_are_rotated_while_everybody_reads_and_writes(self):
        second = [self.server.replica()] if self.server.database else []
        for server in second:
            self.addCleanup(server.remove)
        self.servers = [self.server, *second]
        self.configure(self.one)
        make_tenant(self.api, "acme")
        for server in second:
            server.key = self.server.key
        threads = [threading.Thread(target=self.load, args=(part,)) for part in range(6)]
        for thread in threads:
            thread.start()
        try:
            until("everybody writes", lambda: len(self.known) >= 6, every_s=0.01)
            house = self.api.acting(tenant="acme")
            self.configure(self.one, self.two)      # All know the new key before anything is sealed with it.
            self.configure(self.two, self.one)
            before = sum(self.reads.values())
            rewrapped = [house.post("/secrets/rewrap")["rewrapped"]]
            while rewrapped[-1]:
                rewrapped.append(house.post("/secrets/rewrap")["rewrapped"])
            self.assertGreater(rewrapped[0], 5)
            self.configure(self.two)
            self.assertGreater(sum(self.reads.values()), before)
        finally:
            self.ended.set()
            for thread in threads:
                thread.join()
        print(f"{sum(self.reads.values())} reads of {len(self.known)} secrets over {len(self.servers)} servers, {rewrapped[0]} data keys sealed anew")
        self.assertEqual(self.failed[:5], [])
        for handle in self.known:
            self.assertEqual(house.post(f"/context/secrets/mail/reveal?owner_type=user&user=@{handle}")["value"], handle)
        # The new key alone opens them; the old one alone does not.
        for server in second:
            server.stop()
        self.servers = [self.server]
        self.known = {"u0-0": True}
        self.server.stop()
        self.server.config["secrets"] = {"keys": self.one}
        self.server.start()
        self.assertEqual(self.refused(409, house.post, "/context/secrets/mail/reveal?owner_type=user&user=@u0-0").code, "SID-CONTEXT-SEALED")
