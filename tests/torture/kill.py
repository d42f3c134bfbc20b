#!/usr/bin/env python3
"""kill -9 under load, again and again: is anything that was acknowledged lost, doubled or left hanging?

    python3 tests/torture/kill.py --times 50 --conversations 16 [--seed N]

Writers send to many conversations of one release server on SQLite; each acknowledgement is written to a ledger on disk, fsynced, before the
next message is sent. At a random moment the server gets SIGKILL and is started again over the same data. After every restart each message
of the ledger must be there exactly once, sequences must be dense, order must be that of acknowledgement, and every run must be terminal
within 25 s. A message that was cut off unacknowledged is sent again with the same Idempotency-Key: it too must end up there once.
"""
import argparse, json, os, pathlib, random, subprocess, sys, tempfile, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import paths, reaper                                    # noqa: E402
from harness.api import ApiError, make_tenant                        # noqa: E402
from harness.server import Server, environment, free_port            # noqa: E402

TERMINAL_S = 25


class Ledger:
    """What was acknowledged, on disk before anybody relies on it."""

    def __init__(self, path):
        self.file, self.lock, self.entries = open(path, "ab"), threading.Lock(), []

    def add(self, **entry):
        with self.lock:
            self.file.write(json.dumps(entry).encode() + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())
            self.entries.append(entry)


class Writer(threading.Thread):
    """One conversation's user: sends, remembers what was acknowledged, sends again what was not."""

    def __init__(self, number, api, conversation, ledger, rng):
        super().__init__(daemon=True)
        self.number, self.api, self.conversation, self.ledger, self.rng = number, api, conversation, ledger, rng
        self.sent, self.unsure, self.running, self.paused = 0, None, True, threading.Event()
        self.resent, self.wrong = 0, []

    def run(self):
        while self.running:
            if self.paused.is_set():
                time.sleep(0.01)
                continue
            if self.unsure is None:
                self.sent += 1
                self.unsure = f"c{self.number} m{self.sent}"
            text, wait = self.unsure, self.rng.random() < 0.5
            try:
                # The same key and the same body after a cut: stored once, whichever of the two came through.
                answer = self.api.post(f"/conversations/{self.conversation}/messages", {"text": text, "wait": False},
                                       headers={"idempotency-key": f"key {text}"}, timeout=30)
                self.ledger.add(conversation=self.conversation, text=text, run=answer["run"]["id"])
                self.unsure = None
                if wait:
                    self.wait_for(answer["run"]["id"])
            except ApiError as e:
                if e.status not in (409, 429, 503):      # in flight, queue full, not ready: all pass
                    self.wrong.append(f"{text}: {e}")
                    return
                time.sleep(0.05)
            except OSError:
                self.resent += 1
                time.sleep(0.02)
            except Exception as e:
                self.wrong.append(f"{text}: {type(e).__name__}: {e}")
                return

    def wait_for(self, run):
        while self.running and not self.paused.is_set():
            if self.api.get(f"/runs/{run}")["status"] in ("completed", "failed", "cancelled"):
                return
            time.sleep(0.02)


def scripted_model():
    """The testkit's scripted model server, ready."""
    port = free_port()
    process = subprocess.Popen([str(paths.example("model_server")), "--port", str(port)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    reaper.watch(process.pid)
    return process, f"http://127.0.0.1:{port}/v1"


def terminal(api, conversations, limit):
    """Seconds until every run of every conversation was terminal; None if that took too long."""
    start, open_ones = time.time(), {}
    while time.time() - start < limit:
        open_ones = {}
        for c in conversations:
            waiting = [r["id"] for r in api.all(f"/conversations/{c}/runs", limit=1000) if r["status"] in ("queued", "running")]
            if waiting:
                open_ones[c] = waiting
                break
        if not open_ones:
            return time.time() - start
        time.sleep(0.1)
    return None


def inspect(api, conversations, ledger):
    """Everything that is wrong with the store against the ledger, and how many messages it holds."""
    wrong, held = [], 0
    known = {}
    for e in ledger.entries:
        known.setdefault(e["conversation"], []).append(e["text"])
    for c in conversations:
        messages = list(api.all(f"/conversations/{c}/messages", order="asc", limit=1000))
        held += len(messages)
        if [m["seq"] for m in messages] != list(range(1, len(messages) + 1)):
            wrong.append(f"{c}: sequence numbers are not dense")
        said = [m["text"] for m in messages if m["role"] == "user"]
        counts = {t: said.count(t) for t in set(said)} if len(said) != len(set(said)) else dict.fromkeys(said, 1)
        for text in known.get(c, []):
            if text not in counts:
                wrong.append(f"LOST {text}")
        wrong += [f"DOUBLED {t} x{n}" for t, n in counts.items() if n > 1]
        order = [int(t.rsplit("m", 1)[1]) for t in said]
        if order != sorted(order):
            wrong.append(f"{c}: order of acknowledgement is not kept")
        for run in api.all(f"/conversations/{c}/runs", limit=1000):
            if run["status"] != "completed":
                wrong.append(f"{c}: run {run['id']} is {run['status']}: {run.get('stop_reason')} {run.get('error')}")
        answered = sum(m["role"] == "assistant" for m in messages)
        if answered != len(said):
            wrong.append(f"{c}: {len(said)} messages and {answered} answers")
    return wrong, held


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--times", type=int, default=50)
    ap.add_argument("--conversations", type=int, default=16)
    ap.add_argument("--seed", type=int, default=None)
    a = ap.parse_args()
    seed = a.seed if a.seed is not None else random.randrange(1 << 32)
    rng = random.Random(seed)
    print(f"kill -9, {a.times} times, {a.conversations} conversations, seed {seed}", flush=True)
    model, url = scripted_model()
    folder = tempfile.mkdtemp(prefix="sid-torture-")
    reaper.remove_later(folder)
    server = Server({"models": {"default": {"base_url": url, "model": "scripted", "base_delay_ms": 50}}}, folder=folder)
    server.start()
    api = make_tenant(server.api, "t", [f"u{i}" for i in range(a.conversations)], ["helper"])
    conversations = [api.post("/conversations", {"agent": "@helper", "user": f"@u{i}", "key": "d1"})["id"] for i in range(a.conversations)]
    ledger = Ledger(os.path.join(folder, "ledger.jsonl"))
    writers = [Writer(i, api.acting(), c, ledger, random.Random(rng.random())) for i, c in enumerate(conversations)]
    for w in writers:
        w.start()
    wrong, slowest, starts, began = [], 0.0, [], time.time()
    for n in range(1, a.times + 1):
        time.sleep(rng.uniform(0.05, 1.5))
        server.kill()
        for w in writers:
            w.paused.set()
        start = time.time()
        server.start()
        starts.append(time.time() - start)
        took = terminal(api, conversations, TERMINAL_S)
        if took is None:
            wrong.append(f"kill {n}: runs are not terminal {TERMINAL_S} s after the restart")
        slowest = max(slowest, took or TERMINAL_S)
        for w in writers:
            w.paused.clear()
        wrong += [f"kill {n}: {x}" for w in writers for x in w.wrong]
        if n % 10 == 0 or n == a.times or wrong:
            # The whole comparison reads everything; in between it would only slow the load down.
            for w in writers:
                w.paused.set()
            time.sleep(0.5)
            if terminal(api, conversations, TERMINAL_S) is None:
                wrong.append(f"kill {n}: runs hang without a kill")
            bad, held = inspect(api, conversations, ledger)
            wrong += [f"kill {n}: {x}" for x in bad]
            print(f"  kill {n:3}: {len(ledger.entries):6} acknowledged, {held:6} stored, restart to ready {starts[-1] * 1000:4.0f} ms, "
                  f"last run terminal after {took if took is not None else float('nan'):4.1f} s, {len(wrong)} wrong", flush=True)
            for w in writers:
                w.paused.clear()
        if wrong:
            break
    for w in writers:
        w.running = False
    for w in writers:
        w.join(40)
    server.stop()
    model.kill()
    for line in wrong[:20]:
        print(f"  WRONG {line}")
    resent = sum(w.resent for w in writers)
    print(f"{n} kills in {time.time() - began:.0f} s: {len(ledger.entries)} acknowledged messages, {resent} cut off and sent again; "
          f"{sum('LOST' in w for w in wrong)} lost, {sum('DOUBLED' in w for w in wrong)} doubled, {len(wrong)} wrong in all; "
          f"slowest run terminal {slowest:.1f} s after restart; restart to ready median {sorted(starts)[len(starts) // 2] * 1000:.0f} ms")
    passed = n - (1 if wrong else 0)
    print(f"test result: {passed} passed; {1 if wrong else 0} failed; 0 ignored (kills survived)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
