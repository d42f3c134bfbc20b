"""An endpoint that webhooks are sent to, which fails in all ways."""
import http.server, json, socket, struct, threading, time

from harness.fake_model import Http


class Receiver:
    """An endpoint. `heard` has (headers in lower case, body) of each request, `times` when it came; `answer` gives a status, (status, headers) or what
    to do instead (`hang`, `reset`) for how many requests there were of the same delivery before."""

    def __init__(self):
        self.heard, self.times, self.lock, self.under_way, self.most = [], [], threading.Lock(), 0, 0
        self.answer = lambda n: 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                with outer.lock:
                    before = sum(h["webhook-id"] == headers["webhook-id"] for h, _ in outer.heard)
                    outer.heard.append((headers, body))
                    outer.times.append(time.monotonic())
                    outer.under_way += 1
                    outer.most = max(outer.most, outer.under_way)
                try:
                    answer = outer.answer(before)
                finally:
                    with outer.lock:
                        outer.under_way -= 1
                if answer == "hang":
                    time.sleep(30)
                if answer == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if answer in ("hang", "reset"):
                    self.close_connection = True
                    self.connection.close()
                    return
                status, more = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/hooks"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def told(self):
        with self.lock:
            return [json.loads(body) for _, body in self.heard]

    def ids(self):
        with self.lock:
            return [headers["webhook-id"] for headers, _ in self.heard]
