"""The official `openai` package against the front door. `cargo xtask setup clients` puts it on the module path."""
import json

import openai

from harness.api import make_tenant, user_key
from harness.case import Case


class OpenAiClient(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.inside = make_tenant(cls.api, "acme", ["ann", "bob"], ["helper", "writer"])
        tenant = next(t["id"] for t in cls.api.all("/tenants") if t["name"] == "acme")
        cls.tenant_key = cls.inside.post("/keys", {"name": "app", "role": {"type": "tenant", "tenant": tenant}})["key"]
        cls.keys = {user: user_key(cls.api, "acme", user) for user in ("ann", "bob")}

    def client(self, user=None, **more):
        client = openai.OpenAI(base_url=f"{self.server.url}/v1", api_key=self.keys[user] if user else self.tenant_key, max_retries=0, timeout=60, **more)
        self.addCleanup(client.close)
        return client

    def ask(self, client, text, **more):
        return client.chat.completions.create(model="helper", messages=[{"role": "user", "content": text}], **more)

    def test_agents_are_the_models(self):
        client = self.client("ann")
        self.assertEqual(sorted(m.id for m in client.models.list()), ["helper", "writer"])
        self.assertEqual(client.models.retrieve("helper").id, "helper")

    def test_a_plain_answer_with_usage(self):
        self.model.answer = lambda request: "Good day, Ann."
        answer = self.ask(self.client("ann"), "hello")
        self.assertEqual(answer.choices[0].message.content, "Good day, Ann.")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.model, "helper")
        self.assertGreater(answer.usage.prompt_tokens, 0)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_a_streamed_answer_with_usage(self):
        self.model.answer, self.model.pause_s = (lambda request: "one two three four five six seven eight nine ten"), 0.1
        chunks = list(self.ask(self.client("ann"), "count", stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, self.model.answer(None))
        self.assertGreater(sum(bool(c.choices and c.choices[0].delta.content) for c in chunks), 1, "it comes in pieces")
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
        self.assertGreater(chunks[-1].usage.total_tokens, 0)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(len({c.id for c in chunks}), 1)

    def test_a_streamed_answer_without_usage(self):
        chunks = list(self.ask(self.client("ann"), "count", stream=True))
        self.assertTrue(all(c.usage is None for c in chunks))

    def loop(self, client, messages, functions, stream=False, **more):
        """The function calling loop as OpenAI's guide has it; answers the last words and how often the model was asked."""
        tools = [{"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": {
            "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}} for name in functions]
        for turns in range(1, 9):
            given = {"model": "helper", "messages": messages, "tools": tools, **more}
            if stream:
                calls, content, reason = {}, "", None
                for chunk in client.chat.completions.create(**given, stream=True):
                    delta, reason = chunk.choices[0].delta, chunk.choices[0].finish_reason or reason
                    content += delta.content or ""
                    for call in delta.tool_calls or []:
                        told = calls.setdefault(call.index, {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": ""}})
                        told["function"]["arguments"] += call.function.arguments
                said = {"role": "assistant", "content": content or None, **({"tool_calls": list(calls.values())} if calls else {})}
            else:
                choice = client.chat.completions.create(**given).choices[0]
                said, reason = choice.message.model_dump(exclude_none=True), choice.finish_reason
            messages.append(said)
            self.assertEqual(reason, "tool_calls" if said.get("tool_calls") else "stop")
            if reason == "stop":
                return said["content"], turns
            for call in said["tool_calls"]:
                result = functions[call["function"]["name"]](**json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        self.fail("it never ends")

    def adds_up(self, request):
        """A model that asks for both functions at once, then for one, then says what it heard."""
        results = [m["content"] for m in request["messages"] if m["role"] == "tool"]
        if len(results) < 2:
            return [{"tool": "double", "arguments": {"n": 2}}, {"tool": "square", "arguments": {"n": 3}}]
        return {"tool": "double", "arguments": {"n": 5}} if len(results) == 2 else "I heard " + ", ".join(results)

    def test_the_function_calling_loop_plain_and_streamed(self):
        functions = {"double": lambda n: str(2 * n), "square": lambda n: str(n * n)}
        self.model.answer = self.adds_up
        for n, stream in enumerate((False, True)):
            messages = [{"role": "user", "content": "Add it up."}]
            answer, turns = self.loop(self.client("ann"), messages, functions, stream, metadata={"conversation": f"sums-{n}"})
            self.assertEqual((answer, turns), ("I heard 4, 9, 10", 3))
            # The conversation goes on; what was called is the agent's memory as well as the client's.
            self.model.answer = lambda request: "Again: " + [m for m in request["messages"] if m["role"] == "tool"][-1]["content"]
            messages.append({"role": "user", "content": "Again?"})
            self.assertEqual(self.loop(self.client("ann"), messages, functions, stream, metadata={"conversation": f"sums-{n}"}), ("Again: 10", 1))
            self.model.answer = self.adds_up

    def test_calls_that_nobody_answers_are_passed_over(self):
        self.model.answer = lambda request: {"tool": "double", "arguments": {"n": 2}}
        messages = [{"role": "user", "content": "Double."}]
        client, where = self.client("bob"), {"metadata": {"conversation": "passed"}}
        tools = [{"type": "function", "function": {"name": "double"}}]
        said = client.chat.completions.create(model="helper", messages=messages, tools=tools, **where).choices[0]
        self.assertEqual((said.finish_reason, said.message.content), ("tool_calls", None))
        self.model.answer = lambda request: "Fine."
        messages += [said.message.model_dump(exclude_none=True), {"role": "user", "content": "Never mind."}]
        self.assertEqual(client.chat.completions.create(model="helper", messages=messages, **where).choices[0].message.content, "Fine.")
        self.assertIn("The client gave no answer.", [m["content"] for m in self.model.requests[-1]["messages"] if m["role"] == "tool"])
        late = messages[:2] + [{"role": "tool", "tool_call_id": said.message.tool_calls[0].id, "content": "4"}]
        with self.assertRaises(openai.ConflictError) as caught:
            client.chat.completions.create(model="helper", messages=late, **where)
        self.assertEqual(caught.exception.body["code"], "SID-CORE-CALL-OVER")

    def test_a_chat_with_calls_that_began_elsewhere_goes_on(self):
        messages = [{"role": "user", "content": "Double."}, {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_elsewhere", "type": "function", "function": {"name": "double", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "call_elsewhere", "content": "4"}]
        client = self.client("bob")
        with self.assertRaises(openai.UnprocessableEntityError) as caught:
            client.chat.completions.create(model="helper", messages=messages, metadata={"conversation": "elsewhere"})
        self.assertEqual(caught.exception.body["code"], "SID-CORE-UNKNOWN-CALL")
        messages.append({"role": "user", "content": "And now?"})
        self.assertTrue(client.chat.completions.create(model="helper", messages=messages, metadata={"conversation": "elsewhere"}).choices[0].message.content)

    def test_a_tool_choice_that_agents_do_not_know_is_refused(self):
        tools = [{"type": "function", "function": {"name": "double"}}]
        self.model.answer = lambda request: ", ".join(t["function"]["name"] for t in request.get("tools", []))
        self.assertNotIn("double", self.ask(self.client("ann"), "hello", tools=tools, tool_choice="none").choices[0].message.content)
        self.assertIn("double", self.ask(self.client("ann"), "hello", tools=tools, tool_choice="auto").choices[0].message.content)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(self.client("ann"), "hello", tools=tools, tool_choice="required")
        self.assertEqual(caught.exception.body["param"], "tool_choice")

    def test_a_bad_key(self):
        client = openai.OpenAI(base_url=f"{self.server.url}/v1", api_key="sid_" + "x" * 40, max_retries=0)
        self.addCleanup(client.close)
        with self.assertRaises(openai.AuthenticationError) as caught:
            self.ask(client, "hello")
        self.assertEqual(caught.exception.status_code, 401)
        self.assertTrue(caught.exception.body["message"])
        with self.assertRaises(openai.AuthenticationError):
            client.models.list()

    def test_an_unknown_model(self):
        client = self.client("ann")
        with self.assertRaises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "hello"}])
        self.assertIn("nobody", caught.exception.body["message"])
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("nobody")

    def test_a_malformed_request(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client("ann").chat.completions.create(model="helper", messages=[])
        self.assertTrue(caught.exception.body["message"])

    def test_a_failing_model_is_an_error_and_not_an_empty_answer(self):
        def broken(request):
            raise ConnectionResetError
        self.model.answer = broken
        with self.assertRaises(openai.APIStatusError) as caught:
            self.ask(self.client("ann"), "hello")
        self.assertGreaterEqual(caught.exception.status_code, 500)
        self.model.answer = lambda request: "Back again."
        self.assertEqual(self.ask(self.client("ann"), "hello?").choices[0].message.content, "Back again.")

    def test_only_the_new_trailing_messages_are_taken(self):
        client = self.client("bob")
        more = {"metadata": {"conversation": "trail"}}
        history = [{"role": "user", "content": "first thing"}]
        for text in ("second thing", "third thing"):
            answer = client.chat.completions.create(model="helper", messages=history, **more)
            history += [{"role": "assistant", "content": answer.choices[0].message.content}, {"role": "user", "content": text}]
        client.chat.completions.create(model="helper", messages=history, **more)
        conversation = next(c for c in self.inside.all("/conversations") if c.get("key") == "trail")
        said = [m["text"] for m in self.transcript(self.inside, conversation["id"]) if m["role"] == "user"]
        self.assertEqual(said, ["first thing", "second thing", "third thing"])

    def test_two_users_of_one_agent_are_kept_apart(self):
        self.ask(self.client("bob"), "my spare key is under the blue flowerpot")
        before = len(self.model.requests)
        self.ask(self.client("ann"), "where is the spare key?")
        self.assertNotIn("flowerpot", str(self.model.requests[before:]))
        before = len(self.model.requests)
        self.ask(self.client("bob"), "where is the spare key?")
        self.assertIn("flowerpot", str(self.model.requests[before:]))

    def test_the_user_field_names_the_user_of_a_tenant_key(self):
        app = self.client()
        self.ask(app, "my locker code is 7731", user="ann")
        before = len(self.model.requests)
        self.ask(app, "what is my locker code?", user="bob")
        self.assertNotIn("7731", str(self.model.requests[before:]))
        before = len(self.model.requests)
        self.ask(app, "what is my locker code?", user="ann")
        self.assertIn("7731", str(self.model.requests[before:]))

    def test_conversations_by_metadata_and_by_header(self):
        client = self.client("ann")
        self.ask(client, "in the first", metadata={"conversation": "by-metadata"})
        self.ask(client, "in the second", extra_headers={"X-Sid-Conversation": "by-header"})
        keys = {c.get("key"): c["id"] for c in self.inside.acting(user="ann").all("/conversations")}
        for key, text in (("by-metadata", "in the first"), ("by-header", "in the second")):
            self.assertIn(key, keys)
            self.assertEqual(self.transcript(self.inside, keys[key])[0]["text"], text)

    def test_memory_reaches_across_conversations(self):
        client = self.client("ann")
        self.ask(client, "I adopted a hedgehog called Pim", metadata={"conversation": "monday"})
        before = len(self.model.requests)
        self.ask(client, "what is my hedgehog called?", metadata={"conversation": "friday"})
        self.assertIn("Pim", str(self.model.requests[before:]))


class AsyncClient(Case):
    def test_the_asynchronous_client_streams_as_well(self):
        import asyncio
        make_tenant(self.api, "acme", ["ann"], ["helper"])
        key = user_key(self.api, "acme", "ann")

        async def go():
            async with openai.AsyncOpenAI(base_url=f"{self.server.url}/v1", api_key=key, max_retries=0) as client:
                async def one(i):
                    stream = await client.chat.completions.create(model="helper", stream=True, metadata={"conversation": f"c{i}"},
                                                                  messages=[{"role": "user", "content": f"hello {i}"}])
                    return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
                return await asyncio.gather(*(one(i) for i in range(8)))

        self.assertEqual(asyncio.run(go()), ["Understood."] * 8)
