#!/usr/bin/env python3
"""Translates the measuring stick's two contracts to sid-server's public API. Standard library only.

    python3 tests/memory/shim.py --port 8700 [--store sqlite]
      retrieval: run_retrieval.py   --backend http --url http://127.0.0.1:8700/bench
      scenarios: scenario_runner.py --adapter http --url http://127.0.0.1:8700/scenario

It starts fresh release servers by itself (SID_SERVER_BIN, else the checkout's target/release/sid-server, built when it is missing) on
data folders of their own, with MiniLM in process (fetched by `cargo xtask setup embed` when it is missing). Nothing here ranks, filters or
remembers: every answer is the server's. What the server answers with an error is passed on as 5xx with the text.
"""
import argparse, json, os, pathlib, signal, sys, threading, traceback
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.api import ApiError                                     # noqa: E402
from harness.qdrant import Qdrant                                    # noqa: E402
from harness.server import Server, minilm                            # noqa: E402

# The clients of both contracts give up after 60 s: no single call may take longer.
WAIT_MS = 50_000
SETTLE_EVERY = 16           # ingested turns between two waits for the index


def when(text):
    """An ISO date as the API wants it: with a time and a zone. None stays None."""
    if not text:
        return None
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (at.strftime("%z") and f"{at.strftime('%z')[:3]}:{at.strftime('%z')[3:]}" or "Z")


class Store:
    """What servers keep their data in; each server gets a folder or a database of its own."""

    def __init__(self, name):
        self.name, self.qdrant, self.count = name, None, 0

    def server(self, config):
        if self.name != "qdrant":
            return Server(config, store=self.name)
        self.qdrant = self.qdrant or Qdrant().start()
        self.count += 1
        return Server({**config, "vectors": {"kind": "qdrant", "url": self.qdrant.url, "from": 0, "prefix": f"stick{os.getpid()}_{self.count}"}}, store="postgres")

    def end(self):
        if self.qdrant:
            self.qdrant.kill()


class Bench:
    """/bench: each conversation is a tenant of its own in one server; each session a conversation of the one agent with the one user."""

    def __init__(self, store):
        self.store, self.server, self.count = store, None, 0

    def reset(self, d):
        if self.server is None:
            # No run is ever made here, so no model is needed.
            self.server = self.store.server({"embedder": minilm(), "engine": {"diary": False}}).start()
        self.count += 1
        name = f"bench-{self.count}"
        self.server.api.post("/tenants", {"name": name})
        self.api = self.server.api.acting(tenant=name)
        self.api.post("/users", {"handle": "reader"})
        self.api.post("/agents", {"name": "memory"})
        self.sessions, self.turns, self.since = {}, {}, 0
        return {}

    def ingest(self, d):
        for t in d["turns"]:
            session = str(t["session"])
            if session not in self.sessions:
                self.sessions[session] = self.api.post("/conversations", {"agent": "@memory", "user": "@reader", "key": session})["id"]
            role = t["role"] if t["role"] in ("user", "assistant") else "user"
            message = {"role": role, "text": t["text"], "speaker": t["speaker"], "at": when(t["time"])}
            made = self.api.post(f"/conversations/{self.sessions[session]}/import", {"messages": [{k: v for k, v in message.items() if v is not None}]})
            self.turns[made["messages"][0]["id"]] = t["id"]
            self.since += 1
        # Words are searchable at once; vectors follow in the background. Waiting here, a little at a time, keeps every call short.
        if self.since >= SETTLE_EVERY:
            self.since = 0
            self.api.get("/index", wait_ms=WAIT_MS)
        return {"ingested": len(d["turns"])}

    def search(self, d):
        body = {"query": d["query"], "k": min(int(d["k"]), 200), "agent": "@memory", "user": "@reader", "kinds": ["message"],
                "wait_for_index_ms": WAIT_MS}
        if d.get("now"):
            body["now"] = when(d["now"])
        hits = self.api.post("/search", body)["hits"]
        return {"hits": [{"ids": [self.turns[h["id"]]], "text": f"[{h['at'][:16]}] {h.get('speaker') or h.get('role')}: {h['excerpt']}", "score": h["score"]}
                         for h in hits if h["id"] in self.turns]}

    def end(self):
        if self.server:
            self.server.remove()


class Scenario:
    """/scenario: a fresh server on a fresh data folder for every story."""

    def __init__(self, store):
        self.store, self.server = store, None

    def start(self, d):
        self.end()
        wait = int(float(d.get("llm_timeout_s", 30)) * 1000)
        model = {"base_url": d["llm_url"], "model": "fake", "context_window": int(d["context_window"]), "connect_ms": wait, "first_byte_ms": wait,
                 "idle_ms": wait, "total_ms": 4 * wait, "max_tries": 5, "base_delay_ms": 100}
        self.server = self.store.server({"models": {"default": model}, "embedder": minilm()}).start()
        self.clock, self.conversations = {}, {}
        for tenant, t in d["setup"]["tenants"].items():
            self.server.api.post("/tenants", {"name": tenant})
            inside = self.server.api.acting(tenant=tenant)
            for user in t.get("users", []):
                inside.post("/users", {"handle": user})
            for team, members in t.get("teams", {}).items():
                inside.post("/teams", {"name": team})
                for member in members:
                    inside.put(f"/teams/@{team}/members/@{member}")
        for key, a in d["setup"]["agents"].items():
            self.tenant(a["tenant"]).post("/agents", {"name": key.split("@")[0], "teams": [f"@{t}" for t in a.get("teams", [])]})
        return {}

    def tenant(self, name):
        return self.server.api.acting(tenant=name)

    def conversation(self, user, agent, thread):
        if (user, agent, thread) not in self.conversations:
            tenant, handle = user.split("/")
            made = self.tenant(tenant).post("/conversations", {"agent": f"@{agent.split('@')[0]}", "user": f"@{handle}", "key": thread})
            self.conversations[user, agent, thread] = made["id"]
        return self.conversations[user, agent, thread]

    def pass_time(self, tenant, text):
        """An hour or more has gone by in the story: the background would long have been done."""
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        before = self.clock.get(tenant)
        if before and abs((at - before).total_seconds()) >= 3600:
            self.tenant(tenant).get("/index", wait_ms=WAIT_MS)
        self.clock[tenant] = at

    def say(self, d):
        tenant = d["user"].split("/")[0]
        self.pass_time(tenant, d["at"])
        said = self.tenant(tenant).post(f"/conversations/{self.conversation(d['user'], d['agent'], d['thread'])}/messages",
                                        {"text": d["text"], "at": when(d["at"])}, timeout=58)
        run = said["run"]
        if run["status"] != "completed":
            raise RuntimeError(f"run {run['status']}: {run.get('stop_reason')}: {run.get('error')}")
        return {"reply": said.get("reply") or ""}

    def share(self, d):
        tenant, handle = d["by"].split("/")
        self.pass_time(tenant, d["at"])
        self.tenant(tenant).acting(user=handle).post("/passages", {"owner": {"type": "team", "team": f"@{d['team'].split('/')[-1]}"}, "text": d["text"],
                                                                   "at": when(d["at"])})
        return {}

    def member(self, d):
        tenant, team = d["team"].split("/")
        if d.get("add"):
            self.tenant(tenant).put(f"/teams/@{team}/members/@{d['add']}")
        if d.get("remove"):
            self.tenant(tenant).delete(f"/teams/@{team}/members/@{d['remove']}")
        return {}

    def delete_thread(self, d):
        tenant = d["user"].split("/")[0]
        gone = self.conversation(d["user"], d["agent"], d["thread"])
        self.tenant(tenant).delete(f"/conversations/{gone}")
        del self.conversations[d["user"], d["agent"], d["thread"]]
        return {}

    def delete_user(self, d):
        tenant, handle = d["user"].split("/")
        self.tenant(tenant).delete(f"/users/@{handle}")
        self.conversations = {k: v for k, v in self.conversations.items() if k[0] != d["user"]}
        return {}

    def create_user(self, d):
        tenant, handle = d["user"].split("/")
        self.tenant(tenant).post("/users", {"handle": handle})
        return {}

    def restart(self, d):
        self.server.kill()
        self.server.start()
        return {}

    def stop(self, d):
        self.end()
        return {}

    def end(self):
        if self.server:
            self.server.remove()
            self.server = None


CALLS = {"bench": {"reset", "ingest", "search"},
         "scenario": {"start", "say", "share", "member", "delete_thread", "delete_user", "create_user", "restart", "stop"}}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--port", type=int, default=8700, help="0 takes a free one")
    ap.add_argument("--store", default="sqlite", choices=["sqlite", "in-process", "postgres", "qdrant"], help="qdrant: on Postgres, every vector in Qdrant")
    ap.add_argument("--until-eof", action="store_true", help="end when standard input closes")
    a = ap.parse_args()
    store = Store(a.store)
    rooms = {"bench": Bench(store), "scenario": Scenario(store)}
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self, status, obj):
            body = json.dumps(obj).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.answer(200, {"contracts": sorted(CALLS)})

        def do_POST(self):
            _, room, call, *rest = [*self.path.split("/"), "", ""]
            data = self.rfile.read(int(self.headers.get("content-length", 0)))
            if call not in CALLS.get(room, ()):
                return self.answer(501, {"error": f"unsupported: {self.path}"})
            try:
                with one_at_a_time:
                    out = getattr(rooms[room], call)(json.loads(data or b"{}"))
            except ApiError as e:
                return self.answer(e.status if e.status >= 500 and e.status != 501 else 500, {"error": str(e)})
            except Exception as e:
                if not isinstance(e, RuntimeError):
                    traceback.print_exc()
                return self.answer(500, {"error": f"{type(e).__name__}: {e}"})
            self.answer(200, out)

        def log_message(self, *_):
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True

    http = Http(("127.0.0.1", a.port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if a.until_eof:
        def watch():
            sys.stdin.read()
            http.shutdown()
        threading.Thread(target=watch, daemon=True).start()
    print(f"shim on http://127.0.0.1:{http.server_port}", flush=True)
    try:
        http.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        for room in rooms.values():
            room.end()
        store.end()


if __name__ == "__main__":
    main()
