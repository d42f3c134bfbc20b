"""What a new user gets wrong: each time a clear error that says what to do, and nothing lost."""
import json, socket

from harness.api import make_tenant
from harness.case import Case
from harness.fake_model import FakeModel
from harness.server import Server, free_port


class Model(Case):
    """The model endpoint is wrong; the message is kept and the next one works once it is right."""

    def failing(self, model, **config):
        server = Server({"models": {"default": {"base_delay_ms": 20, "connect_ms": 1000, **model}}, **config})
        self.addCleanup(server.remove)
        server.start()
        inside = make_tenant(server.api, "t", ["ann"], ["helper"])
        conversation = self.talk(inside)
        said = inside.post(f"/conversations/{conversation}/messages", {"text": "my cat is called Miso"})
        self.assertEqual(said["run"]["status"], "failed", said)
        # The message is there, and with the right endpoint it is even in the prompt.
        self.assertEqual(self.transcript(inside, conversation)[0]["text"], "my cat is called Miso")
        server.stop()
        server.config["models"]["default"] = {"base_url": self.model.url, "model": "fake"}
        server.start()
        before = len(self.model.requests)
        self.assertEqual(inside.post(f"/conversations/{conversation}/messages", {"text": "hello?"})["reply"], "Understood.")
        self.assertIn("Miso", str(self.model.requests[before:]))
        self.transcript(inside, conversation)
        return said["run"]

    def test_wrong_url(self):
        url = f"http://127.0.0.1:{free_port()}/v1"
        run = self.failing({"base_url": url})
        self.assertEqual(run["stop_reason"], "model_unavailable")
        self.assertIn(url.split("//")[1].split("/")[0], run["error"])

    def test_wrong_path(self):
        run = self.failing({"base_url": self.model.url.replace("/v1", "/wrong/v2") + "/x", "model": "fake"})
        self.assertIn(run["stop_reason"], ("model_refused", "model_unavailable"))
        self.assertIn("/wrong/v2", run["error"])

    def test_wrong_key(self):
        with FakeModel(key="right") as strict:
            run = self.failing({"base_url": strict.url, "model": "fake", "api_key": "wrong"})
        self.assertEqual(run["stop_reason"], "model_refused")
        self.assertIn("key", run["error"].lower())
        self.assertNotIn("wrong", run["error"])


class Input(Case):
    config = {"models": {"default": {"context_window": 2048}}}

    def test_an_unknown_agent(self):
        inside = self.tenant()
        error = self.refused(404, inside.post, "/conversations", {"agent": "@hepler", "user": "@ann"})
        self.assertIn("hepler", error.text)

    def test_an_unknown_model_of_an_agent(self):
        inside = self.tenant()
        error = self.refused((400, 404, 422), inside.post, "/agents", {"name": "other", "model": "gpt-9"})
        self.assertIn("gpt-9", error.text)

    def test_invalid_utf8(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        status, headers, body = inside.raw("POST", f"/conversations/{conversation}/messages", b'{"text": "caf\xe9"}')
        self.assertEqual(status, 400, body)
        self.assertIn("utf-8", body.decode().lower())
        self.assertEqual(self.transcript(inside, conversation), [])
        # Everything that *is* UTF-8 comes back as it was.
        odd = "é\u0301 \U0001f952 \u202e אב \x07 \u2028 end"
        inside.post(f"/conversations/{conversation}/messages", {"text": odd})
        self.assertEqual(self.transcript(inside, conversation)[0]["text"], odd)

    def test_not_json(self):
        inside = self.tenant()
        for body in (b"", b"{", b"[]", b'"text"', b'{"text": 5}', b"{\"text\": \"\"}"):
            status, headers, text = inside.raw("POST", f"/conversations/{self.talk(inside)}/messages", body)
            self.assertIn(status, (400, 422), body)
            self.assertIn("SID-", json.loads(text)["code"])

    def test_a_message_larger_than_the_window(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        inside.post(f"/conversations/{conversation}/messages", {"text": "my cat is called Miso"})
        before = len(self.model.requests)
        huge = "The quick brown fox jumps over the lazy dog. " * 2000
        status, _, body = inside.raw("POST", f"/conversations/{conversation}/messages", {"text": huge})
        answer = json.loads(body)
        if status == 200:
            self.assertIn(answer["run"]["status"], ("completed", "failed"))
            if answer["run"]["status"] == "failed":
                self.assertEqual(answer["run"]["stop_reason"], "window_too_small")
                self.assertIn("window", answer["run"]["error"])
            self.assertIn(huge.strip(), [m["text"].strip() for m in self.transcript(inside, conversation)], "what was accepted is kept whole")
        else:
            self.assertIn(status, (400, 413, 422), body)
            self.assertIn("SID-", answer["code"])
        for request in self.model.requests[before:]:
            self.assertLess(len(str(request)) / 4, 2048 * 1.3, "no prompt over the window")
        self.assertEqual(inside.post(f"/conversations/{conversation}/messages", {"text": "and now?"})["reply"], "Understood.")

    def test_a_body_over_the_limit(self):
        inside = self.tenant()
        path = f"/api/v1/conversations/{self.talk(inside)}/messages"
        # By hand: the server answers when it has seen the length, and a client library may still be sending then.
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as s:
            head = "".join(f"{k}: {v}\r\n" for k, v in inside.headers({"content-length": str(5 << 20)}).items())
            s.sendall(f"POST {path} HTTP/1.1\r\nhost: sid\r\n{head}\r\n".encode())
            text = b""
            while b"SID-" not in text and (part := s.recv(65536)):
                text += part
        self.assertRegex(text.split(b"\r\n")[0], b"^HTTP/1.1 413 ")
        self.assertIn(b"SID-", text)
        self.assertEqual(self.api.raw("GET", "/health/ready")[0], 200)
