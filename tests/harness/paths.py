"""Where the checkout, its binaries and the fetched parts are; the same rules as xtask/src/dirs.rs."""
import json, os, pathlib, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def target():
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def built():
    return target() / (os.environ.get("SID_PROFILE") or "release")


def cache():
    if os.environ.get("SID_CACHE"):
        return pathlib.Path(os.environ["SID_CACHE"])
    if os.environ.get("HOME"):
        d = pathlib.Path(os.environ["HOME"]) / ".cache" / "sid"
        try:
            d.mkdir(parents=True, exist_ok=True)
            return d
        except OSError:
            pass
    return target() / "sid-deps"


def say(text):
    print(text, file=sys.stderr, flush=True)


def cargo(*arguments):
    say("    $ cargo " + " ".join(arguments))
    subprocess.run([os.environ.get("CARGO", "cargo"), *arguments], cwd=ROOT, check=True, stdout=sys.stderr)


def build():
    cargo("run", "--quiet", "--package", "xtask", "--", "test", "--build")


def binary(name):
    """A binary of the workspace: `SID_SERVER_BIN` (or `SID_BIN`, `SID_BAKERY_BIN`), else the checkout's, which is built when it is missing."""
    given = os.environ.get({"sid-server": "SID_SERVER_BIN", "sid": "SID_BIN", "example-bakery": "SID_BAKERY_BIN"}.get(name, ""))
    if given:
        return pathlib.Path(given)
    path = built() / name
    if not path.exists():
        build()
    return path


def example(name):
    """An example of the workspace, built when it is missing."""
    path = built() / "examples" / name
    if not path.exists():
        build()
    return path


def parts(*keys):
    """What `cargo xtask setup` fetched, by key; runs it for what is missing. Keys: see xtask/src/setup/pins.rs."""
    groups = {"onnxruntime": "embed", "minilm": "embed", "xllamacpp": "llm", "smollm2": "llm", "clients": "clients", "bench": "bench", "postgres": "postgres",
              "pgbouncer": "pgbouncer", "faketime": "faketime", "exim": "mail", "hadolint": "deploy", "helm": "deploy", "haproxy": "deploy",
              "identity": "identity", "node": "node", "npm": "node", "fastapi": "examples", "django": "examples", "autogen": "examples"}

    def read():
        try:
            found = json.loads((cache() / "setup.json").read_text())
        except (OSError, ValueError):
            found = {}
        return {k: v for k, v in found.items() if os.path.exists(v)}

    if any(k not in read() for k in keys):
        cargo("run", "--quiet", "--package", "xtask", "--", "setup", *sorted({groups[k] for k in keys}))
    found = read()
    return [found[k] for k in keys]
