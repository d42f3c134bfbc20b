"""The Rust application as a program on a terminal, twice over one folder: its tool is called, and the second start knows what the first was told."""
import json, pathlib, shutil, subprocess, tempfile, unittest

from harness import paths
from harness.fake_model import FakeModel, last_user
from harness.server import environment


class Bakery(unittest.TestCase):
    def setUp(self):
        self.model = self.enterContext(FakeModel())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sid-bakery-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.model.answer = self.baker

    def baker(self, request):
        said = str(last_user(request)).rpartition("</context>")[2]
        if request["messages"][-1]["role"] == "tool":
            return f"Done: {request['messages'][-1]['content']}"
        if "I love pickles" in said:
            return {"tool": "core_memory_append", "arguments": {"label": "guest", "content": "Loves pickles."}}
        return {"tool": "order", "arguments": {"bread": "rye", "toppings": ["pickles"] if "pickles" in json.dumps(request["messages"]) else []}}

    def chat(self, *lines, conversation):
        command = [str(paths.binary("example-bakery")), self.model.url, "fake", "ann", conversation]
        done = subprocess.run(command, input="\n".join(lines) + "\n\n", cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_second_start_knows_what_the_first_was_told_and_orders_it(self):
        self.assertIn("Done", self.chat("I love pickles.", conversation="monday"))
        said = self.chat("A sandwich, please.", conversation="friday")
        self.assertIn("Order 1 of today: Rye with pickles.", said)
        orders = json.loads((self.folder / "bakery-data" / "orders.json").read_text())
        self.assertEqual(list(orders.values()), [{"bread": "rye", "toppings": ["pickles"]}])
        self.assertIn("Order 2", self.chat("Another sandwich with pickles, please.", conversation="friday"))

    def test_what_the_tool_refuses_is_told_to_the_model(self):
        self.assertIn("What should go on it?", self.chat("A sandwich, please.", conversation="monday"))
        self.assertFalse((self.folder / "bakery-data" / "orders.json").exists())
