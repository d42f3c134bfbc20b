"""An application under test as a process, a browser in front of it, and the wire between Sid and it."""
import json, os, pathlib, signal, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler

import httpx

from harness import paths, reaper
from harness.fake_model import Http
from harness.server import environment, free_port
from harness.waiting import until

EXAMPLES = pathlib.Path(__file__).resolve().parents[1]
# How each application is started: in its own folder, with its own packages, on a port of 127.0.0.1.
COMMANDS = {
    "fastapi": ([], ["-m", "uvicorn", "bookings.main:app", "--port", "{port}", "--log-level", "warning"]),
    "django": (["manage.py", "migrate", "--verbosity", "0"],
               ["-m", "gunicorn", "project.wsgi", "--bind", "127.0.0.1:{port}", "--threads", "16", "--no-control-socket", "--log-level", "warning"]),
}


class Wire:
    """Stands between Sid and the application, as networks do: what Sid calls passes here, and is delivered `times` over.

    `then` is called once, after the application did what it was asked, and before Sid hears of it.
    """

    def __init__(self):
        self.times, self.then, self.passed, self.to = 1, None, [], None
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "connection")}
                wire.passed.append((self.path, headers, json.loads(body or b"{}")))
                try:
                    for _ in range(wire.times):
                        answer = httpx.post(wire.to + self.path, content=body, headers=headers, timeout=30)
                except httpx.TransportError:
                    answer = httpx.Response(502, text="The application is not there.")
                then, wire.then = wire.then, None
                if then:
                    then()
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


class Application:
    """One of the applications over a database of its own; what it needs to know is in its environment."""

    def __init__(self, name, folder, sid, wire):
        self.folder, self.log, self.port = EXAMPLES / name, pathlib.Path(folder) / f"{name}.log", free_port()
        self.url = wire.to = f"http://127.0.0.1:{self.port}"
        packages, = paths.parts(name)
        self.prepare, self.command = COMMANDS[name]
        self.env = {**environment(), "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1", "APP_DATABASE": str(pathlib.Path(folder) / f"{name}.db"),
                    "APP_SECRET": "a secret of the application, for tests", "APP_URL": wire.url, "SID_URL": sid.url, "SID_KEY": sid.key}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            if self.prepare:
                subprocess.run([sys.executable, *self.prepare], cwd=self.folder, env=self.env, stdout=log, stderr=log, check=True)
            command = [sys.executable, *(part.format(port=self.port) for part in self.command)]
            # A group of its own: gunicorn has a worker.
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True)
        reaper.watch(self.process.pid)
        until(lambda: f"the application is ready (exit code: {self.process.poll()}):\n{self.log.read_text()}", lambda: httpx.get(self.url).status_code == 200,
              not_yet=httpx.TransportError, hopeless=lambda: self.process.poll() is not None)

    def kill(self):
        """As a power cut."""
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            reaper.forget(self.process.pid)
            self.process = None


class Browser:
    """Somebody's browser: keeps cookies, and sends the CSRF token of frameworks that have one."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=url, timeout=90)
        self.seen = []
        self.get("/")

    def again(self):
        """Another tab of this browser."""
        tab = Browser(str(self.http.base_url))
        tab.http.cookies = self.http.cookies
        return tab

    def ask(self, method, path, body=None, **headers):
        token = self.http.cookies.get("csrftoken")
        headers = {k.replace("_", "-"): v for k, v in headers.items()} | ({"X-CSRFToken": token} if token else {})
        answer = self.http.request(method, path, json=body, headers=headers)
        self.seen.append(f"{answer.headers} {answer.text}")
        return answer

    def get(self, path, **query):
        answer = self.http.get(path, params=query)
        self.seen.append(f"{answer.headers} {answer.text}")
        return answer

    def post(self, path, body=None, **headers):
        return self.ask("POST", path, {} if body is None else body, **headers)

    def events(self, venue, text, conversation="main", **headers):
        """Says something to the venue's assistant: (id, name, data) of each event as it comes."""
        token = self.http.cookies.get("csrftoken")
        headers = {k.replace("_", "-"): v for k, v in headers.items()} | ({"X-CSRFToken": token} if token else {})
        body = {"text": text, "conversation": conversation}
        with self.http.stream("POST", f"/venues/{venue}/chat", json=body, headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
            if not answer.headers["content-type"].startswith("text/event-stream"):
                raise AssertionError(f"a stream was expected: {answer.headers}")
            event = {}
            for line in answer.iter_lines():
                self.seen.append(line)
                if line:
                    field, _, value = line.partition(": ")
                    event[field] = value
                elif event:
                    yield int(event["id"]), event["event"], json.loads(event["data"])
                    event = {}

    def say(self, venue, text, conversation="main", **headers):
        """The whole answer, put together as a page does it."""
        return together(list(self.events(venue, text, conversation, **headers)))


def together(events):
    """What a page shows in the end: all that was said. The pieces before it must be its beginning, unless `again` took them back."""
    kept = pieces = ""
    for _, name, data in events:
        if name == "text":
            pieces += data["text"]
        elif name == "again":
            pieces = ""
        elif name == "said":
            if not data["text"].startswith(pieces):
                raise AssertionError(f"the pieces {pieces!r} are not of what was said: {data['text']!r}")
            kept, pieces = kept + data["text"], ""
    if not events or events[-1][1] != "done":
        raise AssertionError(f"the answer has no end: {events}")
    return kept
