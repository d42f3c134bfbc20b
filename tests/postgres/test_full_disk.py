"""The disk under Postgres fills up: writes are refused with a reason, reads go on, nothing that was acknowledged is lost."""
import json, os, pathlib, shutil, subprocess, sys, tempfile, unittest, urllib.parse

from harness import reaper
from harness.api import make_tenant
from harness.case import cannot_run
from harness.fake_model import FakeModel
from harness.postgres import Database
from harness.server import Server, environment, free_port
from harness.waiting import until

# $1: a folder, $2: the programs, $3: the port. The tables are on a disk of 96 MB that only these processes see; the log is not: when that is full,
# Postgres itself ends.
START = """
mount -t tmpfs -o size=96m,mode=777 tmpfs "$1/disk"
exec setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups env HOME="$1" PATH="$2:$PATH" sh -ec '
initdb -U sid_admin -A trust --no-locale -E UTF8 --no-sync --wal-segsize=1 -X "$1/wal" -D "$1/disk/pg" >/dev/null
exec postgres -D "$1/disk/pg" -p "$3" -k "$1" -c listen_addresses=127.0.0.1 -c max_wal_size=16MB -c min_wal_size=2MB -c shared_buffers=16MB
' sh "$1" "$2" "$3"
"""


class SmallDisk:
    """A Postgres whose tables have little room."""

    def __init__(self, programs):
        self.folder, self.port = pathlib.Path(tempfile.mkdtemp(prefix="sid-small-disk-")), free_port()
        reaper.remove_later(self.folder)
        (self.folder / "disk").mkdir()
        for part in (self.folder, self.folder / "disk"):
            part.chmod(0o777)
        self.admin_url, self.url = (f"postgres://{user}@127.0.0.1:{self.port}/postgres" for user in ("sid_admin", "sid_server"))
        with open(self.folder / "log", "ab") as log:
            command = ["unshare", "--mount", "sh", "-ec", START, "sh", str(self.folder), str(programs), str(self.port)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), cwd="/")
        reaper.watch(self.process.pid)
        self.psql = [str(programs / "psql"), "-X", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "sid_admin", "-d", "postgres"]
        until(lambda: "Postgres is ready:\n" + (self.folder / "log").read_text(errors="replace"),
              lambda: not subprocess.run([*self.psql, "-c", "CREATE ROLE sid_server LOGIN"], capture_output=True).returncode,
              every_s=0.2, hopeless=lambda: self.process.poll() is not None)

    @property
    def ballast(self):
        # The server's own view of its mounts; ours does not have the small disk.
        return pathlib.Path(f"/proc/{self.process.pid}/root{self.folder}/disk/ballast")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        reaper.forget(self.process.pid)
        shutil.rmtree(self.folder, ignore_errors=True)


class FullDisk(unittest.TestCase):
    def test_a_full_disk(self):
        if not sys.platform.startswith("linux") or os.getuid() or not shutil.which("unshare"):
            cannot_run("needs root and Linux mount namespaces (unshare)")
        # The throw-away cluster has its programs where another user may run them.
        database = Database()
        self.addCleanup(database.drop)
        home = pathlib.Path(urllib.parse.unquote(database.url.split("@")[1].split("/")[0]))
        disk = SmallDisk(next((home / "install" / "server").glob("*")) / "bin")
        self.addCleanup(disk.stop)
        with FakeModel() as model:
            server = Server({"models": {"default": {"base_url": model.url, "model": "fake"}}}, database=disk)
            self.addCleanup(server.remove)
            server.migrate()
            server.start()
            inside = make_tenant(server.api, "t", ["ann"], ["helper"])
            conversation = inside.post("/conversations", {"agent": "@helper", "user": "@ann"})["id"]
            send = lambda text: inside.raw("POST", f"/conversations/{conversation}/messages", {"text": text})
            acknowledged, refused = ["kept"], None
            self.assertEqual(send("kept")[0], 200)
            with open(disk.ballast, "wb", buffering=0) as f:
                try:
                    while f.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
            for i in range(300):
                text = f"message {i} " + os.urandom(2000).hex()
                status, _, body = send(text)
                if status != 200:
                    refused = status, json.loads(body)
                    break
                acknowledged.append(text)
            self.assertIsNotNone(refused, "the disk never filled")
            self.assertEqual((refused[0], refused[1]["code"]), (507, "SID-STORE-FULL"), refused)
            self.assertEqual(len(list(inside.all("/users"))), 1, "reading goes on")
            self.assertIsNone(server.process.poll(), "the server goes on")
            disk.ballast.unlink()
            answers = []

            def is_answered():
                answers.append(send("room again"))
                status, _, body = answers[-1]
                return status == 200 and json.loads(body)["run"]["status"] == "completed"
            until(lambda: f"it goes on with room again: {answers[-1]}", is_answered, every_s=0.5)
            said = [m["text"] for m in inside.all(f"/conversations/{conversation}/messages", limit=200) if m["role"] == "user"]
            for text in acknowledged:
                self.assertEqual(said.count(text), 1, text[:40])
