"""The REST API as docs/api.md has it: JSON in, JSON out, and server-sent events."""
import http.client, json, threading, urllib.parse


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status, text, headers):
        self.status, self.text, self.headers = status, text, headers
        try:
            self.problem = json.loads(text)
        except ValueError:
            self.problem = {}
        super().__init__(f"HTTP {status}: {text[:2000]}")

    @property
    def code(self):
        return self.problem.get("code")


class Api:
    """One caller: a key or token, and perhaps the tenant, user and assistant that it narrows itself to.

    A connection per thread is kept open; a broken one is replaced, and the request sent again only when nothing of it was taken.
    """

    def __init__(self, base, key=None, tenant=None, user=None, timeout=120, agent=None):
        self.base, self.key, self.tenant, self.user, self.timeout, self.agent = base.rstrip("/"), key, tenant, user, timeout, agent
        u = urllib.parse.urlsplit(self.base)
        self.host, self.port = u.hostname, u.port
        self.local = threading.local()

    def acting(self, tenant=None, user=None, key=None, agent=None):
        return Api(self.base, key or self.key, tenant or self.tenant, user or self.user, self.timeout, agent or self.agent)

    def showing(self, key):
        """Another caller: this key or token, and nothing else."""
        return Api(self.base, key, timeout=self.timeout)

    def headers(self, extra=None):
        h = {"content-type": "application/json"}
        if self.key:
            h["authorization"] = f"Bearer {self.key}"
        if self.tenant:
            h["x-sid-tenant"] = self.tenant
        if self.user:
            h["x-sid-user"] = self.user
        if self.agent:
            h["x-sid-agent"] = self.agent
        h.update(extra or {})
        return h

    def raw(self, method, path, body=None, headers=None, timeout=None):
        """-> (status, headers, bytes). `body` may be bytes, sent as they are."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        path = path if path.startswith(("/health", "/metrics", "/v1", "/openapi", "/api/", "/mcp")) or path == "/" else "/api/v1" + path
        for fresh in (False, True):
            conn = None if fresh else getattr(self.local, "conn", None)
            if conn is None:
                conn, fresh = http.client.HTTPConnection(self.host, self.port, timeout=timeout or self.timeout), True
            conn.timeout = timeout or self.timeout
            if conn.sock:
                conn.sock.settimeout(conn.timeout)
            try:
                conn.request(method, path, data, self.headers(headers))
                r = conn.getresponse()
                out = r.status, r.headers, r.read()
                self.local.conn = conn
                return out
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                conn.close()
                self.local.conn = None
                if fresh:
                    raise
            except BaseException:
                conn.close()
                self.local.conn = None
                raise

    def call(self, method, path, body=None, headers=None, timeout=None):
        status, h, data = self.raw(method, path, body, headers, timeout)
        if not 200 <= status < 300:
            raise ApiError(status, data.decode("utf-8", "replace"), h)
        return json.loads(data) if data else {}

    def get(self, path, **query):
        q = urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})
        return self.call("GET", path + ("?" + q if q else ""))

    def post(self, path, body=None, **more):
        return self.call("POST", path, {} if body is None else body, **more)

    def put(self, path, body=None, **more):
        return self.call("PUT", path, body, **more)

    def patch(self, path, body, **more):
        return self.call("PATCH", path, body, **more)

    def delete(self, path, **more):
        return self.call("DELETE", path, **more)

    def all(self, path, **query):
        """Every item of a list, page after page."""
        after = None
        while True:
            page = self.get(path, **query, after=after)
            yield from page["items"]
            after = page.get("next")
            if not after:
                return

    def events(self, path, body=None, last_event_id=None, timeout=None, method=None):
        """Server-sent events of a run as (id, name, data); ends when the server closes. Close the generator to hang up."""
        conn = http.client.HTTPConnection(self.host, self.port, timeout=timeout or self.timeout)
        h = {"accept": "text/event-stream"}
        if last_event_id is not None:
            h["last-event-id"] = str(last_event_id)
        try:
            conn.request(method or ("POST" if body is not None else "GET"), "/api/v1" + path if not path.startswith("/v1") else path,
                         None if body is None else json.dumps(body).encode(), self.headers(h))
            r = conn.getresponse()
            if r.status != 200:
                raise ApiError(r.status, r.read().decode("utf-8", "replace"), r.headers)
            number, name, data = None, "message", []
            while True:
                line = r.readline()
                if not line:
                    return
                line = line.decode().rstrip("\r\n")
                if not line:
                    if data:
                        text = "\n".join(data)
                        yield number, name, json.loads(text) if text[:1] in "{[" else text
                    name, data = "message", []
                elif line.startswith("id:"):
                    number = int(line[3:])
                elif line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data.append(line[5:].removeprefix(" "))
        finally:
            conn.close()


def make_tenant(api, name, users=(), agents=()):
    """A tenant with users and agents; gives the API acting inside it."""
    api.post("/tenants", {"name": name})
    inside = api.acting(tenant=name)
    for handle in users:
        inside.post("/users", {"handle": handle})
    for agent in agents:
        inside.post("/agents", agent if isinstance(agent, dict) else {"name": agent})
    return inside


def user_key(api, tenant, user, name="test"):
    """A key of one user; `api` is an operator's."""
    inside = api.acting(tenant=tenant)
    tenant_id = next(t["id"] for t in api.all("/tenants") if t["name"] == tenant)
    user_id = inside.get(f"/users/@{user}")["id"]
    return inside.post("/keys", {"name": name, "role": {"type": "user", "tenant": tenant_id, "user": user_id}})["key"]
