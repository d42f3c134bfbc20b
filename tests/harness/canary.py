"""Words that must not be where they are looked for: every form that a word may take, and everything that a server holds or says."""
import base64, json, random, string

from .api import Api


class Canary:
    """A random word. `canary("label")` is a text with it; `seen(data)` tells where it is in some bytes, in whatever form."""

    def __init__(self, alphabet=string.ascii_lowercase, length=14):
        self.word = "".join(random.choice(alphabet.replace("0", "") or alphabet) for _ in range(length))
        word = self.word.encode()
        self.forms = {"as it is": word, "hex": word.hex().encode(), "HEX": word.hex().upper().encode(), "UTF-16": self.word.encode("utf-16-le"),
                      "URL-encoded": "".join(f"%{b:02X}" for b in word).encode(), "JSON-escaped": "".join(f"\\u{b:04x}" for b in word).encode()}
        for before in range(3):
            # What of the word is whole groups of 6 bits, wherever it stands in the text that was encoded.
            whole = base64.b64encode(bytes(before) + word)[[0, 2, 3][before]:]
            self.forms[f"base64 at {before}"] = whole[:(before + len(word)) * 8 // 6 - [0, 2, 3][before]]

    def __call__(self, label=""):
        return self.word + label

    def seen(self, data):
        """-> what was found: the form, and what stands around it."""
        found = []
        for form, pattern in self.forms.items():
            at = data.find(pattern)
            if at >= 0:
                found.append(f"{form}: …{data[max(0, at - 120):at + len(pattern) + 120]!r}…")
        return found


class Listening(Api):
    """An API that keeps every answer: (who, what, status, headers and body)."""

    def __init__(self, *arguments, heard=None, **more):
        super().__init__(*arguments, **more)
        self.heard = [] if heard is None else heard

    @classmethod
    def to(cls, api, heard=None):
        return cls(api.base, api.key, api.tenant, api.user, api.timeout, api.agent, heard=heard)

    def acting(self, **more):
        return self.to(super().acting(**more), self.heard)

    def showing(self, key):
        return self.to(super().showing(key), self.heard)

    def raw(self, method, path, body=None, headers=None, timeout=None):
        status, h, data = super().raw(method, path, body, headers, timeout)
        self.heard.append((f"{method} {path}", status, str(h).encode() + b"\n" + data))
        return status, h, data


ALL_ROWS = """CREATE FUNCTION pg_temp.all_rows() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE name regclass;
BEGIN
    FOR name IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND (n.nspname !~ '^(pg_|information_schema)' OR c.relname = 'pg_statistic') LOOP
        RETURN QUERY EXECUTE format('SELECT %L || t::text FROM %s t', name::text || ': ', name);
    END LOOP;
END $$;
SELECT * FROM pg_temp.all_rows()"""


def held(server):
    """What the store holds, as (name, bytes): the raw bytes of every file of SQLite's folder; every row of every table of Postgres, and
    the samples that the planner keeps of them."""
    if server.database:
        return [("all tables", server.database.sql(ALL_ROWS).encode())]
    return [(file.name, file.read_bytes()) for file in sorted(server.data.rglob("*")) if file.is_file()]


def analyze(server):
    """What autovacuum does sooner or later: Postgres samples what it reads."""
    if server.database:
        server.database.sql("ANALYZE")


def backup(server):
    """A copy that is made now, as bytes: of Postgres all rows, which is what `pg_dump` reads."""
    if server.database:
        return held(server)[0][1]
    status, _, data = server.api.raw("POST", "/backup", {})
    assert status == 200, data[:500]
    return data


def prompts(model):
    """All that a fake model was sent."""
    with model.lock:
        return json.dumps(model.requests, ensure_ascii=False).encode()


QUERIES = ("", "?owner_type=user&user=@ann", "?owner_type=user&user=@bob", "?owner_type=tenant", "?agent=@helper&user=@bob", "?agent=@helper", "?which=last", "?bodies=true", "?kind=note&bodies=true", "?limit=1000")


def read_everything(test, callers, ids):
    """Every operation that only reads, by every caller, with these ids in the paths (by prefix or name of the parameter); answers all operations as
    (id, method, path), and which of the reading ones were answered 200 to nobody: a walk that is refused sees nothing."""
    listening = next(iter(callers.values()))
    document = listening.call("GET", "/openapi.json")
    operations = sorted((o["operationId"], m.upper(), path) for path, item in document["paths"].items() for m, o in item.items())
    below = [("/users/", "user"), ("/teams/", "team"), ("/v1/agents/", "agent"), ("/conversations/", "conv"), ("/runs/", "run"), ("/context/items/", "item"),
             ("/blocks/", "blk"), ("/timers/", "tmr"), ("/documents/", "doc"), ("/webhooks/", "whk"), ("/tasks/", "task"), ("/approvals/", "appr"), ("/passages/", "psg"), ("/images/", "img"), ("/v1/models/", "model")]
    unanswered = set()
    for operation, method, path in operations:
        if method != "GET":
            continue
        kind = next((kind for prefix, kind in below if prefix + "{" in path), None)
        path = path.replace("{id}", ids.get(kind, "x"))
        for name in ("user", "team", "agent", "tenant", "name", "toolset", "ego", "delivery"):
            path = path.replace("{" + name + "}", ids.get(name, "none"))
        statuses = set()
        for query in QUERIES:
            for api in callers.values():
                status, _, _ = api.raw("GET", path + query, headers={"accept": "text/event-stream"} if operation == "get_run_events" else None)
                test.assertLess(status, 500, path)
                statuses.add(status)
        if 200 not in statuses:
            unanswered.add(operation)
    return operations, unanswered
