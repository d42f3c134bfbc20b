"""Nobody's words in anybody else's answer: random operations of many callers, over every door, in a world where each string carries its owner's
canary. Operations come from the OpenAPI document: one that has no rule fails the test.

`SID_LEAK_OPERATIONS` says how many (20,000 unless it is set), `SID_LEAK_SEED` which.
"""
import os

from play import Play
from world import Rules, canary

OPERATIONS = int(os.environ.get("SID_LEAK_OPERATIONS", "20000"))


class Leaks(Play):
    def test_nobody_sees_anybody_elses_words(self):
        missing = [o for o, _, _ in self.operations if not hasattr(Rules, o)]
        self.assertEqual(missing, [], "operations without a rule in tests/leaks: whose data do they touch?")
        self.play(OPERATIONS)

    def test_the_checker_sees_a_leak(self):
        bob = next(c for c in self.callers if (c.tenant, c.user) == (0, 1))
        for tenant, user in ((0, 2), (1, None), (1, 1)):
            with self.assertRaises(AssertionError):
                self.check(bob, "planted", f"x {canary(tenant, user)} y".encode())
        self.check(bob, "own", f"{canary(0, 1)} {canary(0)}".encode())
