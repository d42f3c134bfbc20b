"""Images: made by a service, kept for their user, shown to nobody else, gone with their conversation."""
import base64, json, subprocess, tempfile

from harness import paths
from harness.case import Case
from harness.service import Service
import test_tools

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


class Images(Case):
    ask, offered = test_tools.Tools.ask, test_tools.Tools.offered
    config = {"tools": {"open": ["127.0.0.0/8:*"]}, "images": {"per_user_day": 3, "per_tenant_day": 4, "most_bytes": 100_000}, "secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()},
              "server": {"public_url": "https://sid.example.org"}}

    def setUp(self):
        super().setUp()
        self.painter = Service()
        self.addCleanup(self.painter.__exit__)
        self.painter.answer = lambda method, path: (200, {"data": [{"b64_json": base64.b64encode(PNG).decode()}]})
        self.inside = self.tenant(users=("ann", "bob"))
        self.ann, self.bob = self.inside.acting(user="ann"), self.inside.acting(user="bob")
        self.inside.put("/context/secrets/painter?owner_type=tenant", {"value": "k3y-of-the-painter"})
        self.inside.put("/tools/generate_image", {"source": {"kind": "images", "url": f"{self.painter.url}/v1", "model": "paint-1", "key": "painter"}})

    def made(self, **more):
        told = self.ask("generate_image", {"prompt": "a bear with a sandwich", **more})
        link = next((line for line in told.splitlines() if line.startswith("https://sid.example.org/api/v1/images/img_")), None)
        self.assertIsNotNone(link, told)
        return link.rsplit("/", 1)[1]

    def told(self, api, image):
        """What is said of an image that is not there, but for what names the request."""
        problem = json.loads(self.refused(404, api.get, f"/images/{image}").text)
        return {name: value for name, value in problem.items() if name != "request_id"}

    def test_an_image_is_its_users_and_nobody_elses(self):
        image = self.made()
        self.assertEqual(self.painter.asked[0][1:3:1][0], "/v1/images/generations")
        self.assertEqual(self.painter.asked[0][2]["authorization"], "Bearer k3y-of-the-painter")
        status, headers, data = self.ann.raw("GET", f"/images/{image}")
        self.assertEqual((status, data), (200, PNG))
        self.assertEqual((headers["content-type"], headers["x-content-type-options"], headers["cache-control"]), ("image/png", "nosniff", "private, no-cache"))
        self.assertEqual(headers["content-security-policy"], "default-src 'none'; sandbox")
        self.assertEqual(headers["content-disposition"], f'inline; filename="{image}.png"')
        self.assertEqual(self.ann.raw("GET", f"/images/{image}", None, {"if-none-match": headers["etag"]})[0], 304)
        listed, = self.ann.get("/images")["items"]
        self.assertEqual((listed["id"], listed["prompt"], listed["model"], listed["bytes"]), (image, "a bear with a sandwich", "paint-1", len(PNG)))
        other = self.api.acting(tenant=self.api.post("/tenants", {"name": self.id()[-30:] + "-x"})["id"])
        for stranger in (self.bob, other):
            self.assertEqual(self.told(stranger, image), self.told(stranger, "img_" + "0" * 26))
            self.assertEqual(stranger.get("/images")["items"], [])
            self.refused(404, stranger.delete, f"/images/{image}")
        self.assertEqual(self.ann.raw("GET", f"/images/{image}")[0], 200)
        lines = [json.loads(line) for line in self.inside.raw("GET", "/export")[2].splitlines()]
        exported, = [line for line in lines if line["kind"] == "image"]
        self.assertEqual((exported["image"]["id"], base64.b64decode(exported["data"])), (image, PNG))
        self.ann.delete(f"/images/{image}")
        self.refused(404, self.ann.get, f"/images/{image}")

    def test_it_goes_with_its_conversation(self):
        image = self.made()
        talk = self.inside.get("/images")["items"][0]["conversation"]
        self.inside.delete(f"/conversations/{talk}")
        self.refused(404, self.inside.get, f"/images/{image}")
        self.assertEqual(self.inside.get("/images")["items"], [])

    def test_a_day_has_an_end(self):
        for _ in range(3):
            self.made()
        self.assertIn("3 images may be made in a day for the user", self.ask("generate_image", {"prompt": "one more"}))
        self.assertEqual(len(self.painter.asked), 3, "the service is not asked")
        # A refusal costs nothing, and deleting gives nothing back.
        self.ann.delete(f"/images/{self.ann.get('/images')['items'][0]['id']}")
        self.assertIn("may be made in a day", self.ask("generate_image", {"prompt": "one more"}))

    def test_what_was_refused_is_not_counted(self):
        self.painter.answer = lambda method, path: (400, {"error": {"code": "content_policy_violation", "message": "Rejected."}})
        for _ in range(5):
            self.assertIn("the service refuses this (Rejected.)", self.ask("generate_image", {"prompt": "x"}))

    def test_gemini_is_asked_in_its_own_way(self):
        parts = [{"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}]
        self.painter.answer = lambda method, path: (200, {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})
        self.inside.put("/tools/generate_image", {"source": {"kind": "images", "api": "gemini", "url": f"{self.painter.url}/v1beta", "model": "gemini-2.5-flash-image", "key": "painter"}})
        self.made()
        self.assertEqual((self.painter.asked[0][1], self.painter.asked[0][2]["x-goog-api-key"]), ("/v1beta/models/gemini-2.5-flash-image:generateContent", "k3y-of-the-painter"))

    def test_it_is_an_effect_outside_that_can_be_asked_for(self):
        self.assertEqual([f["effect"] for f in self.inside.get("/tools/generate_image")["functions"]], ["once"])
        self.inside.patch("/agents/@helper", {"approvals": {"generate_image": "always"}})
        script = [{"tool": "generate_image", "arguments": {"prompt": "a bear"}}, "It waits."]
        self.model.answer = lambda request: script.pop(0) if script else "Understood."
        self.inside.post(f"/conversations/{self.talk(self.inside)}/messages", {"text": "Draw a bear."})
        self.assertEqual(self.painter.asked, [])
        self.assertEqual([a["tool"] for a in self.inside.get("/approvals?status=pending")["items"]], ["generate_image"])

    def test_bad_sources_say_what_to_do(self):
        good = {"kind": "images", "url": f"{self.painter.url}/v1", "model": "m"}
        for change, word in (({"url": "http://10.0.0.1/v1"}, "url"), ({"model": "a b"}, "model"), ({"most_at_once": 11}, "most_at_once"), ({"sizes": ["big"]}, "sizes"), ({"api": "paint"}, "gemini")):
            self.assertIn(word, self.refused((400, 422), self.inside.put, "/tools/bad", {"source": {**good, **change}}).text)

    def test_the_command_line_lists_saves_and_removes(self):
        image = self.made()

        def sid(*words):
            command = [str(paths.binary("sid")), "images", *words, "--server", self.server.url, "--key", self.inside.key, f"--tenant={self.inside.tenant}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            return done.stdout + done.stderr
        self.assertIn("a bear with a sandwich", sid("list"))
        with tempfile.TemporaryDirectory() as folder:
            sid("save", image, f"{folder}/bear.png")
            with open(f"{folder}/bear.png", "rb") as file:
                self.assertEqual(file.read(), PNG)
        sid("remove", image)
        self.assertIn("no images", sid("list"))
