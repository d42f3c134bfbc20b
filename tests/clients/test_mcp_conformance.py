"""The public MCP conformance suite, whole, against /mcp with the suite's fixture tools beside Sid's own.

The server is the example `mcp_fixtures` of sid-server: Sid's routes, guard and settings; the fixtures are in no other program. The suite can send no
key, so the example gives one to requests without.
"""
import http.client, json, pathlib, re, tempfile, unittest

import npm
from harness import paths
from harness.server import Server

SUITE = "@modelcontextprotocol/conformance/dist/index.js"

# What a scenario checks; its own name where that is not written.
CHECKS = {
    "server-initialize": (),
}


class Conformance(unittest.TestCase):
    maxDiff = None

    def server(self, *arguments):
        server = Server(store="in-process", program=paths.example("mcp_fixtures"), arguments=arguments)
        # A page that the server itself would serve: one of the suite's requests comes from there, and must be let in.
        server.config["mcp"] = {"origins": server.url}
        self.addCleanup(server.remove)
        return server.start()

    def checks(self, server):
        """Runs every scenario. -> {(scenario, check): what came of it}"""
        with tempfile.TemporaryDirectory(prefix="sid-conformance-") as folder:
            went = npm.run(SUITE, "server", "--url", server.url + "/mcp", "--suite", "all", "--output-dir", folder, home=folder, limit_s=600)
            found = {}
            for file in sorted(pathlib.Path(folder).glob("*/checks.json")):
                scenario = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name).group(1)
                for check in json.loads(file.read_text()):
                    # What is for information only is no check.
                    if check["status"] != "INFO":
                        said = check["status"] + (": " + check["errorMessage"] if check.get("errorMessage") else "")
                        paths.say(f"    {scenario} / {check['id']}: {said}")
                        found[scenario, check["id"]] = said
        return found, went

    def test_every_check_passes_with_sessions(self):
        found, went = self.checks(self.server("--sessions"))
        self.assertEqual(found, EVERY, went.stderr)
        self.assertEqual(went.returncode, 0, went.stdout)
