"""Google Drive: a person connects it, an agent reads it, and what is taken back is gone. Against a server that speaks as Google's does."""
import base64, hashlib, json, secrets, threading, time, urllib.parse
from http.server import BaseHTTPRequestHandler

import test_tools
from harness.api import user_key
from harness.case import Case
from harness.fake_model import Http
from harness.waiting import until

CLIENT, SECRET, BACK = "sid.apps.example", "s3cret-of-the-client", "https://app.example/back"
DOC = "application/vnd.google-apps.document"


class Google:
    """Authorization (RFC 6749, with PKCE), refresh with rotation, revocation, and the part of Drive v3 that is read."""

    def __init__(self):
        self.codes, self.refresh, self.access, self.revoked, self.given, self.calls = {}, set(), {}, [], [], []
        self.reset()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def say(self, status, body, kind="application/json"):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self):
                fields = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                outer.calls.append((self.path, fields))
                self.say(*outer.token(fields) if self.path == "/token" else outer.revoke(fields))

            def do_GET(self):
                outer.calls.append((self.path, None))
                self.say(*outer.drive(self.path, self.headers.get("authorization", "")))

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reset(self):
        self.lasts = 3600
        self.files = {"file1": ("Handbook", DOC, b"# Handbook\n\n## Holidays\n\nEverybody has 31 days."), "file2": ("notes.txt", "text/plain", b"The spare key hangs behind the mailbox."),
                      "file3": ("photo.png", "image/png", b"\x89PNG")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def agree(self, url):
        """What the person's browser is sent back with."""
        q = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        assert (q["response_type"], q["client_id"], q["redirect_uri"], q["code_challenge_method"], q["access_type"]) == ("code", CLIENT, BACK, "S256", "offline"), q
        code = secrets.token_urlsafe(8)
        self.codes[code] = q["code_challenge"]
        return {"state": q["state"], "code": code}

    def token(self, f):
        if (f.get("client_id"), f.get("client_secret")) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        if f["grant_type"] == "authorization_code":
            challenge = base64.urlsafe_b64encode(hashlib.sha256(f["code_verifier"].encode()).digest()).rstrip(b"=").decode()
            if self.codes.pop(f["code"], None) != challenge or f["redirect_uri"] != BACK:
                return 400, {"error": "invalid_grant"}
        elif f["refresh_token"] in self.refresh:
            self.refresh.discard(f["refresh_token"])
        else:
            return 400, {"error": "invalid_grant"}
        access, refresh = "ya29." + secrets.token_urlsafe(8), "1//" + secrets.token_urlsafe(8)
        self.refresh.add(refresh)
        self.given += [access, refresh]
        self.access[access] = time.time() + self.lasts
        return 200, {"access_token": access, "refresh_token": refresh, "expires_in": self.lasts, "token_type": "Bearer"}

    def revoke(self, f):
        self.revoked.append(f["token"])
        self.refresh.discard(f["token"])
        return 200, {}

    def drive(self, path, authorization):
        if self.access.get(authorization.removeprefix("Bearer "), 0) < time.time():
            return 401, {"error": {"code": 401, "message": "Invalid Credentials"}}
        url = urllib.parse.urlsplit(path)
        q, parts = dict(urllib.parse.parse_qsl(url.query)), url.path.strip("/").split("/")
        show = lambda i: {"id": i, "name": self.files[i][0], "mimeType": self.files[i][1], "modifiedTime": "2026-11-01T00:00:00Z"}
        if parts == ["files"]:
            words = q["q"].split("'")[1]
            return 200, {"files": [show(i) for i, (name, _, data) in self.files.items() if words.lower() in (name + data.decode("latin-1")).lower()]}
        if len(parts) < 2 or parts[1] not in self.files:
            return 404, {"error": {"code": 404, "message": "File not found"}}
        _, kind, data = self.files[parts[1]]
        if parts[2:] == ["export"]:
            return (200, data, q["mimeType"]) if kind == DOC and q["mimeType"] == "text/markdown" else (403, {"error": {"message": "Export only supports Docs Editors files."}})
        if q.get("alt") == "media":
            return (200, data, kind) if kind != DOC else (403, {"error": {"message": "Only files with binary content can be downloaded."}})
        return 200, show(parts[1])


class Drive(Case):
    ask = test_tools.Tools.ask

    @classmethod
    def setUpClass(cls):
        cls.google = Google().__enter__()
        at = cls.google.url
        cls.config = {"secrets": {"keys": "k1:" + base64.b64encode(b"k" * 32).decode()}, "tools": {"open": ["127.0.0.1:*"]},
                      "google": {"client_id": CLIENT, "client_secret": SECRET, "redirect_url": BACK, "authorize_url": at + "/auth", "token_url": at + "/token",
                                 "revoke_url": at + "/revoke", "api_url": at}}
        super().setUpClass()
        cls.addClassCleanup(cls.google.__exit__)

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann", "bob"))
        self.ann, self.bob = (self.api.acting(key=user_key(self.api, self.inside.tenant, name)) for name in ("ann", "bob"))
        self.google.reset()

    def connect(self, api):
        api.post("/drive/callback", self.google.agree(api.post("/drive/connect", {})["authorization_url"]))

    def test_an_agent_reads_what_its_user_has_opened(self):
        self.inside.patch("/agents/@helper", {"tools": ["search_drive", "open_drive_file", "import_drive_file", "search_documents"]})
        self.assertIn("not connected", self.ask("search_drive", {"query": "holidays"}))
        self.assertEqual(self.ann.get("/drive"), {"available": True, "connected": False})
        self.connect(self.ann)
        self.assertEqual(self.ann.get("/drive"), {"available": True, "connected": True})
        self.assertIn("file1", self.ask("search_drive", {"query": "holidays"}))
        self.assertIn("31 days", self.ask("open_drive_file", {"file": "file1"}))
        self.assertIn("spare key", self.ask("open_drive_file", {"file": "file2"}))
        self.assertIn("cannot be read", self.ask("open_drive_file", {"file": "file3"}))
        self.assertIn("no such file", self.ask("open_drive_file", {"file": "../about"}))
        self.assertIn("Kept as", self.ask("import_drive_file", {"file": "file1"}))
        until("the file is found", lambda: "[Handbook, Handbook > Holidays]" in self.ask("search_documents", {"query": "holidays"}), every_s=0.2)
        # It goes with the conversation that it was brought in, new bytes of it, too.
        document = self.ann.get("/documents")["items"][0]
        self.assertEqual(document["owner"]["type"], "pair")
        self.assertEqual(self.ann.call("PUT", f"/documents/{document['id']}", b"# Other", headers={"content-type": "text/markdown"})["version"], 2)
        self.inside.delete(f"/conversations/{self.talk(self.inside)}")
        self.refused(404, self.ann.get, f"/documents/{document['id']}")

    def test_a_file_is_imported_once_and_again_as_its_new_version(self):
        self.connect(self.ann)
        first = self.ann.post("/drive/import", {"file": "file1"})
        self.assertEqual((first["format"], first["title"], first["version"]), ("markdown", "Handbook", 1))
        self.google.files["file1"] = ("Handbook", DOC, b"# Handbook\n\nEverybody has 32 days.")
        again = self.ann.post("/drive/import", {"file": "file1"})
        self.assertEqual((again["id"], again["version"]), (first["id"], 2))
        self.refused(404, self.ann.post, "/drive/import", {"file": "none"})
        self.refused(400, self.ann.post, "/drive/import", {"file": "file3"})
        self.assertEqual([f["id"] for f in self.ann.post("/drive/search", {"query": "it's"})["files"]], [])

    def test_tokens_are_renewed_and_each_refresh_token_used_once(self):
        self.google.lasts = 0
        self.connect(self.ann)
        self.google.lasts = 3600
        used = lambda: [f["refresh_token"] for path, f in self.google.calls if path == "/token" and f["grant_type"] == "refresh_token"]
        before = len(used())
        threads = [threading.Thread(target=self.ann.acting().post, args=("/drive/search", {"query": "key"})) for _ in range(6)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual(len(used()) - before, 1, "one renewal for all")
        self.assertEqual([f["id"] for f in self.ann.post("/drive/search", {"query": "spare key"})["files"]], ["file2"])

    def test_tokens_go_to_google_alone(self):
        """A function's header can name secrets of the user's, but for these."""
        self.connect(self.ann)
        bakery = test_tools.Service()
        self.addCleanup(bakery.__exit__)
        names = [s["name"] for s in self.ann.get("/context/secrets")["items"] if "google" in s["name"]]
        self.assertEqual(len(names), 1)
        self.inside.put("/tools/order_bread", {"source": {"kind": "http", "description": "Orders bread.", "parameters": {"type": "object"}, "url": f"{bakery.url}/orders",
                                                          "secret_headers": {"x-key": {"secret": names[0]}}}})
        self.assertIn(names[0], self.ask("order_bread", {}), "as if there were none")
        self.assertEqual(bakery.asked, [])

    def test_a_token_that_ended_early_is_renewed(self):
        self.connect(self.ann)
        self.google.access.clear()
        self.assertEqual([f["id"] for f in self.ann.post("/drive/search", {"query": "spare key"})["files"]], ["file2"])
        self.google.access.clear()
        self.assertEqual(self.ann.post("/drive/import", {"file": "file2"})["title"], "notes.txt")

    def test_nobody_connects_for_somebody_else_and_no_answer_is_taken_twice(self):
        back = self.google.agree(self.ann.post("/drive/connect", {})["authorization_url"])
        self.refused(400, self.bob.post, "/drive/callback", back)
        self.refused(400, self.ann.post, "/drive/callback", {**back, "state": "other"})
        self.ann.post("/drive/callback", back)
        self.refused(400, self.ann.post, "/drive/callback", back)
        self.assertFalse(self.bob.get("/drive")["connected"])
        self.refused(400, self.bob.post, "/drive/search", {"query": "key"})
        self.refused(400, self.inside.post, "/drive/connect", {})

    def test_what_is_taken_back_is_gone_here_and_there(self):
        self.connect(self.ann)
        held = json.dumps(self.ann.get("/context/secrets"))
        self.assertIn("login/google-drive/tokens", held)
        self.ann.delete("/drive")
        self.assertEqual(len(self.google.revoked) and self.google.revoked[-1][:3], "1//")
        self.assertFalse(self.ann.get("/drive")["connected"])
        self.refused(400, self.ann.delete, "/drive")
        # Taken back at Google: the person is told to connect again.
        self.connect(self.ann)
        self.google.access.clear(), self.google.refresh.clear()
        self.assertIn("connect again", self.refused(400, self.ann.post, "/drive/search", {"query": "key"}).problem["detail"])
        self.assertFalse(self.ann.get("/drive")["connected"])
        # All that is stored and logged; the configuration does have the client's secret.
        stored = b"".join(p.read_bytes() for p in self.server.log.parent.rglob("*") if p.is_file() and p.suffix != ".toml")
        self.assertEqual([token for token in [*self.google.given, SECRET] if token.encode() in stored], [])
