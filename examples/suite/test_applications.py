"""What every application that embeds Sid here must do. It knows the applications' own API (README.md) and nothing of their frameworks.

Sid is a real server; the model is scripted: it notes what guests love, books when it is asked to, and else says what it was told of pickles.
"""
import base64, json, re, shutil, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor

import httpx

from application import Application, Browser, Wire, together
from harness.case import Case
from harness.fake_model import last_user
from harness.waiting import until

PASSWORD = "correct horse battery"


class Applications(Case):
    """The tests; each application is a subclass."""

    application = None
    config = {"tools": {"open": ["127.0.0.0/8:*"]}, "secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.mkdtemp(prefix="sid-examples-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.wire = cls.enter(Wire())
        cls.app = Application(cls.application, cls.folder, cls.server, cls.wire)
        cls.addClassCleanup(cls.app.kill)
        cls.app.start()

    def run(self, result=None):
        """A test that fails shows what the application wrote meanwhile."""
        before, faults = self.app.log.stat().st_size, len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > faults:
            print(self.app.log.read_text()[before:], file=sys.stderr)
        return result

    def setUp(self):
        super().setUp()
        self.model.answer, self.wire.times, self.wire.then = self.waiter, 1, None
        self.wire.passed.clear()
        # Every test has organisations of its own.
        self.number = self.id().split("test_")[-1]
        self.ann, self.org = self.browser(), f"Pickle Bar {self.number}"
        self.ok(self.ann.post("/orgs", {"org": self.org, "name": "ann", "password": PASSWORD}), 201)
        self.bar = self.ok(self.ann.post("/venues", {"name": "The Bar"}), 201)["id"]

    # --- a model -----------------------------------------------------------------------------------------------------------------------

    def waiter(self, request):
        """Small, but it does what models do: it sees the prompt, calls functions, and reads their results."""
        functions = {t["function"]["name"].partition("-")[0]: t["function"]["name"] for t in request.get("tools", [])}
        results = []
        for message in reversed(request["messages"]):
            if message["role"] == "user":
                break
            if message["role"] == "tool":
                results.append(message["content"])
        said, prompt = str(last_user(request)).rpartition("</context>")[2], json.dumps(request["messages"])
        if results:
            return f"Done: {results[0]}"
        if found := re.search(r"I love (\w+)", said):
            return {"tool": functions["core_memory_append"], "arguments": {"label": "guest", "content": f"Loves {found[1]}."}}
        if found := re.search(r"Book (\S+) for (\S+)", said):
            guests = int(found[2]) if found[2].isdigit() else found[2]
            return {"tool": functions["book"], "arguments": {"day": found[1], "guests": guests}}
        if found := re.search(r"Cancel (\d+)", said):
            return {"tool": functions["cancel"], "arguments": {"booking": int(found[1])}}
        if "What do I have" in said:
            return {"tool": functions["list"], "arguments": {}}
        known = [word for word in ("pickles", "mustard", "fireworks") if word in prompt]
        return f"A sandwich with extra {' and '.join(known)}, as always." if known else "A sandwich with what, please?"

    # --- people ------------------------------------------------------------------------------------------------------------------------

    def browser(self):
        browser = Browser(self.app.url)
        self.addCleanup(browser.http.close)
        return browser

    def ok(self, answer, status=200):
        self.assertEqual(answer.status_code, status, answer.text)
        return answer.json() if answer.content else None

    def refused(self, answer, status):
        """Refused with a reason that people can read."""
        self.assertEqual(answer.status_code, status, answer.text)
        self.assertTrue(answer.json()["detail"])

    def member(self, name, *venues, manager=None):
        """Somebody in the manager's organisation, signed in."""
        manager, org = manager or self.ann, self.ok((manager or self.ann).get("/me"))["org"]
        self.ok(manager.post("/people", {"name": name, "password": PASSWORD, "venues": list(venues)}), 201)
        browser = self.browser()
        self.ok(browser.post("/login", {"org": org, "name": name, "password": PASSWORD}))
        return browser

    def bookings(self, browser, venue):
        return self.ok(browser.get(f"/venues/{venue}/bookings"))["items"]

    # --- tests -------------------------------------------------------------------------------------------------------------------------

    def test_people_sign_up_in_and_out(self):
        self.assertEqual(self.ok(self.ann.get("/me")), {"name": "ann", "org": self.org, "manager": True, "venues": [{"id": self.bar, "name": "The Bar"}]})
        self.refused(self.browser().post("/orgs", {"org": self.org, "name": "eve", "password": PASSWORD}), 409)
        bob = self.member("bob", self.bar)
        self.assertEqual(self.ok(bob.get("/me"))["manager"], False)
        self.refused(self.ann.post("/people", {"name": "bob", "password": PASSWORD, "venues": []}), 409)
        for path, body in (("/venues", {"name": "Mine"}), ("/people", {"name": "eve", "password": PASSWORD, "venues": []}), (f"/venues/{self.bar}/notes", {"text": "x"})):
            self.refused(bob.post(path, body), 403)
        cookies = dict(bob.http.cookies)
        self.ok(bob.post("/logout"), 204)
        stranger = self.browser()
        for browser in (bob, stranger):
            self.refused(browser.get("/me"), 401)
            self.refused(browser.post(f"/venues/{self.bar}/chat", {"text": "Hi"}), 401)
        stranger.http.cookies.update(cookies)
        self.refused(stranger.get("/me"), 401)
        for org, name, password in ((self.org, "bob", "wrong password"), (self.org, "nobody", PASSWORD), ("No Bar", "bob", PASSWORD)):
            self.refused(self.browser().post("/login", {"org": org, "name": name, "password": password}), 401)

    def test_the_assistant_remembers_across_conversations(self):
        bob = self.member("bob", self.bar)
        self.assertIn("Done", bob.say(self.bar, "Hello! I love pickles.", "monday"))
        self.assertEqual(bob.say(self.bar, "A sandwich, please.", "friday"), "A sandwich with extra pickles, as always.")
        remembered = self.ok(bob.get(f"/venues/{self.bar}/memory", about="pickles"))
        self.assertEqual(remembered["notes"], [{"label": "guest", "text": "Loves pickles."}])
        self.assertIn("I love pickles", json.dumps(remembered["found"]))

    def test_nobody_sees_anybody_elses_words(self):
        """Another guest of the venue, another venue of the organisation, another organisation with the same names."""
        cafe = self.ok(self.ann.post("/venues", {"name": "The Café"}), 201)["id"]
        bob, carl, dora = self.member("bob", self.bar, cafe), self.member("carl", self.bar), self.member("dora", cafe)
        other = self.browser()
        self.ok(other.post("/orgs", {"org": f"{self.org} two", "name": "ann", "password": PASSWORD}), 201)
        their_bar = self.ok(other.post("/venues", {"name": "The Bar"}), 201)["id"]
        their_bob = self.member("bob", their_bar, manager=other)
        bob.say(self.bar, "Hello! I love pickles.")
        for who, browser, venue in (("a guest of the same venue", carl, self.bar), ("a guest of another venue", dora, cafe), ("the manager", self.ann, self.bar),
                                    ("the same guest at another venue", bob, cafe), ("his namesake elsewhere", their_bob, their_bar)):
            with self.subTest(who):
                before = len(self.model.requests)
                self.assertEqual(browser.say(venue, "A sandwich, please.", "fresh"), "A sandwich with what, please?")
                self.assertNotIn("pickles", json.dumps(self.model.requests[before:]))
                remembered = self.ok(browser.get(f"/venues/{venue}/memory", about="pickles"))
                self.assertNotIn("love", json.dumps(remembered))
        self.assertIn("extra pickles", bob.say(self.bar, "A sandwich, please.", "fresh"))

    def test_what_a_venue_knows_stays_in_the_venue(self):
        cafe = self.ok(self.ann.post("/venues", {"name": "The Café"}), 201)["id"]
        bob, dora = self.member("bob", self.bar), self.member("dora", cafe)
        other = self.browser()
        self.ok(other.post("/orgs", {"org": f"{self.org} two", "name": "ann", "password": PASSWORD}), 201)
        theirs = self.ok(other.post("/venues", {"name": "The Bar"}), 201)["id"]
        self.ok(self.ann.post(f"/venues/{self.bar}/notes", {"text": "On the roof there are fireworks on Friday."}), 201)
        self.assertIn("fireworks", bob.say(self.bar, "What happens on the roof on Friday?"))
        for browser, venue in ((dora, cafe), (other, theirs), (self.ann, cafe)):
            before = len(self.model.requests)
            self.assertNotIn("fireworks", browser.say(venue, "What happens on the roof on Friday?"))
            self.assertNotIn("fireworks", json.dumps(self.model.requests[before:]))
            self.assertNotIn("fireworks", json.dumps(self.ok(browser.get(f"/venues/{venue}/memory", about="fireworks on the roof"))))
        for browser, venue in ((dora, self.bar), (other, self.bar), (bob, cafe), (bob, "0" * 32), (bob, "x")):
            for answer in (browser.post(f"/venues/{venue}/chat", {"text": "Hi"}), browser.get(f"/venues/{venue}/memory"), browser.get(f"/venues/{venue}/bookings")):
                self.refused(answer, 404)
        self.refused(other.post(f"/venues/{self.bar}/notes", {"text": "x"}), 404)

    def test_every_memory_is_read_as_its_owner(self):
        """Sid's own log knows: nothing about a person is asked for with the organisation's key alone, nor with an operator's."""
        known = {t["name"] for t in self.api.all("/tenants")}
        bob = self.member("bob", self.bar)
        bob.say(self.bar, "Hello! I love pickles.")
        self.ok(bob.get(f"/venues/{self.bar}/memory", about="pickles"))
        self.ok(self.ann.post(f"/venues/{self.bar}/notes", {"text": "On the roof there are fireworks on Friday."}), 201)
        tenant, = {t["name"] for t in self.api.all("/tenants")} - known
        inside = self.api.acting(tenant=tenant)
        # It is written beside the requests; our own looks into it are in it, too.
        logged = lambda: list(inside.all("/audit"))
        until("the note is in the log", lambda: any(e["operation"] == "create_passage" for e in logged()), every_s=0.1)
        log = [e for e in logged() if e["operation"] not in ("create_key", "use_secret", "list_audit")]
        self.assertLessEqual({"send_message", "list_blocks", "search_memory", "put_secret", "create_passage"}, {e["operation"] for e in log})
        for entry in log:
            self.assertIsNotNone(entry["user"], entry)
            self.assertIn(entry["subject"], (None, entry["user"]), entry)
        keys = {e["key"] for e in log}
        self.assertEqual(len(keys), 1, "one key of the organisation")
        key, = (k for k in inside.all("/keys") if k["id"] in keys)
        self.assertNotIn("keys-manage", key["scopes"])

    def test_the_assistant_books_exactly_once(self):
        bob, carl = self.member("bob", self.bar), self.member("carl", self.bar)
        # The network delivers each call twice, and the page sends its request twice.
        self.wire.times = 2
        first = list(bob.events(self.bar, "Book 2030-05-01 for 4", Idempotency_Key="once"))
        again = list(bob.events(self.bar, "Book 2030-05-01 for 4", Idempotency_Key="once"))
        self.assertEqual(first, again)
        self.assertIn("action", [name for _, name, _ in first])
        booking, = self.bookings(bob, self.bar)
        self.assertEqual({k: booking[k] for k in ("day", "guests", "cancelled")}, {"day": "2030-05-01", "guests": 4, "cancelled": False})
        self.assertEqual(len(self.wire.passed), 1, "Sid called once")
        self.assertEqual(self.bookings(carl, self.bar), [], "it is Bob's")
        # Another wish is another booking; the other guest's cannot be cancelled; one's own can.
        bob.say(self.bar, "Book 2030-05-02 for 2")
        self.assertEqual(len(self.bookings(bob, self.bar)), 2)
        self.assertIn("404", carl.say(self.bar, f"Cancel {booking['id']}"))
        bob.say(self.bar, f"Cancel {booking['id']}")
        self.assertEqual([b["cancelled"] for b in self.bookings(bob, self.bar)], [True, False])
        self.assertIn("2030-05-02", bob.say(self.bar, "What do I have?"))
        self.assertEqual([b["guests"] for b in self.bookings(self.ann, self.bar)], [4, 2], "the manager sees all")

    def test_calls_that_cannot_be_are_told_to_the_model_and_change_nothing(self):
        bob = self.member("bob", self.bar)
        for wish, word in (("Book 2030-05-01 for 400", "free"), ("Book someday for 4", "day"), ("Book 2030-05-01 for 0", "guests"), ("Cancel 99999", "404")):
            self.assertIn(word, bob.say(self.bar, wish), wish)
        self.assertEqual(self.bookings(bob, self.bar), [])

    def test_the_functions_are_for_sid_alone(self):
        cafe = self.ok(self.ann.post("/venues", {"name": "The Café"}), 201)["id"]
        bob = self.member("bob", self.bar)
        bob.say(self.bar, "Book 2030-05-01 for 4")
        (path, headers, body), = self.wire.passed
        post = lambda path=path, body=body, **more: httpx.post(self.app.url + path, json=body, headers={**headers, **more})
        self.ok(post(), 200)
        self.refused(post(body={**body, "guests": 5}), 422)
        for bad in ("", "Bearer x", headers["authorization"][:-1] + "0x"[headers["authorization"][-1] == "0"], f"Bearer {self.server.key}"):
            self.refused(post(authorization=bad), 401)
        self.refused(post(path=path.replace(self.bar, cafe)), 404)
        self.assertEqual(len(self.bookings(bob, self.bar)), 1)
        self.refused(bob.post(path, body), 401)
        # No key and no token is in anything that a browser or the model got.
        token = headers["authorization"].removeprefix("Bearer ")
        seen = "".join(self.ann.seen + bob.seen) + json.dumps(self.model.requests)
        self.assertNotIn(token, seen)
        self.assertIsNone(re.search(r"sid_[A-Za-z0-9_-]{16,}", seen))

    def test_the_answer_comes_while_the_model_speaks(self):
        bob = self.member("bob", self.bar)
        self.model.pause_s, times, pieces = 0.2, [], []
        for _, name, data in bob.events(self.bar, "A sandwich, please."):
            if name == "text":
                times.append(time.time())
                pieces.append(data["text"])
        self.assertEqual("".join(pieces), "A sandwich with what, please?")
        self.assertGreaterEqual(len(pieces), 2)
        self.assertGreater(times[-1] - times[0], 0.15, "not all at the end")

    def test_a_page_takes_up_the_stream_where_it_lost_it(self):
        bob = self.member("bob", self.bar)
        whole = list(bob.events(self.bar, "A sandwich, please.", Idempotency_Key="mine"))
        rest = list(bob.events(self.bar, "A sandwich, please.", Idempotency_Key="mine", Last_Event_ID=str(whole[1][0])))
        self.assertEqual(rest, whole[2:])
        # The key is the guest's own: the same of another guest is another message.
        carl, before = self.member("carl", self.bar), len(self.model.requests)
        carl.say(self.bar, "A sandwich, please.", Idempotency_Key="mine")
        self.assertEqual(len(self.model.requests), before + 1)

    def test_many_begin_at_once(self):
        """Nothing of the organisation is in Sid yet; its tenant, key, team, functions and agent are made once for all."""
        guests = [self.member(f"guest{n}", self.bar) for n in range(4)]
        talks = [(guest, text) for guest in guests for text in ("Hello! I love pickles.", "Book 2030-05-01 for 1")]
        with ThreadPoolExecutor(len(talks)) as pool:
            said = list(pool.map(lambda talk: Browser.say(talk[0].again(), self.bar, talk[1], talk[1][:4]), talks))
        self.assertTrue(all(s.startswith("Done") for s in said), said)
        self.assertEqual([len(self.bookings(guest, self.bar)) for guest in guests], [1] * 4)

    def test_forget_me(self):
        known = {t["name"] for t in self.api.all("/tenants")}
        bob, carl = self.member("bob", self.bar), self.member("carl", self.bar)
        bob.say(self.bar, "Hello! I love pickles.", "monday")
        bob.say(self.bar, "Book 2030-05-01 for 4", "monday")
        carl.say(self.bar, "Hello! I love mustard.", "monday")
        old = self.wire.passed[-1]
        tenant, = {t["name"] for t in self.api.all("/tenants")} - known
        held = lambda: self.api.acting(tenant=tenant).raw("GET", "/export")[2].decode()
        self.assertIn("pickles", held())
        for _ in range(2):
            self.ok(bob.ask("DELETE", "/me/memory"), 204)
        self.assertNotIn("pickles", held())
        before = len(self.model.requests)
        self.assertEqual(bob.say(self.bar, "A sandwich, please.", "monday"), "A sandwich with what, please?")
        self.assertNotIn("pickles", json.dumps(self.model.requests[before:]))
        self.assertEqual(self.ok(bob.get(f"/venues/{self.bar}/memory", about="pickles"))["notes"], [])
        self.assertIn("extra mustard", carl.say(self.bar, "A sandwich, please.", "friday"), "others are not forgotten")
        # He is still a guest with bookings, makes new memories, and the token of his former self is over.
        self.assertEqual(len(self.bookings(bob, self.bar)), 1)
        self.assertEqual(httpx.post(self.app.url + old[0], json=old[2], headers=old[1]).status_code, 401)
        bob.say(self.bar, "Book 2030-05-02 for 2")
        self.assertEqual(len(self.bookings(bob, self.bar)), 2)

    def test_wrong_input_is_refused_with_a_reason(self):
        bob, chat = self.member("bob", self.bar), f"/venues/{self.bar}/chat"
        for body in ({}, {"text": ""}, {"text": 5}, {"text": "x" * 20_001}, {"text": "Hi", "conversation": "a b"}, {"text": "Hi", "conversation": "x" * 61}, {"text": "Hi", "user": "carl"}, [], "Hi"):
            self.refused(bob.post(chat, body), 422)
        for body in ({"name": ""}, {"name": "x" * 81}, {}):
            self.refused(self.ann.post("/venues", body), 422)
        self.refused(self.ann.post("/people", {"name": "eve", "password": "short", "venues": []}), 422)
        self.refused(self.ann.post("/people", {"name": "eve", "password": PASSWORD, "venues": ["nowhere"]}), 404)
        self.refused(bob.post(chat, {"text": "Hi"}, Last_Event_ID="x"), 422)
        token = {"X-CSRFToken": bob.http.cookies.get("csrftoken") or ""}
        self.refused(bob.http.post(chat, content=b"{", headers={"content-type": "application/json", **token}), 422)
        # A form of another site must not count as a request of this one's page.
        self.assertIn(bob.http.post(chat, data={"text": "Hi"}).status_code, (403, 415, 422))
        self.refused(bob.post(chat, {"text": "Nothing \0 here."}), 422)
        self.assertEqual(bob.say(self.bar, "A sandwich <b>&amp; \r\n\U0001f952</b>, please."), "A sandwich with what, please?")

    def test_sid_is_killed_in_the_middle_of_an_answer(self):
        bob = self.member("bob", self.bar)
        bob.say(self.bar, "Hello! I love pickles.")
        self.model.pause_s, events = 0.5, []
        for event in bob.events(self.bar, "A sandwich, please.", "later"):
            events.append(event)
            if event[1] == "text" and self.model.pause_s:
                self.server.kill()
                self.server.start()
                self.model.pause_s = 0
        self.assertEqual(together(events), "A sandwich with extra pickles, as always.")
        self.assertEqual(len({number for number, _, _ in events}), len(events), "nothing comes twice")

    def test_sid_is_killed_when_a_booking_is_made_and_it_has_not_heard_of_it(self):
        bob = self.member("bob", self.bar)
        bob.say(self.bar, "Hello!")

        def crash():
            self.server.kill()
            self.server.start()
        self.wire.then = crash
        self.assertIn("2030-05-01", bob.say(self.bar, "Book 2030-05-01 for 4"))
        first, second = (headers["idempotency-key"] for _, headers, _ in self.wire.passed)
        self.assertEqual(first, second, "Sid asks again, and says that it is the same")
        self.assertEqual(len(self.bookings(bob, self.bar)), 1)

    def test_while_sid_is_away_the_application_says_so(self):
        bob = self.member("bob", self.bar)
        self.server.kill()
        try:
            answer = bob.post(f"/venues/{self.bar}/chat", {"text": "A sandwich, please."})
            self.refused(answer, 503)
            self.assertTrue(answer.headers["retry-after"])
            self.assertEqual(self.bookings(bob, self.bar), [], "what is the application's own works on")
        finally:
            self.server.start()
        self.assertIn("sandwich", bob.say(self.bar, "A sandwich, please."))

    def test_the_application_is_killed_in_the_middle_of_a_booking(self):
        bob = self.member("bob", self.bar)
        bob.say(self.bar, "Hello!")
        self.model.pause_s = 0.5
        with self.assertRaises((httpx.TransportError, AssertionError)):
            for _, name, _ in bob.events(self.bar, "Book 2030-05-01 for 4", Idempotency_Key="once"):
                if name == "action":
                    self.app.kill()
        self.model.pause_s = 0
        self.app.start()
        bob.say(self.bar, "Book 2030-05-01 for 4", Idempotency_Key="once")
        self.assertLessEqual(len(self.bookings(bob, self.bar)), 1)
        self.assertTrue(self.ok(bob.get("/me"))["name"], "still signed in")


class FastApi(Applications):
    application = "fastapi"


class Django(Applications):
    application = "django"


# The tests themselves are not one more application.
del Applications
