"""The official `openai` package against the front door. `cargo xtask setup clients` puts it on the module path."""
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
