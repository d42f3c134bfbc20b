"""Who somebody is: teams that are parts of others, roles in them, leaving, an agent that serves two teams. The prompt is what tells."""
from harness.case import Case


class Relations(Case):
    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "bob", "cy"), agents=("helper", "other"))
        for name, parent in (("crew", None), ("kitchen", "@crew"), ("garden", None)):
            self.inside.post("/teams", {"name": name, **({"parent": parent} if parent else {})})
            self.keep(f"@{name}", f"The {name} meets in room {name.upper()}.")

    def keep(self, team, text):
        self.inside.post("/passages", {"owner": {"type": "team", "team": team}, "text": text})

    def join(self, team, user, role="member"):
        self.inside.put(f"/teams/@{team}/members/@{user}", {"role": role})

    def ask(self, user, agent="helper", text="In which room does the team meet?"):
        """-> the prompt of a turn, as one text."""
        before = len(self.model.requests)
        self.inside.post(f"/conversations/{self.talk(self.inside, user, agent)}/messages", {"text": text})
        return "\n".join(m["content"] for m in self.model.requests[before]["messages"] if m.get("content"))

    def rooms(self, prompt):
        return {name for name in ("CREW", "KITCHEN", "GARDEN") if f"room {name}" in prompt}

    def test_an_agent_knows_who_speaks_and_as_what(self):
        self.inside.patch("/agents/@helper", {"teams": ["@kitchen", "@garden"]})
        self.join("kitchen", "ann", "lead")
        self.join("garden", "ann")
        self.join("crew", "bob")
        # Who is in a part of a team is in the whole, but leads only the part.
        self.assertIn("talking with ann (teams: crew; kitchen, part of crew, as its lead; garden).", self.ask("ann"))
        self.assertIn("talking with bob (teams: crew).", self.ask("bob"))
        self.assertIn("talking with cy. ", self.ask("cy"))
        # An agent is not told of teams that it may not read.
        self.assertIn("talking with ann. ", self.ask("ann", "other"))
        # A role that changes is known in the next turn.
        self.join("kitchen", "ann")
        self.assertIn("(teams: crew; kitchen, part of crew; garden).", self.ask("ann"))

    def test_memory_follows_the_teams_of_who_speaks(self):
        self.inside.patch("/agents/@helper", {"teams": ["@kitchen", "@garden"]})
        self.join("kitchen", "ann")
        self.join("garden", "bob")
        self.join("garden", "cy")
        self.join("crew", "cy")
        # One agent that serves several teams: each human brings their own, and what those are parts of.
        self.assertEqual(self.rooms(self.ask("ann")), {"KITCHEN", "CREW"})
        self.assertEqual(self.rooms(self.ask("bob")), {"GARDEN"})
        self.assertEqual(self.rooms(self.ask("cy")), {"GARDEN", "CREW"})
        self.assertEqual(self.rooms(self.ask("ann", "other")), set())

    def test_who_leaves_a_team_loses_its_memory_and_keeps_what_was_said(self):
        self.inside.patch("/agents/@helper", {"teams": ["@kitchen"]})
        self.join("kitchen", "ann")
        self.inside.post("/blocks", {"owner": {"type": "team", "team": "@kitchen"}, "label": "profile", "value": "We cook at KITCHEN-PROFILE."})
        first = self.ask("ann", text="In which room do we meet? My locker is 88.")
        self.assertIn("KITCHEN-PROFILE", first)
        self.inside.delete("/teams/@kitchen/members/@ann")
        after = self.ask("ann", text="In which room does the team meet? And my locker?")
        self.assertEqual(self.rooms(after), set())
        self.assertNotIn("KITCHEN-PROFILE", after)
        self.assertIn("talking with ann. ", after)
        self.assertIn("My locker is 88", after)
        self.join("kitchen", "ann")
        self.assertEqual(self.rooms(self.ask("ann")), {"KITCHEN", "CREW"})
