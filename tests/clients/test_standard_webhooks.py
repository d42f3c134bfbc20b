"""The official `standardwebhooks` package verifies what Sid sends. `cargo xtask setup clients` puts it on the module path."""
import base64, http.server, json, threading

import standardwebhooks

from harness.case import Case
from harness.fake_model import Http
from harness.waiting import until


class WebhooksClient(Case):
    config = {"secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}, "tools": {"open": ["127.0.0.0/8:*"]}, "webhooks": {"poll_ms": 50}}

    def setUp(self):
        super().setUp()
        self.inside, self.heard = self.tenant(), []
        heard = self.heard

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                heard.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

        server = Http(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.hook = self.inside.post("/webhooks", {"url": f"http://127.0.0.1:{server.server_port}/", "include": "content"})

    def test_it_verifies_what_is_sent(self):
        self.model.answer = lambda request: "Grüße, 你好 🦀"
        self.inside.post(f"/conversations/{self.talk(self.inside)}/messages", {"text": "hello"})
        until("both are told", lambda: len(self.heard) >= 2)
        for headers, body in self.heard:
            event = standardwebhooks.Webhook(self.hook["secret"]).verify(body, headers)
            self.assertEqual(event["data"]["content"]["text"], "Grüße, 你好 🦀")
            for wrong_body, wrong_headers in ((body + b" ", headers), (body, {**headers, "webhook-id": "dlv_0"})):
                with self.assertRaises(standardwebhooks.WebhookVerificationError):
                    standardwebhooks.Webhook(self.hook["secret"]).verify(wrong_body, wrong_headers)

    def test_it_verifies_with_either_secret_while_they_are_changed(self):
        fresh = self.inside.post(f"/webhooks/{self.hook['id']}/rotate", {})
        self.inside.post(f"/webhooks/{self.hook['id']}/test")
        until("it is told", lambda: self.heard)
        headers, body = self.heard[0]
        for secret in (self.hook["secret"], fresh["secret"]):
            self.assertEqual(standardwebhooks.Webhook(secret).verify(body, headers)["type"], "webhook.test")
        self.assertEqual(json.loads(body)["data"]["webhook"], self.hook["id"])
