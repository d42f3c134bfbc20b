"""Agents that go on by themselves, over REST: heartbeats, sleep, quiet hours, caps."""
import datetime

from harness.api import user_key
from harness.case import Case
from harness.waiting import until


def shown(minutes):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)).strftime("%H:%M")


class Perpetual(Case):
    config = {"engine": {"shortest_timer_ms": 200}}

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "bob"))
        self.model.answer = lambda request: "NO_REPLY"

    def beat(self, user="@ann", **more):
        return self.inside.put("/agents/@helper/heartrate", {"user": user, "every_ms": 300, **more})

    def timer(self, id):
        return self.inside.get(f"/timers/{id}")

    def test_an_agent_wakes_by_itself_says_nothing_and_goes_on_after_a_kill(self):
        talk = self.talk(self.inside)
        beat = self.beat(conversation=talk)
        self.assertEqual((beat["kind"], beat["name"], beat["made_by"]), ("heartbeat", "heartbeat", "api"))
        until("it wakes", lambda: self.timer(beat["id"])["fired"] >= 2)
        self.server.kill()
        self.server.start()
        fired = self.timer(beat["id"])["fired"]
        until("it goes on", lambda: self.timer(beat["id"])["fired"] > fired)
        self.inside.patch(f"/timers/{beat['id']}", {"paused": True})
        runs = self.inside.all(f"/conversations/{talk}/runs")
        self.assertEqual({r["priority"] for r in runs}, {"heartbeat"})
        told = self.inside.all(f"/conversations/{talk}/messages")
        self.assertEqual({m["role"] for m in told}, {"note"}, "what it did not want to say is nobody's to read")

    def test_quiet_hours_hold_back_heartbeats_and_no_user(self):
        self.inside.patch("/users/@ann", {"quiet_hours": f"{shown(-60)}-{shown(60)}", "timezone": "UTC"})
        beat = self.beat()
        until("it waits", lambda: self.timer(beat["id"])["held"] is not None)
        held = self.timer(beat["id"])
        self.assertEqual((held["held"]["by"], held["fired"]), ("quiet_hours", 0))
        self.assertIsNotNone(held["held"]["until"])
        talk = self.talk(self.inside)
        ann = self.api.acting(key=user_key(self.api, self.inside.tenant, "ann"))
        run = ann.post(f"/conversations/{talk}/messages", {"text": "Are you up?"})["run"]["id"]
        until("who writes is answered", lambda: ann.get(f"/runs/{run}")["status"] == "completed")
        self.assertEqual(ann.get(f"/runs/{run}")["priority"], "user")
        for wrong in ("22-7", "25:00-07:00", ""):
            self.refused(400, self.inside.patch, "/users/@ann", {"quiet_hours": wrong})

    def test_caps_leave_heartbeats_out_with_a_record(self):
        self.inside.patch("/agents/@helper", {"caps": {"runs_per_day": 1}})
        beat = self.beat()
        until("one is enough", lambda: self.timer(beat["id"])["skipped"] >= 1)
        capped = self.timer(beat["id"])
        self.assertEqual((capped["fired"], capped["held"]["by"], capped["held"]["until"]), (1, "agent_runs_per_day", None))

    def test_people_set_their_own_heartrate_and_nobody_elses(self):
        ann, bob = (self.api.acting(key=user_key(self.api, self.inside.tenant, name)) for name in ("ann", "bob"))
        beat = ann.put("/agents/@helper/heartrate", {"every_ms": 3_600_000, "only_when_open": True})
        self.assertEqual((beat["made_by"], beat["only_when_open"]), ("user", True))
        self.assertEqual(bob.get("/timers")["items"], [])
        self.refused(404, bob.put, "/agents/@helper/heartrate", {"user": "@ann", "every_ms": 3_600_000})
        self.refused((400, 422), ann.put, "/agents/@helper/heartrate", {"every_ms": 5})
