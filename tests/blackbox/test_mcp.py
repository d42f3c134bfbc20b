"""MCP without a client library: keys, both generations of the protocol, tools and their answers. Hosts and origins are in test_mcp_hosts.py, the
official clients in tests/clients."""
import json

from harness.api import user_key
from harness.case import Case

MODERN = "2026-07-28"


class Mcp(Case):
    def door(self):
        """-> (Ann's API, a function that posts a message to /mcp as her assistant)."""
        inside = self.tenant(users=("ann", "bob"), agents=("editor",))
        ann = self.api.acting(tenant=inside.tenant, key=user_key(self.api, inside.tenant, "ann"), agent="@editor")
        return ann, lambda message, path="/mcp", **headers: self.post(ann, message, path, **headers)

    def post(self, api, message, path="/mcp", **headers):
        headers = {"accept": "application/json, text/event-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
        status, h, data = api.raw("POST", path, message, headers)
        text = data.decode()
        if h.get("content-type", "").startswith("text/event-stream"):
            text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
        return status, json.loads(text) if text[:1] == "{" else text

    def old(self, post, method, params=None, path="/mcp"):
        status, answer = post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}, path, mcp_protocol_version="2025-11-25")
        self.assertEqual(status, 200, answer)
        return answer

    def new(self, post, method, params=None):
        meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}}
        headers = {"mcp_protocol_version": MODERN, "mcp_method": method}
        if "name" in (params or {}):
            headers["mcp_name"] = params["name"]
        status, answer = post({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": meta}}, **headers)
        self.assertEqual(status, 200, answer)
        return answer

    def test_clients_of_older_revisions_begin_with_initialize(self):
        _, post = self.door()
        for version in ("2025-06-18", "2025-11-25"):
            status, answer = post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
            self.assertEqual((status, answer["result"]["protocolVersion"]), (200, version))
            self.assertEqual(answer["result"]["serverInfo"]["name"], "sid")
        self.assertEqual(post({"jsonrpc": "2.0", "method": "notifications/initialized"}, mcp_protocol_version="2025-11-25")[0], 202)

    def test_clients_of_the_new_revision_need_no_handshake(self):
        _, post = self.door()
        found = self.new(post, "server/discover")["result"]
        self.assertIn(MODERN, found["supportedVersions"])
        tools = self.new(post, "tools/list")["result"]
        self.assertTrue(tools["ttlMs"] and tools["cacheScope"])
        seen = self.new(post, "tools/call", {"name": "context", "arguments": {}})["result"]
        self.assertEqual((seen["resultType"], seen["isError"]), ("complete", False))

    def test_few_tools_by_default_and_all_on_demand(self):
        _, post = self.door()
        few = self.old(post, "tools/list")["result"]["tools"]
        every = self.old(post, "tools/list", path="/mcp?tools=all")["result"]["tools"]
        self.assertTrue(12 <= len(few) <= 18, len(few))
        self.assertGreater(len(every), 60)
        operations = {o["operationId"] for p in self.api.call("GET", "/openapi.json")["paths"].values() for o in p.values()}
        self.assertLessEqual({t["name"] for t in every}, operations)
        for tool in few + every:
            self.assertEqual(tool["inputSchema"]["type"], "object")
            self.assertEqual(tool["outputSchema"]["type"], "object")
            self.assertIn("readOnlyHint", tool["annotations"])
            self.assertFalse({"agent_key", "api_key", "token", "authorization", "x_sid_user"} & set(tool["inputSchema"]["properties"]), tool["name"])

    def call(self, post, name, **arguments):
        return self.old(post, "tools/call", {"name": name, "arguments": arguments})["result"]

    def test_a_tool_does_what_rest_does_as_the_same_caller(self):
        ann, post = self.door()
        made = self.call(post, "keep", action="add", kind="memory", title="Likes pickles", body="extra")["structuredContent"]
        self.assertEqual(ann.get(f"/context/items/{made['id']}")["body"], "extra")
        self.assertEqual(made["written_by"], made["owner"]["agent"])
        found = self.call(post, "find", query="pickles")["structuredContent"]["hits"]
        self.assertEqual([h["item"]["id"] for h in found], [made["id"]])
        waits = self.call(post, "keep", action="change", id=made["id"], body="none")
        waits = waits.get("structuredContent") or self.fail(waits)
        self.assertEqual(waits["outcome"], "proposed")
        refused = self.call(post, "proposals", action="approve", id=waits["item"]["id"])
        self.assertTrue(refused["isError"])
        self.assertIn("SID-", refused["content"][0]["text"])
        bob = self.api.acting(tenant=ann.tenant, key=user_key(self.api, ann.tenant, "bob"))
        hidden = self.call(lambda *a, **h: self.post(bob, *a, **h), "items", action="get", id=made["id"])
        self.assertTrue(hidden["isError"])
        self.assertIn("SID-STORE-NOT-FOUND", hidden["content"][0]["text"])

    def test_wrong_arguments_are_told_to_the_model(self):
        _, post = self.door()
        for name, arguments, said in (("keep", {}, "action"), ("keep", {"action": "fly"}, "one of"), ("items", {"action": "get"}, "`id` is missing"),
                                      ("items", {"action": "get", "id": "x", "user": "bob"}, "no argument `user`"), ("find", {"query": " "}, "empty")):
            answer = self.call(post, name, **arguments)
            self.assertTrue(answer["isError"], (name, arguments))
            self.assertIn(said, answer["content"][0]["text"])
        status, answer = post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "reveal_secret", "arguments": {}}},
                              "/mcp?tools=all", mcp_protocol_version="2025-11-25")
        self.assertIn("error", answer)

    def test_without_a_key_nothing_is_told(self):
        ann, _ = self.door()
        bare = self.api.acting()
        bare.key = None
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        status, h, _ = bare.raw("POST", "/mcp", message, {"accept": "application/json, text/event-stream"})
        self.assertEqual(status, 401)
        self.assertIn("Bearer", h["www-authenticate"])
        for path in (f"/mcp?agent_key={ann.key}", f"/mcp?access_token={ann.key}", f"/mcp?authorization={ann.key}"):
            self.assertEqual(bare.raw("POST", path, message, {"accept": "application/json, text/event-stream"})[0], 401)

    def test_the_front_page_is_a_manifest_for_programs_and_a_page_for_people(self):
        bare = self.api.acting()
        bare.key = None
        status, h, data = bare.raw("GET", "/", headers={"accept": "application/json"})
        manifest = json.loads(data)
        self.assertEqual((status, manifest["mcp"]), (200, "/mcp"))
        operations = {o["operationId"] for p in self.api.call("GET", "/openapi.json")["paths"].values() for o in p.values()}
        self.assertEqual({o["id"] for o in manifest["operations"]}, operations)
        status, h, data = bare.raw("GET", "/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        self.assertTrue(h["content-type"].startswith("text/html"))
        self.assertIn(b"<title>Sid</title>", data)
