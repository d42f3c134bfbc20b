"""The official `mcp` package against /mcp and against `sid mcp`: every default tool with every action, in both generations of the protocol.

The client checks each answer against the tool's output schema by itself, and refuses one that does not fit.
"""
import asyncio

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from harness import paths
from story import Story

MODES = ("2026-07-28", "legacy", "auto")


class McpClient(Story):
    def http(self, key, agent="@editor", path="/mcp", mode="auto"):
        headers = {"authorization": f"Bearer {key}"}
        if agent:
            headers["x-sid-agent"] = agent
        client = httpx2.AsyncClient(headers=headers, timeout=60)
        return Client(streamable_http_client(self.server.url + path, http_client=client), mode=mode)

    def run_with(self, client, story):
        async def play():
            async with client as connected:
                return await story(connected)
        return asyncio.run(asyncio.wait_for(play(), 120))

    def test_every_tool_over_http_in_both_generations(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                self.run_with(self.http(self.ann(mode), mode=mode), self.everything)

    def test_every_tool_over_standard_input_and_output(self):
        command = StdioServerParameters(command=str(paths.binary("sid")), args=["mcp", "--server", self.server.url, "--agent", "@editor"],
                                        env={"SID_API_KEY": self.ann("stdio")})
        self.run_with(Client(command), self.everything)

    def test_the_full_set_is_every_operation_and_each_can_be_called(self):
        async def story(client):
            tools, after = [], None
            while True:
                page = await client.list_tools(cursor=after)
                tools += page.tools
                after = page.next_cursor
                if not after:
                    break
            self.assertGreater(len(tools), 60)
            for tool in tools:
                # Whatever it says to no arguments, or to a name that nobody has, it says it as a tool.
                required = tool.input_schema.get("required", [])
                await client.call_tool(tool.name, {name: "nobody" for name in required})
            return {t.name for t in tools}

        names = self.run_with(self.http(self.ann("full"), path="/mcp?tools=all"), story)
        self.assertNotIn("reveal_secret", names)
        self.assertIn("get_overview", names)

    def test_without_a_key_there_is_no_connection(self):
        async def story(client):
            await client.list_tools()

        for mode in MODES:
            with self.assertRaises(BaseException):
                self.run_with(Client(streamable_http_client(self.server.url + "/mcp"), mode=mode), story)
