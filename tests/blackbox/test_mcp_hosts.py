"""Who may reach /mcp through a browser: every host with every origin, as configured and as it is without a word, for every method and both generations.

A page that anybody serves can send requests to this machine: with its own origin, or under a name of its own that points here (DNS rebinding).
"""
import http.client, socket

from harness.case import Case

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
MODERN = {**LIST, "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
                                       "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}}}}
GENERATIONS = ((LIST, {"mcp-protocol-version": "2025-11-25"}), (MODERN, {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"}))

# `{port}` is the server's.
OUR_HOSTS = ("127.0.0.1:{port}", "127.0.0.1", "localhost:{port}", "localhost", "LOCALHOST:{port}", "[::1]:{port}")
FOREIGN_HOSTS = ("evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example.localhost", "localhost.", "127.0.0.2",
                 "0.0.0.0:{port}", "169.254.169.254", "2130706433", "[::]:{port}")
FOREIGN_ORIGINS = ("http://evil.example", "https://evil.example:{port}", "null", "file://", "http://127.0.0.1:{port}", "http://localhost:{port}",
                   "https://app.example.com.evil.example", "http://app.example.com", "chrome-extension://abcdef", "app.example.com", "")


class Hosts:
    """The matrix; `hosts` and `origins` are those that the configuration adds."""

    hosts, origins = (), ()

    def status(self, method, message, headers):
        # A value of None leaves the header out.
        given = {k: v.format(port=self.server.port) for k, v in headers.items() if v is not None}
        return self.api.raw(method, "/mcp", message, {"accept": "application/json, text/event-stream", **given})[0]

    def test_a_request_is_answered_where_both_its_host_and_its_origin_are_ours(self):
        hosts = {**dict.fromkeys(OUR_HOSTS + self.hosts, True), **dict.fromkeys(FOREIGN_HOSTS, False)}
        origins = {None: True, **dict.fromkeys(FOREIGN_ORIGINS, False), **dict.fromkeys(self.origins, True)}
        for message, version in GENERATIONS:
            wrong = {}
            for host, host_is_ours in hosts.items():
                for origin, origin_is_ours in origins.items():
                    status = self.status("POST", message, {"host": host, "origin": origin, **version})
                    if status != (200 if host_is_ours and origin_is_ours else 403):
                        wrong[host, origin] = status
            self.assertEqual(wrong, {}, version)

    def test_no_method_is_let_in_from_elsewhere(self):
        for method in ("POST", "GET", "DELETE", "OPTIONS", "PUT"):
            for foreign in ({"host": "evil.example"}, {"host": "localhost", "origin": "http://evil.example"}):
                self.assertEqual(self.status(method, LIST, foreign), 403, (method, foreign))
        # What is no page's fault is told as it is.
        self.assertEqual(self.status("GET", LIST, {"host": "localhost"}), 405)

    def test_a_key_does_not_help_and_none_is_needed_to_be_refused(self):
        bare = self.api.acting()
        bare.key = None
        for headers in ({"host": "evil.example"}, {"host": "localhost", "origin": "http://evil.example"}, {"host": "localhost"}):
            self.assertEqual(bare.raw("POST", "/mcp", LIST, {"accept": "application/json, text/event-stream", **headers})[0], 401, headers)

    def test_a_request_without_a_host_is_refused(self):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as connection:
            lines = ("POST /mcp HTTP/1.1", f"authorization: Bearer {self.api.key}", "content-type: application/json", "content-length: 2", "connection: close", "", "{}")
            connection.sendall("\r\n".join(lines).encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            self.assertEqual(answer.status, 400)


class Unconfigured(Hosts, Case):
    pass


class Configured(Hosts, Case):
    config = {"mcp": {"hosts": "sid.example.com, other.example.com:8443", "origins": "https://app.example.com, http://localhost:5173"}}
    hosts = ("sid.example.com", "sid.example.com:8443", "other.example.com:8443")
    origins = ("https://app.example.com", "http://localhost:5173")

    def test_a_port_that_is_configured_is_the_only_one(self):
        for headers in ({"host": "other.example.com"}, {"host": "other.example.com:8444"}, {"host": "localhost", "origin": "http://localhost:5174"},
                        {"host": "localhost", "origin": "http://localhost"}, {"host": "localhost", "origin": "https://localhost:5173"}):
            self.assertEqual(self.status("POST", LIST, {**headers, "mcp-protocol-version": "2025-11-25"}), 403, headers)
