"""The public MCP conformance suite, all its scenarios for servers, against /mcp with the suite's fixture tools beside Sid's own.

The server is the example `mcp_fixtures` of sid-server: Sid's routes, guard and settings; the fixtures are in no other program. The suite can send no
key, so the example gives one to requests without.
"""
import json, pathlib, re, tempfile, unittest

import npm
from harness import paths
from harness.server import Server

SUITE = "@modelcontextprotocol/conformance/dist/index.js"

# Every scenario with what it checks, where that is not one thing of the same name.
SCENARIOS = {
    **{name: (name,) for name in (
        "server-initialize", "ping", "logging-set-level", "completion-complete", "tools-list", "tools-call-simple-text", "tools-call-image", "tools-call-audio",
        "tools-call-embedded-resource", "tools-call-mixed-content", "tools-call-error", "tools-call-with-logging", "tools-call-with-progress",
        "tools-call-sampling", "tools-call-elicitation", "resources-list", "resources-read-text", "resources-read-binary", "resources-templates-read",
        "resources-subscribe", "resources-unsubscribe", "prompts-list", "prompts-get-simple", "prompts-get-with-args", "prompts-get-embedded-resource",
        "prompts-get-with-image")},
    "json-schema-2020-12": tuple(f"json-schema-2020-12-{of}" for of in ("tool-found", "$schema", "$defs", "additionalProperties")),
    "elicitation-sep1034-defaults": tuple(f"elicitation-sep1034-{of}-default" for of in ("string", "integer", "number", "enum", "boolean")),
    "elicitation-sep1330-enums": tuple(f"elicitation-sep1330-{of}" for of in (
        "untitled-single", "titled-single", "legacy-enumnames", "untitled-multi", "titled-multi")),
    "server-sse-polling": ("server-sse-priming-event", "server-sse-retry-field", "server-sse-disconnect-resume"),
    "server-sse-multiple-streams": ("server-accepts-multiple-post-streams", "server-sse-streams-functional"),
    "dns-rebinding-protection": ("localhost-host-rebinding-rejected", "localhost-host-valid-accepted"),
}

# Sid serves every request by itself, so that any replica answers it. What the server asks while it answers has nowhere to be answered (the last test), and
# the suite's scenarios about streams begin with a session. Sid's own tools ask nothing. With sessions, the same checks pass.
UNASKED = "FAILURE: Server did not request {} from client"
WITHOUT_SESSIONS = {
    "tools-call-sampling": {"tools-call-sampling": UNASKED.format("sampling")},
    "tools-call-elicitation": {"tools-call-elicitation": UNASKED.format("elicitation")},
    "elicitation-sep1034-defaults": {"elicitation-sep1034-general": UNASKED.format("elicitation")},
    "elicitation-sep1330-enums": {"elicitation-sep1330-general": UNASKED.format("elicitation")},
    "server-sse-polling": {"server-sse-polling-session": "WARNING"},
    "server-sse-multiple-streams": {"server-sse-multiple-streams-session": "WARNING"},
}

ALL_PASS = {scenario: dict.fromkeys(checks, "SUCCESS") for scenario, checks in SCENARIOS.items()}


class Conformance(unittest.TestCase):
    maxDiff = None

    def server(self, *arguments):
        server = Server(store="in-process", program=paths.example("mcp_fixtures"), arguments=arguments)
        # One of the suite's requests comes from a page that this server might serve, and must be let in.
        server.config["mcp"] = {"origins": server.url}
        self.addCleanup(server.remove)
        return server.start()

    def run_suite(self, server, expected):
        """Every scenario and every check must be there, and come out as expected; what is for information only does not count."""
        found = {}
        with tempfile.TemporaryDirectory(prefix="sid-conformance-") as folder:
            went = npm.run(SUITE, "server", "--url", server.url + "/mcp", "--suite", "all", "--output-dir", folder, home=folder, limit_s=600)
            for file in sorted(pathlib.Path(folder).glob("server-*/checks.json")):
                scenario = re.fullmatch(r"server-(.+?)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name).group(1)
                of = found[scenario] = {}
                for check in json.loads(file.read_text()):
                    if check["status"] != "INFO":
                        said = ": ".join(filter(None, (check["status"], check.get("errorMessage"))))
                        of[check["id"]] = said
                        as_it_must = said != "SUCCESS" and expected.get(scenario, {}).get(check["id"]) == said
                        paths.say(f"    {scenario} / {check['id']}: {said}{' (as it must without sessions)' if as_it_must else ''}")
        everything = {(scenario, check) for side in (found, expected) for scenario, of in side.items() for check in of}
        both = {at: (found.get(at[0], {}).get(at[1]), expected.get(at[0], {}).get(at[1])) for at in everything}
        self.assertEqual({at: (is_, should) for at, (is_, should) in both.items() if is_ != should}, {}, "what is, and what should be")
        return went

    def test_every_check_passes_with_sessions(self):
        went = self.run_suite(self.server("--sessions"), ALL_PASS)
        self.assertEqual(went.returncode, 0, went.stderr)

    def test_without_sessions_every_check_passes_but_for_those_that_need_one(self):
        self.run_suite(self.server(), {**ALL_PASS, **WITHOUT_SESSIONS})

    def test_without_sessions_an_answer_to_a_question_of_the_server_is_refused(self):
        answer = {"jsonrpc": "2.0", "id": 0, "result": {"action": "accept", "content": {}}}
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
        status, _, said = self.server().api.raw("POST", "/mcp", answer, headers)
        self.assertEqual(status, 400)
        self.assertIn(b"does not accept JSON-RPC responses", said)

    def test_the_server_proper_has_no_fixture(self):
        proper, with_fixtures = paths.binary("sid-server").read_bytes(), paths.example("mcp_fixtures").read_bytes()
        for tool in (b"test_simple_text", b"json_schema_2020_12_tool"):
            self.assertTrue(tool not in proper and tool in with_fixtures, tool)
