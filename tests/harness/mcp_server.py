"""A local MCP server that does as its tools are called: `python3 mcp_server.py FOLDER`. `FOLDER/pids` has its process ids; `FOLDER/tools` names further tools."""
import json, os, pathlib, sys, time

FOLDER = pathlib.Path(sys.argv[1])
TOOLS = {
    "environment": ("Names of the environment's variables.", {"readOnlyHint": True}),
    "add": ("Adds two numbers.", {}),
    "die": ("Ends the server.", {}),
    "hang": ("Never answers.", {}),
    "flood": ("Writes 200 MB.", {}),
    "nonsense": ("Answers what is no message.", {"idempotentHint": True}),
}


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def listed():
    more = (FOLDER / "tools").read_text().split() if (FOLDER / "tools").exists() else []
    schema = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}
    tools = {**TOOLS, **{name: ("One more.", {}) for name in more}}
    return [{"name": n, "description": d, "inputSchema": schema, "annotations": a} for n, (d, a) in tools.items()]


def call(name, arguments):
    if name == "environment":
        return {"content": [{"type": "text", "text": " ".join(sorted(os.environ))}]}
    if name == "add":
        return {"content": [], "structuredContent": {"sum": arguments["a"] + arguments["b"]}}
    if name == "die":
        os._exit(3)
    if name == "hang":
        time.sleep(3600)
    if name == "flood":
        for _ in range(200):
            sys.stdout.write("x" * 1_000_000)
    if name == "nonsense":
        sys.stdout.write("This is not JSON.\n[1, 2]\n{}\n")
        sys.stdout.flush()
        return {"content": [{"type": "hologram", "data": "?"}]}
    return {"content": [{"type": "text", "text": name}], "isError": True}


with open(FOLDER / "pids", "a") as pids:
    print(os.getpid(), file=pids)
seen = len(listed())
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, answer = asked.get("method"), {}
    if method == "initialize":
        answer = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "odd", "version": "1"}}
    elif method == "tools/list":
        answer = {"tools": listed()}
    elif method == "tools/call":
        answer = call(asked["params"]["name"], asked["params"].get("arguments") or {})
    say({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
    if len(listed()) != seen:
        seen = len(listed())
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
