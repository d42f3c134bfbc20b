"""A stand-in for a server, which streams on command."""
import http.server, json, socket, sys, threading


class Replica:
    """Answers `/health/ready`, any POST, and `/stream`: its first event at once, the second when `go` is set."""

    def __init__(self, address, port):
        self.address, self.port, self.ready, self.go, self.server = address, port, True, threading.Event(), None
        self.connections = set()

    def start(self):
        replica = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                replica.connections.add(self.connection)

            def do_GET(self):
                if self.path == "/health/ready":
                    return self.answer(200 if replica.ready else 503, {})
                if self.path != "/stream":
                    return self.answer(200, {"path": self.path})
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self.event("one")
                if replica.go.wait(60):
                    self.event("two")
                    self.wfile.write(b"0\r\n\r\n")

            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.answer(200, {})

            def event(self, word):
                data = f"data: {word}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            def answer(self, status, body):
                data = json.dumps({**body, "by": replica.address, "for": self.headers.get("x-forwarded-for")}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, allow_reuse_address = True, True

            def handle_error(self, request, client_address):
                """A health check hangs up as soon as it knows; nothing else may go wrong."""
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self.server = Server((self.address, self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        """As when the process dies: the next connection is refused, and those that are open end."""
        if not self.server:
            return
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It has ended already.
        self.connections.clear()
        self.server = None
