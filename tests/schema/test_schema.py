"""Requests that schemathesis makes from the OpenAPI document, for a user, a tenant's application and an operator: no 5xx, answers as documented,
none that succeeds without a key. Streams and the backup are left out: they have suites of their own."""
import base64, os, re, subprocess, sys

from harness.api import make_tenant, user_key
from harness.case import Case

CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance,ignored_auth"
EXAMPLES = os.environ.get("SID_SCHEMA_EXAMPLES", "30")


class Schema(Case):
    config = {"secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}
    requests = {}

    def play(self, key):
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{self.server.url}/openapi.json", "--url", self.server.url, "-H", f"Authorization: Bearer {key}",
             "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--checks", CHECKS, "--workers", "2", "--request-timeout", "20",
             "--suppress-health-check", "all", "--exclude-path-regex", "/backup|/events|/chat/completions", "--no-color"],
            capture_output=True, text=True, timeout=600, cwd=self.server.folder)
        found = re.search(r"(\d+) generated", done.stdout)
        self.assertTrue(found, done.stdout[-4000:] + done.stderr[-2000:])
        begins = [at for at in map(done.stdout.find, ("= ERRORS =", "= FAILURES =")) if at >= 0]
        said = done.stdout[min(begins, default=-8000):][:8000]
        self.assertEqual(done.returncode, 0, said)
        self.requests[self.id()] = int(found.group(1))
        print(f"{self.id().split('.')[-1]}: {found.group(1)} requests")

    def test_1_a_user(self):
        make_tenant(self.api, "acme", ["ann"], ["helper"])
        self.play(user_key(self.api, "acme", "ann"))

    def test_2_a_tenants_application(self):
        inside = make_tenant(self.api, "umbrella", ["ann"], ["helper"])
        tenant = next(t["id"] for t in self.api.all("/tenants") if t["name"] == "umbrella")
        self.play(inside.post("/keys", {"name": "app", "role": {"type": "tenant", "tenant": tenant}})["key"])

    def test_3_an_operator(self):
        self.play(self.server.key)

    def test_4_all_in_all(self):
        self.assertEqual(len(self.requests), 3)
        self.assertGreaterEqual(sum(self.requests.values()), 10_000)
