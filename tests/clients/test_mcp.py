"""The official `mcp` package against /mcp and against `sid mcp`: every default tool with every action, in both generations of the protocol.

The client checks each answer against the tool's output schema by itself, and refuses one that does not fit.
"""
import asyncio, base64

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from harness import paths
from harness.api import make_tenant, user_key
from harness.case import Case

MODES = ("2026-07-28", "legacy", "auto")


class McpClient(Case):
    config = {"secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}

    def ann(self, tenant):
        """Ann's key, in a tenant of its own."""
        inside = make_tenant(self.api, tenant, ["ann"], ["editor", "phone"])
        inside.post("/teams", {"name": "crew"})
        inside.put("/teams/@crew/members/@ann", {})
        return user_key(self.api, tenant, "ann")

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

    async def good(self, client, tool, **arguments):
        answer = await client.call_tool(tool, arguments)
        self.assertFalse(answer.is_error, (tool, arguments, answer.content))
        self.used.add((tool, arguments.get("action")))
        return answer.structured_content

    async def refused(self, client, tool, **arguments):
        answer = await client.call_tool(tool, arguments)
        self.assertTrue(answer.is_error, (tool, arguments, answer.content))
        self.used.add((tool, arguments.get("action")))
        return answer.content[0].text

    async def everything(self, client):
        """Every tool with every action, as an assistant of Ann."""
        good, refused, self.used = self.good, self.refused, set()
        await good(client, "session", action="begin")
        await good(client, "session", action="time")
        memory = await good(client, "keep", action="add", kind="memory", title="Likes pickles", body="extra")
        project = await good(client, "keep", action="add", kind="project", title="Garden")
        changed = await good(client, "keep", action="change", id=project["id"], state="active", if_match="1")
        self.assertEqual(changed["item"]["state"], "active")
        category = await good(client, "keep", action="add", kind="hint", title="The build")
        for title in ("Use nextest", "Run fmt"):
            await good(client, "keep", action="add", kind="hint", title=title, parent=category["id"])
        await good(client, "keep", action="compact", id=category["id"])
        wish = await good(client, "keep", action="delete", id=memory["id"])
        self.assertEqual(wish["outcome"], "proposed")
        for action in ("approve", "reject"):
            self.assertIn("SID-API-FORBIDDEN", await refused(client, "proposals", action=action, id=wish["item"]["id"]))
        seen = await good(client, "context", budget_tokens=1000)
        self.assertIn("Garden", [i["title"] for i in seen["items"]])
        self.assertEqual((await good(client, "find", query="pickles"))["hits"][0]["item"]["id"], memory["id"])
        await good(client, "items", action="get", id=memory["id"])
        await good(client, "items", action="list", kind="project", bodies=True)
        self.assertIn("# Garden", (await good(client, "items", action="document", id=project["id"]))["markdown"])
        for action, more in (("list", {}), ("share", {"user": "@ann", "level": "read"}), ("unshare", {"user": "@ann"})):
            self.assertIn("SID-API-FORBIDDEN", await refused(client, "sharing", action=action, id=project["id"], **more))
        for end in ("finish", "return", "withdraw"):
            left = await good(client, "handoffs", action="leave", title=f"Order a sandwich ({end})")
            if end != "withdraw":
                await good(client, "handoffs", action="claim", id=left["id"])
            await good(client, "handoffs", action=end, id=left["id"])
        await good(client, "handoffs", action="list")
        await good(client, "secrets", action="keep", name="mail", value="hunter2", description="the mailbox")
        listed = await good(client, "secrets", action="list")
        self.assertNotIn("hunter2", str(listed))
        await good(client, "secrets", action="delete", name="mail")
        talk = await good(client, "chat", action="open", agent="@editor", key="mcp")
        said = await good(client, "chat", action="send", id=talk["id"], text="hello")
        self.assertEqual(said["reply"], "Understood.")
        await good(client, "chat", action="read", id=talk["id"])
        await good(client, "chat", action="list")
        await good(client, "chat", action="run", id=said["run"]["id"])
        await good(client, "chat", action="cancel", id=said["run"]["id"])
        await good(client, "recall", query="hello")
        await good(client, "diary", agent="@editor")
        blocks = await good(client, "blocks", action="list", owner_type="pair", agent="@editor", user="@ann")
        block = blocks["items"][0]["id"]
        await good(client, "blocks", action="get", id=block)
        await good(client, "blocks", action="edit", id=block, op="append", text="Ann gardens.")
        await good(client, "blocks", action="history", id=block)
        await good(client, "blocks", action="undo", id=block)
        await refused(client, "blocks", action="create", owner={"type": "tenant"}, label="mine")
        passage = await good(client, "passages", action="add", owner={"type": "pair", "agent": "@editor", "user": "@ann"}, text="a passage")
        await good(client, "passages", action="get", id=passage["id"])
        await good(client, "passages", action="list", owner_type="pair", agent="@editor", user="@ann")
        await good(client, "passages", action="delete", id=passage["id"])
        agents = await good(client, "people", action="agents")
        await good(client, "people", action="agent", id=agents["items"][0]["id"])
        await good(client, "people", action="teams")
        await good(client, "people", action="user", id="@ann")
        await refused(client, "people", action="members", id="@nobody")
        tools = (await client.list_tools()).tools
        wanted = {(t.name, a) for t in tools for a in t.input_schema["properties"].get("action", {}).get("enum", [None])}
        self.assertEqual(wanted - self.used, set(), "tools and actions that were not called")

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
