"""Timers over REST and the CLI, and a server that is killed while they are due: each is answered once."""
import datetime

from harness.api import user_key
from harness.case import Case
from harness.waiting import until


def ahead(seconds):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat()


class Timers(Case):
    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "bob"))
        self.model.answer = lambda request: "Understood."

    def make(self, api=None, **more):
        body = {"name": "plants", "stimulus": "Water the plants.", "when": {"type": "at", "at": ahead(3600)}, **more}
        return (api or self.inside).post("/timers", body)

    def test_a_kill_while_timers_are_due_neither_loses_nor_doubles_one(self):
        talk = self.talk(self.inside)
        timers = [self.make(conversation=talk, name=f"t{i}", when={"type": "at", "at": ahead(0.5 + i * 0.1)}) for i in range(40)]
        fired = lambda: [self.inside.get(f"/timers/{t['id']}") for t in timers]
        for part in (5, 20):
            until("some are answered", lambda: sum(t["fired"] for t in fired()) >= part)
            self.server.kill()
            self.server.start()
        until("all are answered", lambda: all(t["state"] == "done" for t in fired()))
        done = fired()
        self.assertEqual({t["fired"] for t in done}, {1})
        runs = lambda: self.inside.all(f"/conversations/{talk}/runs")
        until("all runs end", lambda: all(r["status"] not in ("queued", "running") for r in runs()))
        self.assertEqual(sorted(r["id"] for r in runs()), sorted(t["last_run"] for t in done), "each has one run, and there are no others")
        notes = [m["text"] for m in self.inside.all(f"/conversations/{talk}/messages") if m["role"] == "note"]
        self.assertEqual(sorted(n.split('"')[1] for n in notes), sorted(t["name"] for t in timers))

    def test_people_have_timers_in_their_own_conversations(self):
        ann, bob = (self.api.acting(key=user_key(self.api, self.inside.tenant, name)) for name in ("ann", "bob"))
        talk = self.talk(self.inside)
        made = self.make(ann, conversation=talk)
        self.assertEqual((made["made_by"], made["state"], made["conversation"]), ("user", "active", talk))
        self.assertEqual([t["id"] for t in ann.get("/timers")["items"]], [made["id"]])
        self.assertEqual(bob.get("/timers")["items"], [])
        for call in (lambda: bob.get(f"/timers/{made['id']}"), lambda: bob.delete(f"/timers/{made['id']}"), lambda: bob.patch(f"/timers/{made['id']}", {"paused": True}),
                     lambda: self.make(bob, conversation=talk), lambda: bob.get("/timers/tmr_" + "0" * 26)):
            self.refused(404, call)
        changed = ann.patch(f"/timers/{made['id']}", {"paused": True, "name": "ferns"})
        self.assertEqual((changed["state"], changed["next_due"], changed["name"]), ("paused", None, "ferns"))
        self.refused(412, ann.patch, f"/timers/{made['id']}", {"paused": False}, headers={"if-match": '"1"'})
        self.assertEqual(ann.patch(f"/timers/{made['id']}", {"paused": False})["next_due"], made["next_due"])
        ann.delete(f"/timers/{made['id']}")
        self.refused(404, ann.get, f"/timers/{made['id']}")

    def test_a_schedule_is_in_the_users_zone(self):
        self.inside.patch("/users/@ann", {"timezone": "Asia/Kolkata"})
        cron = {"type": "cron", "expression": "30 7 * * *"}
        made = self.make(agent="@helper", user="@ann", when=cron)
        self.assertEqual((made["when"]["timezone"], made["next_due"][11:19]), ("Asia/Kolkata", "02:00:00"))
        self.assertEqual(self.make(agent="@helper", when=cron)["when"]["timezone"], "UTC")
        for wrong in ({"type": "cron", "expression": "30 7 * *"}, {"type": "cron", "expression": "30 7 * * *", "timezone": "Mars/Olympus"}, {"type": "every", "every_ms": 5},
                      {"type": "at", "at": "2020-01-01T00:00:00Z"}):
            self.refused((400, 422), self.make, agent="@helper", when=wrong)
        self.refused(400, self.make)
        key = {"idempotency-key": "k1"}
        body = {"agent": "@helper", "name": "once", "stimulus": "x", "when": cron}
        self.assertEqual(self.inside.post("/timers", body, headers=key)["id"], self.inside.post("/timers", body, headers=key)["id"])
