"""An MCP server that wants a login, and the authorization server beside it: RFC 9728, 8414, 7591, 6749 with PKCE, 8707, 9207. It refuses what these refuse."""
import base64, hashlib, json, secrets, threading, time, urllib.parse, urllib.request
from http.server import BaseHTTPRequestHandler

from .fake_model import Http


class LoginService:
    """`url` is the MCP server's. `grant(url)` is the person in the browser who says yes; -> where the browser is sent back to. Tokens live for `lasts` seconds; refresh tokens are
    of use once, and a second use ends the login (rotation, as OAuth 2.1 wants it)."""

    def __init__(self):
        self.clients, self.codes, self.access, self.refresh, self.asked = {}, {}, {}, {}, []
        self.lasts, self.lock, self.replayed, self.slow_s, self.answers = 3600, threading.Lock(), 0, 0, []
        # How long a call takes; whether the stream that a session keeps open is refused while its calls are not.
        self.call_s, self.refuses_stream, self.calls = 0, False, 0
        self.metadata = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, status, answer, **headers):
                data = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                path = self.path.split("?")[0]
                outer.asked.append(("GET", path, None))
                if path == "/.well-known/oauth-protected-resource/mcp":
                    return self.reply(200, {"resource": outer.url, "authorization_servers": [outer.issuer], "scopes_supported": ["notes"], **outer.metadata.get("resource", {})})
                if path == "/.well-known/oauth-authorization-server/as":
                    return self.reply(200, {"issuer": outer.issuer, "authorization_endpoint": f"{outer.issuer}/authorize", "token_endpoint": f"{outer.issuer}/token",
                                            "registration_endpoint": f"{outer.issuer}/register", "code_challenge_methods_supported": ["S256"], "response_types_supported": ["code"],
                                            "token_endpoint_auth_methods_supported": ["none"], "authorization_response_iss_parameter_supported": True, **outer.metadata.get("server", {})})
                self.reply(401 if path == "/mcp" and outer.refuses_stream else 404, {})

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.asked.append(("POST", self.path, body.decode()))
                if self.path == "/as/register":
                    wanted = json.loads(body)
                    client = secrets.token_hex(8)
                    outer.clients[client] = wanted["redirect_uris"]
                    return self.reply(201, {**wanted, "client_id": client})
                if self.path == "/as/token":
                    with outer.lock:
                        status, answer = outer.token(dict(urllib.parse.parse_qsl(body.decode())))
                    time.sleep(outer.slow_s)
                    return self.reply(status, answer)
                if self.path == "/mcp":
                    token = self.headers.get("authorization", "").removeprefix("Bearer ")
                    who = outer.access.get(token)
                    if not who or who[1] < time.time():
                        where = f"{outer.base}/.well-known/oauth-protected-resource/mcp"
                        return self.reply(401, {"error": "invalid_token"}, www_authenticate=f'Bearer error="invalid_token", resource_metadata="{where}", scope="notes"')
                    return outer.mcp(self, json.loads(body), who[0])
                self.reply(404, {})

        self.http = Http(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        self.url, self.issuer = f"{self.base}/mcp", f"{self.base}/as"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def log_in(self, api, path, who):
        """The whole of it: begun by the API's user at `path`, granted as `who`, confirmed."""
        with urllib.request.urlopen(self.grant(api.post(path)["url"], who), timeout=30) as page:
            code = page.read().decode().split("<h1>")[1].split("</h1>")[0]
        return api.post(f"{path}/confirm", {"code": code})

    def grant(self, url, who="ann", iss=None, **more):
        parts = urllib.parse.urlsplit(url)
        asked = dict(urllib.parse.parse_qsl(parts.query))
        assert url.startswith(f"{self.issuer}/authorize?"), url
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256" and asked["resource"] == self.url and asked["scope"] == "notes", asked
        assert asked["redirect_uri"] in self.clients[asked["client_id"]], asked
        code = secrets.token_hex(8)
        self.codes[code] = {**asked, "who": who}
        answer = {"code": code, "state": asked["state"], "iss": iss or self.issuer, **more}
        return f"{asked['redirect_uri']}?{urllib.parse.urlencode({k: v for k, v in answer.items() if v is not None})}"

    def token(self, form):
        if form.get("resource") != self.url:
            return 400, {"error": "invalid_target"}
        if form.get("grant_type") == "authorization_code":
            asked = self.codes.pop(form.get("code"), None)
            challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
            if not asked or asked["code_challenge"] != challenge or asked["redirect_uri"] != form.get("redirect_uri") or asked["client_id"] != form.get("client_id"):
                return 400, {"error": "invalid_grant", "error_description": "not this code"}
            return self.issue(asked["who"])
        if form.get("grant_type") == "refresh_token":
            who, used = self.refresh.get(form.get("refresh_token"), (None, True))
            if used:
                # Somebody has it twice: all that came of it ends.
                self.replayed += who is not None
                self.refresh = {t: (w, True if w == who else u) for t, (w, u) in self.refresh.items()}
                return 400, {"error": "invalid_grant"}
            self.refresh[form["refresh_token"]] = (who, True)
            return self.issue(who)
        return 400, {"error": "unsupported_grant_type"}

    def issue(self, who):
        access, refresh = f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}"
        self.access[access], self.refresh[refresh] = (who, time.time() + self.lasts), (who, False)
        return 200, {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": self.lasts}

    def expire(self):
        """As a server that forgets its tokens before their time."""
        self.access.clear()

    def mcp(self, handler, asked, who):
        method, result = asked.get("method"), {}
        if "id" not in asked:
            return handler.reply(202, {})
        if method == "initialize":
            self.capabilities = asked["params"]["capabilities"]
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "1"}}
        elif method == "tools/list":
            result = {"tools": [{"name": "whoami", "description": "Says who it is.", "inputSchema": {"type": "object"}}]}
        elif method == "tools/call":
            self.calls += 1
            time.sleep(self.call_s)
            result = {"content": [{"type": "text", "text": f"you are {who}"}]}
        handler.reply(200, {"jsonrpc": "2.0", "id": asked["id"], "result": result}, **({"mcp_session_id": "one"} if self.refuses_stream else {}))
