"""The real small model: SmolLM2-135M-Instruct behind llama.cpp's server."""
import http.client, os, subprocess, sys, tempfile, time

from . import paths, reaper
from .server import environment, free_port


class SmolLM2:
    """with SmolLM2(context=2048) as llm: ... llm.url"""

    def __init__(self, context=2048, ready_s=120):
        self.context, self.ready_s, self.port = context, ready_s, free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.log = tempfile.NamedTemporaryFile(prefix="sid-llm-", suffix=".log", delete=False)

    def __enter__(self):
        package, model = paths.parts("xllamacpp", "smollm2")
        self.process = subprocess.Popen([sys.executable, str(paths.ROOT / "tests" / "llm" / "llm_server.py"), model, str(self.port), str(self.context)],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env={**environment(), "PYTHONPATH": package})
        reaper.watch(self.process.pid)
        end = time.time() + self.ready_s
        while time.time() < end and self.process.poll() is None:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                c.request("GET", "/health")
                if c.getresponse().status == 200:
                    return self
            except OSError:
                pass
            finally:
                c.close()
            time.sleep(0.1)
        with open(self.log.name, errors="replace") as f:
            text = f.read()[-3000:]
        self.__exit__()
        raise RuntimeError(f"the model server did not become ready:\n{text}")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        reaper.forget(self.process.pid)
        self.log.close()
        if os.path.exists(self.log.name):
            os.unlink(self.log.name)
