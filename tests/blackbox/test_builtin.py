"""Tools that come with the server: calendar, calculator, pages."""
import re

import test_tools
from harness.case import Case
from harness.service import Service


class Builtin(Case):
    config = {"tools": {"open": ["127.0.0.1:*"], "builtin": {"calendar": True, "calculator": True, "read_page": True}}}
    ask = test_tools.Tools.ask

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann",))

    def test_what_an_assistant_is_asked(self):
        self.assertEqual(self.ask("calculator", {"expression": "0.1 + 0.2"}), "0.3")
        self.assertIn("Tuesday 2026-11-24", self.ask("find_weekday", {"weekday": "Tuesday", "from": "2026-11-22"}))
        self.assertRegex(self.ask("current_time", {}), r"^[A-Z][a-z]+day \d{4}-\d\d-\d\d")
        self.assertIn("32 days", self.ask("date_difference", {"from": "2026-11-22", "to": "2026-12-24"}))
        with Service() as page:
            page.answer = lambda method, path: (200, "word " * 30_000)
            shown = self.ask("read_page", {"url": page.url})
            self.assertLess(len(shown), 12_000, "a prompt shows the beginning")
            first = self.kept()
            start = int(re.search(r"start=(\d+)", first).group(1))
            self.assertGreater(len(first), len(shown))
            self.ask("read_page", {"url": page.url, "start": start})
            self.assertIn(f"characters {start} to", self.kept())

    def kept(self):
        """The newest result as its message keeps it, with how to read on."""
        messages = self.inside.get(f"/conversations/{self.talk(self.inside)}/messages?order=desc&limit=10")["items"]
        return next(m["text"] for m in messages if m["role"] == "tool")


class Off(Case):
    def test_nobody_has_them_unasked(self):
        inside = self.tenant(users=("ann",))
        inside.post(f"/conversations/{self.talk(inside)}/messages", {"text": "Hi"})
        names = [t["function"]["name"] for t in self.model.requests[-1].get("tools", [])]
        self.assertFalse({"calculator", "current_time", "read_page"} & set(names), names)
