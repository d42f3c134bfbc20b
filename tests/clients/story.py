"""What every MCP client is led through: every default tool with every action, as an assistant of a user."""
import asyncio, base64

from harness.api import make_tenant, user_key
from harness.case import Case


class Story(Case):
    """A client has `call_tool(name, arguments)` and `list_tools()`, as the official Python one."""

    config = {"secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}

    def ann(self, tenant):
        """Ann's key, in a tenant of its own."""
        inside = make_tenant(self.api, tenant, ["ann"], ["editor", "phone"])
        inside.post("/teams", {"name": "crew"})
        inside.put("/teams/@crew/members/@ann", {})
        inside.put("/tools/ring", {"source": {"kind": "http", "description": "Rings.", "url": "https://bell.invalid/ring"}})
        inside.patch("/agents/@editor", {"approvals": {"ring": "always"}})
        inside.call("POST", "/documents?title=garden.txt&owner_type=user&user=@ann", b"The spare key hangs behind the mailbox.")
        return user_key(self.api, tenant, "ann")

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
        document = (await good(client, "documents", action="list"))["items"][0]
        while (await good(client, "documents", action="describe", id=document["id"]))["status"] == "reading":
            await asyncio.sleep(0.1)
        self.assertEqual((await good(client, "documents", action="search", query="spare key"))["hits"][0]["citation"]["cite"], "[garden.txt, part 1]")
        self.assertIn("mailbox", (await good(client, "documents", action="read", id=document["id"]))["items"][0]["text"])
        self.assertIn("NOT-FOUND", await refused(client, "documents", action="remove", id=document["id"]))
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
        script = [{"tool": "ring", "arguments": {}}, "It waits for a yes."]
        self.model.answer = lambda request: script.pop(0) if script else "Understood."
        await good(client, "chat", action="send", id=talk["id"], text="ring")
        (waiting,) = (await good(client, "approvals", action="list", status="pending"))["items"]
        await good(client, "approvals", action="get", id=waiting["id"])
        self.assertIn("SID-API-FORBIDDEN", await refused(client, "approvals", action="decide", id=waiting["id"], decision="approve"))
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
