"""MCP's own inspector, by its command line, against /mcp: every default tool with every action, in both generations of the protocol.

Each call is a process that connects, lists the tools, calls one and checks the answer against the tool's output schema.
"""
import asyncio, json, tempfile
from types import SimpleNamespace

import npm
from story import Story

INSPECTOR = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
TOOL_ERROR = 5


class Inspector:
    """One caller."""

    def __init__(self, url, key, era, home):
        self.options = ["--cli", url, "--transport", "http", "--protocol-era", era, "--format", "json", "--stored-auth-only", "--header", f"Authorization: Bearer {key}",
                        "--header", "X-Sid-Agent: @editor"]
        self.home = home

    def run(self, *more):
        return npm.run(INSPECTOR, *self.options, *more, home=self.home)

    def result(self, *more):
        went = self.run(*more)
        if went.returncode not in (0, TOOL_ERROR):
            raise AssertionError(f"the inspector ended with {went.returncode} for {more}: {went.stderr or went.stdout}")
        result = json.loads(went.stdout)["result"]
        if (went.returncode == TOOL_ERROR) != bool(result.get("isError")):
            raise AssertionError(f"the inspector ended with {went.returncode}: {result}")
        return result

    async def list_tools(self):
        tools = self.result("--method", "tools/list", "--strict")["tools"]
        return SimpleNamespace(tools=[SimpleNamespace(name=t["name"], input_schema=t["inputSchema"]) for t in tools])

    async def call_tool(self, name, arguments):
        result = self.result("--method", "tools/call", "--tool-name", name, "--tool-args-json", json.dumps(arguments))
        content = [SimpleNamespace(text=c.get("text")) for c in result["content"]]
        return SimpleNamespace(is_error=bool(result.get("isError")), content=content, structured_content=result.get("structuredContent"))


class McpInspector(Story):
    def inspector(self, key, era):
        home = tempfile.TemporaryDirectory(prefix="sid-inspector-")
        self.addCleanup(home.cleanup)
        return Inspector(self.server.url + "/mcp", key, era, home.name)

    def test_every_tool_with_every_action_in_both_generations(self):
        for era in ("legacy", "modern"):
            with self.subTest(era=era):
                asyncio.run(self.everything(self.inspector(self.ann(era), era)))

    def test_no_schema_is_one_that_other_clients_cannot_read(self):
        inspector = self.inspector(self.ann("schemas"), "modern")
        for path in ("/mcp", "/mcp?tools=all"):
            inspector.options[1] = self.server.url + path
            went = inspector.run("--method", "tools/list", "--strict")
            self.assertEqual(went.returncode, 0, went.stderr)
            self.assertGreater(len(json.loads(went.stdout)["result"]["tools"]), 11)

    def test_without_a_key_it_is_told_that_it_needs_one(self):
        went = self.inspector("nobody", "legacy").run("--method", "tools/list")
        self.assertEqual(went.returncode, 3, went.stderr)
