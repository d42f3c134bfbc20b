"""A real, very small model behind llama.cpp's server: the protocol, not the wit.

SmolLM2-135M cannot judge what to remember; what is checked is that it is asked properly: discovery, plain and streamed answers, usage,
structured calls that fit their schema, and that memory reaches it.
"""
from harness.case import Case
from harness.llm import SmolLM2
from harness.server import merged

CONTEXT = 2048


class RealModel(Case):
    @classmethod
    def setUpClass(cls):
        cls.llm = cls.enter(SmolLM2(CONTEXT))
        super().setUpClass()

    @classmethod
    def configuration(cls):
        model = {"base_url": cls.llm.url, "model": "smollm2", "max_output": 48, "total_ms": 120_000}
        return merged(super().configuration(), {"models": {"default": model}})

    def agent(self, **more):
        inside = self.tenant(agents=({"name": "helper", "instructions": "You are a friendly assistant. Answer in one short sentence.", "tools": [],
                                      "temperature": 0.0, **more},))
        return inside, self.talk(inside)

    def test_the_probe_gives_a_verdict_per_capability(self):
        inside, _ = self.agent()
        models = inside.get("/models")
        self.assertIn("default", str(models))
        verdict = self.api.post("/models/default/probe", timeout=300)
        self.assertIn(str(CONTEXT), str(verdict), "the window was discovered")

    def test_a_plain_answer_with_the_engines_usage(self):
        inside, conversation = self.agent()
        said = inside.post(f"/conversations/{conversation}/messages", {"text": "Hello, my name is Chad."})
        self.assertEqual(said["run"]["status"], "completed", said)
        self.assertTrue(said["reply"].strip())
        usage = said["run"]["usage"]
        self.assertGreater(usage["prompt_tokens"], 10)
        self.assertTrue(0 < usage["completion_tokens"] <= 60, usage)
        self.assertFalse(usage["is_estimated"])

    def test_a_streamed_answer(self):
        inside, conversation = self.agent()
        events = list(inside.events(f"/conversations/{conversation}/messages", {"text": "Say hello.", "stream": True}))
        deltas = [e["text"] for _, name, e in events if name == "text_delta"]
        self.assertTrue("".join(deltas).strip())
        self.assertEqual(events[-1][2]["status"], "completed")
        self.assertEqual("".join(deltas).strip(), self.transcript(inside, conversation)[-1]["text"].strip())

    def test_a_core_memory_block_reaches_the_model(self):
        blocks = [{"label": "human", "description": "What you know about this user.", "value": "The user's name is Chad. Chad loves pickles.", "limit_chars": 500}]
        inside, conversation = self.agent(blocks=blocks)
        said = inside.post(f"/conversations/{conversation}/messages", {"text": "What is my name?"})
        self.assertEqual(said["run"]["status"], "completed", said)
        # Whether it says "Chad" is the model's affair; that it could is ours.
        context = inside.get(f"/conversations/{conversation}/context", which="last")
        self.assertIn("Chad loves pickles", str(context["messages"]))
        self.assertLessEqual(context["prompt_tokens"], context["window_tokens"])

    def test_our_count_agrees_with_the_engines(self):
        inside, conversation = self.agent()
        for i in range(3):
            said = inside.post(f"/conversations/{conversation}/messages", {"text": f"Tell me a word that begins with the letter number {i + 1} of the alphabet."})
        counted = inside.get(f"/conversations/{conversation}/context", which="last")["prompt_tokens"]
        reported = said["run"]["usage"]["prompt_tokens"] / max(1, said["run"]["steps"])
        self.assertLess(abs(counted - reported), 0.25 * reported + 20, (counted, reported))

    def test_more_talk_than_the_window_holds(self):
        inside, conversation = self.agent(context_window=768)
        for i in range(9):
            said = inside.post(f"/conversations/{conversation}/messages", {"text": f"Day {i}: " + "today I walked to the market, bought bread and fed the ducks. " * 6})
            self.assertEqual(said["run"]["status"], "completed", said)
        context = inside.get(f"/conversations/{conversation}/context", which="last")
        self.assertLessEqual(context["prompt_tokens"] + context["reserved_tokens"], 768)
        self.transcript(inside, conversation)

    def test_tool_calls_fit_their_schema(self):
        """One json_schema over all tools: whatever the model wants, what comes out can be run."""
        inside, conversation = self.agent(tools=["core_memory_append", "conversation_search"])
        said = inside.post(f"/conversations/{conversation}/messages",
                           {"text": "My favourite colour is green. Please remember that.", "limits": {"max_steps": 3}}, timeout=300)
        self.assertIn(said["run"]["status"], ("completed",), said)
        for step in inside.get(f"/runs/{said['run']['id']}/steps")["items"]:
            self.assertIn(step["rung"], ("native", "salvaged", "structured", "text", "none"))
        for m in self.transcript(inside, conversation):
            for call in m.get("tool_calls", []):
                self.assertIsInstance(call["arguments"], dict)
