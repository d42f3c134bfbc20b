#!/usr/bin/env python3
"""The pickles story, played with a real small model: `cargo xtask demo` runs this.

Chad tells the agent that he loves pickles. Then comes more talk about other things than the model's whole context window holds, the server is
killed with SIGKILL and started again, and days later Chad asks for a sandwich. Is the pickle in the prompt?
"""
import argparse, contextlib, json, os, pathlib, shutil, subprocess, sys, tempfile, textwrap, time
from datetime import datetime, timedelta, timezone

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import paths                                            # noqa: E402
from harness.api import make_tenant                                  # noqa: E402
from harness.llm import SmolLM2                                      # noqa: E402
from harness.qdrant import Qdrant                                    # noqa: E402
from harness.server import Server, environment, merged, minilm       # noqa: E402

# Small, so that the story needs no long chat to leave it behind; a prompt of a real deployment has 8,000 to 128,000.
WINDOW = 1024
AGENT = {"name": "sid", "instructions": "You are Sid, a friendly assistant. Reply to what the user just said, in one short sentence.", "tools": [], "blocks": [],
         "max_output": 48, "temperature": 0.3}

TOLD = "Something you should know about me: I love pickles. Whatever I eat, there must be pickles on it."
OTHER_TALK = [
    "Good morning! I finally repaired the rear wheel of my bicycle last night, the new spokes took me two hours but now it runs straight again.",
    "My sister Lena passed her driving test today. She was so nervous that she turned on the wipers instead of the indicator, twice.",
    "It has been raining here for three days and the gutter over the garage leaks. I put a bucket under it and called the roofer.",
    "At work we moved all our servers to a new room. I carried cables the whole afternoon and my back hurts a little.",
    "I started reading a thick novel about a lighthouse keeper in Norway. The first hundred pages are slow but the storm scene is great.",
    "The neighbours have a new puppy called Biscuit. It howls at the moon and at the mailman, and sometimes at the lamp post.",
    "I want to learn to play the clarinet. A colleague lends me her old one, and the first lesson is on Thursday evening.",
    "We went hiking on Sunday, fourteen kilometres along the river. We saw two herons, a kingfisher and a very lost tourist.",
    "My laptop makes a grinding noise when it gets warm. I cleaned the fan with a brush and it is better, but not quite silent.",
    "I am thinking about painting the living room. Perhaps a dark green on one wall, and the rest stays white. What a mess that will be.",
    "The train was late again, forty minutes this time. I used it to write postcards to my aunt in Glasgow and to an old friend.",
    "Yesterday the power was out in our whole street for an hour. We lit candles and told ghost stories, the children loved it.",
    "I have a dentist appointment next week, nothing serious, just the yearly check. I always forget to book it.",
    "Our chess club lost against the team from the next town, three to five. I drew my game in a rook ending, quite happy with that.",
]
ASKED = "Could you order me a sandwich for lunch?"
FACT = "pickles"
SHOWN = 3

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
paint = lambda code, text: f"\033[{code}m{text}\033[0m" if COLOUR else text
dim, bold, green, red, cyan = (lambda t, c=c: paint(c, t) for c in ("2", "1", "32", "31", "36"))


def out(text="", end="\n"):
    print(text, end=end, flush=True)


def wrapped(text, indent):
    return textwrap.fill(" ".join(text.split()), 110, initial_indent=indent, subsequent_indent=indent)


def bar(used, window, width=30):
    filled = min(width, round(width * used / window))
    return "[" + "#" * filled + "." * (width - filled) + "]"


class Story:
    def __init__(self, servers):
        self.servers, self.now, self.turns = servers, datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc), 0
        make_tenant(servers[0].api, "demo", ["chad"], [AGENT])
        self.conversation = self.on(servers[0]).post("/conversations", {"agent": "@sid", "user": "@chad", "key": "demo"})["id"]

    def on(self, server):
        return server.api.acting(tenant="demo")

    @property
    def api(self):
        """At a server that is alive."""
        return self.on(next(s for s in self.servers if s.process.poll() is None))

    def events(self, text, kill=None):
        """The events of a turn, numbered from 1 without a gap or a repeat, whatever happens to the server; `kill` ends the one that answers
        as soon as some words have come. Each turn is sent to another server."""
        at = self.turns % len(self.servers)
        self.turns += 1
        body = {"text": text, "at": self.now.strftime("%Y-%m-%dT%H:%M:%SZ"), "wait": False}
        run = self.on(self.servers[at]).post(f"/conversations/{self.conversation}/messages", body)["run"]["id"]
        seen, name, words = 0, None, 0
        while name != "done":
            server = self.servers[at]
            try:
                for number, name, event in self.on(server).events(f"/runs/{run}/events", last_event_id=seen, timeout=300):
                    if number != seen + 1:
                        sys.exit(red(f"event {number} came after event {seen}"))
                    seen = number
                    yield name, event
                    words += name == "text_delta"
                    if kill and words == 2:
                        kill(server)
                        kill = None
            except OSError:
                pass
            if name != "done":
                at = (at + 1) % len(self.servers)
                yield "moved", {"to": at + 1, "after": seen}

    def say(self, text, kill=None):
        """One turn, streamed as it comes; gives the prompt that was sent."""
        out()
        out(bold(f"{self.now:%a %d %b %Y, %H:%M}") + f"   Chad: {wrapped(text, ' ' * 4).strip()}")
        path = f"/conversations/{self.conversation}"
        began, first, column = time.time(), None, 0
        for name, event in self.events(text, kill):
            if name == "moved":
                out("\n" + cyan(f"    the stream broke after event {event['after']}; server {event['to']} goes on with it"))
                first = None
            elif name == "page_out":
                out(dim(f"    {event['messages']} old messages left the window (they stay in recall memory)"))
            elif name == "recalled":
                used, window = event["prompt_tokens"], event["window_tokens"]
                out(f"    prompt {used:,} of {window:,} tokens {cyan(bar(used, window))}  {len(event['items'])} recalled")
                for item in event["items"][:SHOWN]:
                    out(dim(f"      {item['score']:.2f} ({because(item['why'])})  {' '.join(item['text'].split())[:100]}"))
            elif name == "text_delta":
                if first is None:
                    first = time.time() - began
                    out("    " + green("Sid: "), end="")
                    column = 9
                for piece in event["text"].replace("\n", " "):
                    if piece == " " and column > 100:
                        piece, column = "\n         ", 0
                    out(green(piece), end="")
                    column += 1
            elif name == "done":
                out(dim(f"   ({first or 0:.1f} s to the first word, {time.time() - began:.1f} s in all)"))
                if event["status"] != "completed":
                    sys.exit(red(f"the run {event['status']}: {event.get('stop_reason')}: {event.get('error')}"))
        return self.api.get(f"{path}/context", which="last")

    def later(self, **delta):
        self.now += timedelta(**delta)
        # As much time as the background would have had.
        self.api.get("/index", wait_ms=30_000)


def because(why):
    """The signals that brought a memory up, the strongest first."""
    parts = sorted(why, key=lambda part: -part["score"])
    return ", ".join(f"{part['signal']} {part['score']:+.2f}" for part in parts if part["score"] > 0.005) or "by its neighbours"


def heading(text):
    out("\n" + bold(f"--- {text}"))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--auto", action="store_true")
    ap.add_argument("--window", type=int, default=WINDOW)
    ap.add_argument("--replicas", type=int, default=1, help="more than one: that many servers over Postgres and Qdrant")
    a = ap.parse_args()
    folder = tempfile.mkdtemp(prefix="sid-demo-")
    began = time.time()
    try:
        heading("starting SmolLM2-135M-Instruct behind llama.cpp's server")
        with SmolLM2(a.window) as llm:
            out(f"    ready at {llm.url}, window {a.window:,} tokens")
            model = {"base_url": llm.url, "model": "smollm2", "context_window": a.window, "total_ms": 300_000}
            with contextlib.ExitStack() as ends:
                servers = start({"models": {"default": model}, "embedder": minilm()}, folder, a.replicas, ends)
                code = play(servers, a.window)
                out(dim(f"\n    the whole story took {time.time() - began:.0f} s"))
                if code == 0 and not a.auto:
                    chat(next(s for s in servers if s.process.poll() is None))
        return code
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(config, folder, replicas, ends):
    """The servers, ready."""
    if replicas == 1:
        heading("starting sid-server: embedded store, MiniLM for recall by meaning")
        servers = [Server(config, folder=folder, store="sqlite")]
    else:
        heading(f"starting Postgres, Qdrant and {replicas} servers, MiniLM for recall by meaning")
        qdrant = ends.enter_context(Qdrant())
        # Short leases, so that nobody has to wait long for what a killed server leaves behind.
        config = merged(config, {"engine": {"lease_ttl_ms": 3000, "poll_ms": 250}, "vectors": {"kind": "qdrant", "url": qdrant.url, "from": 0}})
        first = Server(config, store="postgres")
        ends.callback(first.remove)
        first.migrate()
        out(f"    Qdrant at {qdrant.url}; Postgres migrated")
        servers = [first, *(first.replica({"vectors": config["vectors"]}) for _ in range(replicas - 1))]
    for server in servers:
        ends.callback(server.remove)
        began = time.time()
        server.start()
        where = f", data in {server.data}" if replicas == 1 else ""
        out(f"    ready at {server.url} after {time.time() - began:.2f} s{where}")
    return servers


def play(servers, window):
    story = Story(servers)
    heading("a fact is told")
    story.say(TOLD)
    heading("days of other talk: more than the whole window")
    left = None
    for text in OTHER_TALK:
        story.later(hours=23)
        context = story.say(text)
        if left is None and FACT not in queue_of(context):
            left = story.now
    total = sum(m.get("tokens") or len(m["text"]) // 4 for m in story.api.all(f"/conversations/{story.conversation}/messages", limit=200))
    out(f"\n    {total:,} tokens were said; the window holds {window:,}." + (f" The fact left the message queue on {left:%d %b}." if left else ""))
    kill = None
    if len(servers) == 1:
        heading("kill -9, and a new start over the same data")
        servers[0].kill()
        began = time.time()
        servers[0].start()
        out(f"    killed; ready again after {time.time() - began:.2f} s")
    else:
        def kill(server):
            server.kill()
            out("\n" + red(f"    kill -9: server {servers.index(server) + 1}, in the middle of its answer"))
    story.later(days=5)
    heading("days later, an indirect question" + (", and the server that answers it is killed" if kill else ""))
    context = story.say(ASKED, kill)
    where = [s["name"] for s in context["segments"] if FACT in s["text"].lower() and s["name"] != "stimulus"]
    sent = json.dumps(context["messages"]).lower()
    ok = FACT in sent and context["prompt_tokens"] <= window and total > window
    out()
    if ok:
        out(green(f"    PASSED: nobody said \"{FACT}\" today, and it is in the prompt all the same (in: {', '.join(where) or 'messages'});"))
        out(green(f"            {context['prompt_tokens']:,} prompt tokens for a history of {total:,}, in a window of {window:,}."))
        out(dim("            (What a model of 135 million parameters makes of it is its own affair. Point `models.default.base_url` at a larger one.)"))
    else:
        out(red(f"    FAILED: fact in the prompt: {FACT in sent}; prompt {context['prompt_tokens']} of {window} tokens; history {total} tokens"))
    return 0 if ok else 1


def queue_of(context):
    return " ".join(s["text"].lower() for s in context["segments"] if s["name"] in ("queue", "stimulus"))


def chat(server):
    heading("your turn (Ctrl-D ends): sid chat")
    subprocess.run([str(paths.binary("sid")), *CHAT], env={**environment(), "SID_SERVER": server.url, "SID_API_KEY": server.key, "SID_TENANT": "demo"})


CHAT = ["chat", "--agent", "sid", "--user", "chad", "--conversation", "demo"]

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
