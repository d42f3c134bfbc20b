"""Questions in the middle of a call (elicitation), in both directions: a client of Sid's is asked to approve; a server that Sid calls asks its user."""
import json, queue, threading
from http.server import BaseHTTPRequestHandler

from harness.api import user_key
from harness.case import Case
from harness.fake_model import Http
from harness.service import Service
from harness.waiting import until
import test_mcp

ORDER = {"type": "object", "properties": {"bread": {"type": "string"}}, "required": ["bread"]}


class Asked(Case):
    """Sid is the server."""

    config = {"tools": {"open": ["127.0.0.0/8:*"]}}
    post = test_mcp.Mcp.post

    def setUp(self):
        super().setUp()
        self.bakery = Service()
        self.addCleanup(self.bakery.__exit__)
        self.inside = self.tenant(users=("ann", "bob"))
        self.inside.put("/tools/order_bread", {"source": {"kind": "http", "description": "Orders bread.", "parameters": ORDER, "url": f"{self.bakery.url}/orders"}})
        self.inside.patch("/agents/@helper", {"approvals": {"order_*": "always"}})
        self.ann = self.api.acting(tenant=self.inside.tenant, key=user_key(self.api, self.inside.tenant, "ann"))
        self.talk_id = self.talk(self.inside)
        script = [{"tool": "order_bread", "arguments": {"bread": "rye"}}, "It waits for you.", "It was done."]
        self.model.answer = lambda request: script.pop(0) if script else "Understood."

    def call(self, name, arguments, api=None, capabilities=None, **params):
        meta = {"io.modelcontextprotocol/protocolVersion": test_mcp.MODERN, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}} if capabilities is None else capabilities,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments, **params, "_meta": meta}}
        status, answer = self.post(api or self.ann, message, mcp_protocol_version=test_mcp.MODERN, mcp_method="tools/call", mcp_name=name)
        self.assertEqual(status, 200, answer)
        return answer["result"]

    def say(self, **more):
        return self.call("chat", {"action": "send", "id": self.talk_id, "text": "Order bread."}, **more)

    def answer(self, asked, answer, **more):
        return self.say(inputResponses={"approval": answer}, requestState=asked["requestState"], **more)

    def state(self):
        return [a["status"] for a in self.inside.get("/approvals")["items"]]

    def test_the_exact_call_is_shown_and_a_yes_makes_it_once(self):
        asked = self.say()
        self.assertEqual(asked["resultType"], "input_required", asked)
        request = asked["inputRequests"]["approval"]
        self.assertEqual(request["method"], "elicitation/create")
        self.assertIn("order_bread", request["params"]["message"])
        self.assertIn('"bread": "rye"', request["params"]["message"])
        self.assertEqual(request["params"]["requestedSchema"]["required"], ["approve"])
        self.assertEqual(self.bakery.asked, [])
        done = self.answer(asked, {"action": "accept", "content": {"approve": True, "note": "go ahead"}})
        self.assertEqual(done["structuredContent"]["reply"], "It was done.", done)
        self.assertEqual([body for *_, body in self.bakery.asked], [{"bread": "rye"}])
        self.assertEqual(self.state(), ["approved"])
        # The same answer again, as after a broken connection: nothing happens twice.
        again = self.answer(asked, {"action": "accept", "content": {"approve": True}})
        self.assertEqual(again["structuredContent"]["run"]["id"], done["structuredContent"]["run"]["id"])
        self.assertEqual(len(self.bakery.asked), 1)

    def test_a_no_is_a_no_and_nothing_is_nothing(self):
        asked = self.say()
        waits = self.answer(asked, {"action": "cancel"})
        self.assertTrue(waits["isError"])
        self.assertIn("waits on as appr_", waits["content"][0]["text"])
        self.assertEqual(self.state(), ["pending"])
        for bad in ({"action": "accept"}, {"action": "accept", "content": {"approve": "yes"}}, {}, None, "accept"):
            self.assertTrue(self.answer(asked, bad)["isError"], bad)
        self.assertEqual(self.state(), ["pending"])
        self.assertFalse(self.answer(asked, {"action": "decline"}).get("isError"))
        self.assertEqual((self.state(), self.bakery.asked), (["denied"], []))

    def test_only_who_may_decide_is_asked(self):
        plain = self.say(capabilities={})
        self.assertEqual(plain["structuredContent"]["run"]["status"], "completed", "a client that cannot ask is answered as before")
        self.assertEqual(self.state(), ["pending"])
        state = self.inside.get("/approvals")["items"][0]["id"]
        bob = self.api.acting(tenant=self.inside.tenant, key=user_key(self.api, self.inside.tenant, "bob"))
        answer = {"inputResponses": {"approval": {"action": "accept", "content": {"approve": True}}}, "requestState": state}
        self.assertTrue(self.call("context", {}, api=bob, **answer)["isError"])
        helper = self.api.acting(tenant=self.inside.tenant, key=user_key(self.api, self.inside.tenant, "ann"), agent="@helper")
        self.call("context", {}, api=helper, **answer)
        self.assertEqual((self.state(), self.bakery.asked), (["pending"], []))


class Asking:
    """An MCP server whose `book` asks how many seats there shall be, by an event of the call's own stream."""

    def __init__(self):
        self.answers, self.waiting, self.capabilities = [], {}, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, status, answer):
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.reply(405, {})

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
                method = asked.get("method")
                if method is None:
                    outer.waiting[asked["id"]].put(asked.get("result"))
                    return self.reply(202, {})
                if "id" not in asked:
                    return self.reply(202, {})
                if method == "tools/call":
                    return self.book(asked)
                result = {}
                if method == "initialize":
                    outer.capabilities = asked["params"]["capabilities"]
                    result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "table", "version": "1"}}
                if method == "tools/list":
                    result = {"tools": [{"name": "book", "description": "Books a table.", "inputSchema": {"type": "object", "properties": {"day": {"type": "string"}}}}]}
                self.reply(200, {"jsonrpc": "2.0", "id": asked["id"], "result": result})

            def event(self, message):
                self.wfile.write(f"event: message\ndata: {json.dumps(message)}\n\n".encode())
                self.wfile.flush()

            def book(self, asked):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                name, answers = f"q{len(outer.waiting)}", queue.Queue()
                outer.waiting[name] = answers
                schema = {"type": "object", "properties": {"seats": {"type": "integer", "description": "For how many"}}, "required": ["seats"]}
                self.event({"jsonrpc": "2.0", "id": name, "method": "elicitation/create", "params": {"message": "How many seats?", "requestedSchema": schema}})
                answer = answers.get(timeout=30)
                outer.answers.append(answer)
                text = f"booked {answer['content']['seats']} on {asked['params']['arguments'].get('day')}" if answer and answer["action"] == "accept" else "not booked"
                self.event({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": [{"type": "text", "text": text}]}})
                self.close_connection = True

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/mcp"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


class Asks(Case):
    """Sid is the client."""

    config = {"tools": {"open": ["127.0.0.0/8:*"], "mcp_discovery_ms": 3000}}

    def setUp(self):
        super().setUp()
        self.table = Asking()
        self.addCleanup(self.table.__exit__)
        self.inside = self.tenant(users=("ann",))
        self.ann = self.inside.acting(user="ann")

    def ask(self, tool, arguments, text="Book a table."):
        script = [{"tool": tool, "arguments": arguments}, "Done."]
        self.model.answer = lambda request: script.pop(0) if script else "Understood."
        said = self.inside.post(f"/conversations/{self.talk(self.inside)}/messages", {"text": text})
        self.assertEqual(said["run"]["status"], "completed", said)
        return [m["content"] for m in self.model.requests[-1]["messages"] if m["role"] == "tool"][-1]

    def test_a_question_is_what_the_call_comes_to_and_the_next_call_brings_the_answer(self):
        made = self.inside.put("/tools/table", {"source": {"kind": "mcp", "url": self.table.url, "questions": True, "effects": {"book": "read"}}})
        self.assertEqual({f["name"] for f in made["functions"]}, {"table_book", "table_answer_question"})
        told = self.ask("table_book", {"day": "Friday"})
        for says in ("How many seats?", "seats: integer, required, For how many", "call `table_answer_question`", "not booked"):
            self.assertIn(says, told)
        self.assertEqual(self.table.answers, [{"action": "cancel"}], "nobody has chosen, so nobody is said to have")
        self.assertIn("elicitation", self.table.capabilities)
        # The answer goes out as the user's word, so the user is shown it first.
        self.ask("table_answer_question", {"tool": "table_book", "arguments": {"day": "Friday"}, "answers": {"seats": 4}}, "Four.")
        waiting, = self.ann.get("/approvals?status=pending")["items"]
        self.assertEqual(waiting["arguments"]["answers"], {"seats": 4})
        self.assertEqual(len(self.table.answers), 1)
        self.model.answer = lambda request: "Understood."
        decided = self.ann.post(f"/approvals/{waiting['id']}", {"decision": "approve"})
        until("the run ends", lambda: self.inside.get(f"/runs/{decided['answered_by']}")["status"] == "completed")
        self.assertEqual(self.table.answers[1:], [{"action": "accept", "content": {"seats": 4}}])
        self.assertIn("booked 4 on Friday", json.dumps(self.model.requests[-1]["messages"]))

    def test_an_answer_that_does_not_fit_is_no_answer(self):
        self.inside.put("/tools/table", {"source": {"kind": "mcp", "url": self.table.url, "questions": True}})
        self.inside.patch("/agents/@helper", {"approvals": {"*": "never"}})
        told = self.ask("table_answer_question", {"tool": "table_book", "arguments": {}, "answers": {"seats": "many"}})
        self.assertIn("How many seats?", told)
        self.assertEqual(self.table.answers, [{"action": "cancel"}])

    def test_without_leave_it_may_not_ask(self):
        made = self.inside.put("/tools/table", {"source": {"kind": "mcp", "url": self.table.url}})
        self.assertEqual([f["name"] for f in made["functions"]], ["table_book"])
        self.inside.patch("/agents/@helper", {"approvals": {"*": "never"}})
        self.assertIn("not booked", self.ask("table_book", {}))
        self.assertNotIn("elicitation", self.table.capabilities)
        self.assertEqual(self.table.answers, [{"action": "decline"}])
