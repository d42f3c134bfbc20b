"""A real release sid-server: a data folder, a TOML file, a process that can be stopped or killed."""
import http.client, json, os, pathlib, re, shutil, signal, socket, subprocess, tempfile, time

from . import paths, reaper
from .api import Api
from .postgres import Database

KEY = re.compile(r"\bsid_[A-Za-z0-9_-]{16,}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def toml(table, prefix=""):
    """A nested dict as TOML."""
    plain = "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in table.items() if not isinstance(v, dict))
    out = (f"[{prefix}]\n" if prefix and plain else "") + plain
    for k, v in table.items():
        if isinstance(v, dict):
            out += toml(v, f"{prefix}.{k}" if prefix else k)
    return out


def merged(base, over):
    out = dict(base)
    for k, v in (over or {}).items():
        out[k] = merged(out.get(k, {}), v) if isinstance(v, dict) else v
    return out


def environment():
    """Ours without what would configure the server behind the test's back."""
    return {k: v for k, v in os.environ.items() if not k.startswith("SID_")}


def minilm():
    """The `embedder` section for MiniLM in process; sets it up when it is missing."""
    ort, model = paths.parts("onnxruntime", "minilm")
    return {"kind": "fastembed", "path": str(model), "onnxruntime": str(ort), "threads": 1}


class StartError(Exception):
    """The server ended, or did not become ready; the message is its log."""


class Server:
    """
    with Server({"models": {"default": {"base_url": llm}}}) as s:
        s.api.post("/tenants", {"name": "t1"})
    """

    def __init__(self, config=None, folder=None, port=None, store=None, prefix=(), env=None, ready_s=60, database=None, program=None, arguments=()):
        """`store`: `sqlite`, `in-process`, or `postgres` with a database of its own unless one is given; `SID_TEST_STORE` where none is named.
        `program`: another one that is started as sid-server is."""
        store = store or ("postgres" if database else os.environ.get("SID_TEST_STORE") or "sqlite")
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="sid-test-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.own_folder:
            reaper.remove_later(self.folder)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data, self.log, self.file = self.folder / "data", self.folder / "server.log", self.folder / "sid.toml"
        self.config = merged({"server": {"listen": f"127.0.0.1:{self.port}", "log_requests": False},
                              "store": {"kind": store, "path": str(self.data)},
                              "embedder": {"kind": "lexical"}}, config)
        self.prefix, self.env, self.ready_s = list(prefix), env or {}, ready_s
        self.program, self.arguments = program or paths.binary("sid-server"), arguments
        self.process, self.key, self.reaped = None, None, True
        self.database, self.own_database = database, None
        if store == "postgres":
            if database is None:
                self.database = database = self.own_database = Database()
            self.config["store"].update(url=database.url, admin_url=database.admin_url)

    @property
    def api(self):
        return Api(self.url, self.key)

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def migrate(self):
        """What an operator does once: prepares the database; the first time, that prints the first key."""
        self.file.write_text(toml(self.config))
        done = subprocess.run([str(paths.binary("sid-server")), "--config", str(self.file), "migrate"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, cwd=self.folder, env=environment())
        if done.returncode:
            raise StartError(f"sid-server migrate ended with {done.returncode}:\n{done.stderr}")
        found = KEY.search(done.stdout)
        if found:
            self.key = found.group(0)

    def start(self, wait=True):
        if self.own_database and self.key is None:
            self.migrate()
        self.file.write_text(toml(self.config))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, str(self.program), "--config", str(self.file), *self.arguments], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.folder, env={**environment(), **self.env})
        reaper.watch(self.process.pid)
        self.reaped = False
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        end = time.time() + self.ready_s
        while time.time() < end:
            if self.process.poll() is not None:
                raise StartError(f"sid-server ended with {self.process.returncode}:\n{self.text()}")
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", "/health/ready")
                if c.getresponse().status == 200:
                    break
            except OSError:
                pass
            finally:
                c.close()
            time.sleep(0.02)
        else:
            raise StartError(f"sid-server is not ready after {self.ready_s} s:\n{self.text()}")
        if self.key is None:
            found = KEY.search(self.text())
            if found:
                self.key = found.group(0)
                # The key is shown once; a later start over the same folder needs it.
                (self.folder / "first-key").write_text(self.key)
            elif (self.folder / "first-key").exists():
                self.key = (self.folder / "first-key").read_text()

    def replica(self, config=None):
        """Another server on the same database, not started yet."""
        other = Server(merged({k: v for k, v in self.config.items() if k not in ("server", "store")}, config), store="postgres", database=self.database)
        other.key = self.key
        return other

    def kill(self):
        """As a power cut: SIGKILL."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.reap()

    def reap(self):
        if self.process and self.process.returncode is None:
            self.process.wait()
        if self.process and not self.reaped:
            reaper.forget(self.process.pid)
            self.reaped = True

    def stop(self, limit=40):
        """As an operator: SIGTERM, then what it takes."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                self.kill()
            self.reap()
        return self.process.returncode if self.process else None

    def remove(self):
        self.kill()
        if self.own_database:
            self.own_database.drop()
            self.own_database = None
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_):
        self.remove()
