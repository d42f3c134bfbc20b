"""The real Qdrant engine behind Qdrant's own protocol (crates/sid-testkit/src/qdrant_engine.py), for suites that start whole servers."""
import os, shutil, subprocess, sys, tempfile

from . import paths, reaper
from .server import environment, free_port


class Qdrant:
    """with Qdrant() as q: ... q.url; its address and its data stay over `kill` and `start`. `SID_QDRANT_URL` names a true one to use instead."""

    def __init__(self):
        self.given = os.environ.get("SID_QDRANT_URL")
        self.process, self.port = None, free_port()
        self.url = self.given or f"http://127.0.0.1:{self.port}"
        self.folder = tempfile.mkdtemp(prefix="sid-qdrant-")
        reaper.remove_later(self.folder)

    def start(self):
        if self.given:
            return self
        engine, data = paths.ROOT / "crates" / "sid-testkit" / "src" / "qdrant_engine.py", os.path.join(self.folder, "data")
        with open(os.path.join(self.folder, "log"), "ab") as log:
            command = [sys.executable, str(engine), "--data", data, "--port", str(self.port), "--parts", *paths.parts("qdrant")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment())
        reaper.watch(self.process.pid)
        if not self.process.stdout.readline().startswith(b"listening"):
            with open(os.path.join(self.folder, "log"), errors="replace") as log:
                text = log.read()[-3000:]
            self.kill()
            raise RuntimeError(f"the Qdrant engine did not start:\n{text}")
        return self

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            reaper.forget(self.process.pid)
            self.process = None

    def wipe(self):
        self.kill()
        shutil.rmtree(os.path.join(self.folder, "data"), ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
