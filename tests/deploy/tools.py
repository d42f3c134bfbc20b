"""Where the programs are that check `deploy/`, and how they are run."""
import os, pathlib, subprocess

from harness import paths
from harness.server import environment

DEPLOY = paths.ROOT / "deploy"
CHART = DEPLOY / "helm" / "sid"


def tool(name):
    """hadolint, helm or haproxy: what xtask says (`SID_HELM`, ...), else what `cargo xtask setup deploy` fetched."""
    return os.environ.get(f"SID_{name.upper()}") or paths.parts(name)[0]


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **more)


def check_config(toml, folder, env):
    """What the real server says of a configuration: (fine?, its words). `env` are its `SID_*` variables."""
    file = pathlib.Path(folder) / "sid.toml"
    file.write_text(toml)
    went = run(paths.binary("sid-server"), "--config", file, "config", "check", env={**environment(), **env}, cwd=folder)
    return went.returncode == 0, went.stdout + went.stderr
