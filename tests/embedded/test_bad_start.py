"""What a new user gets wrong at the start, and with the data folder: each time a clear error that says what to do, and nothing lost."""
import json, os, pathlib, shutil, subprocess, sys, unittest

from harness import paths
from harness.api import make_tenant
from harness.case import cannot_run
from harness.fake_model import FakeModel
from harness.server import Server, StartError, environment
from harness.waiting import until


def in_mount_namespace(script):
    """A command prefix that runs `script` (its $1 is the data folder's parent) in mounts of its own, then the server."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        cannot_run("needs Linux mount namespaces (unshare)")
    flags = ["--mount"] if os.getuid() == 0 else ["--user", "--map-root-user", "--mount"]
    if subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode:
        cannot_run("this machine does not allow mount namespaces")
    return lambda folder: ["unshare", *flags, "sh", "-ec", script + '\nshift; exec "$@"', "sh", str(folder)]


class Starting(unittest.TestCase):
    """The server does not start, says why and what to do, and leaves the data alone."""

    def fails(self, server, *words):
        self.addCleanup(server.remove)
        with self.assertRaises(StartError) as caught:
            server.start()
        self.assertNotEqual(server.process.returncode, 0)
        text = str(caught.exception)
        for word in words:
            self.assertIn(word.lower(), text.lower())
        self.assertNotIn("panicked", text)
        return text

    def test_an_unknown_configuration_key(self):
        text = self.fails(Server({"server": {"listne": "127.0.0.1:1"}}), "server.listne", "server.listen")
        self.assertIn("sid.toml", text)

    def test_an_unknown_variable(self):
        self.fails(Server({}, env={"SID_SERVER__LISTNE": "x"}), "SID_SERVER__LISTNE")

    def test_a_value_that_does_not_fit(self):
        self.fails(Server({"server": {"body_limit_bytes": "much"}}), "server.body_limit_bytes")

    def test_config_check(self):
        folder = Server({"models": {"default": {"api_key": "very-secret"}}})
        self.addCleanup(folder.remove)
        from harness.server import toml
        folder.file.write_text(toml(folder.config))
        went = subprocess.run([str(paths.binary("sid-server")), "config", "check", "--config", str(folder.file)], capture_output=True, text=True, env=environment())
        self.assertEqual(went.returncode, 0, went.stderr)
        self.assertIn(str(folder.data), went.stdout)
        self.assertNotIn("very-secret", went.stdout + went.stderr)
        folder.file.write_text("[server]\nlistne = 1\n")
        went = subprocess.run([str(paths.binary("sid-server")), "config", "check", "--config", str(folder.file)], capture_output=True, text=True, env=environment())
        self.assertNotEqual(went.returncode, 0)
        self.assertIn("server.listen", went.stdout + went.stderr)

    def test_an_occupied_port(self):
        with Server() as first:
            second = Server(port=first.port)
            # The first one answers on that port: do not take it for the second.
            self.addCleanup(second.remove)
            second.start(wait=False)
            self.assertNotEqual(second.process.wait(20), 0)
            self.assertIn(str(first.port), second.text())
            self.assertIn("server.listen", second.text().lower().replace("--listen", "server.listen"))
            self.assertNotIn("panicked", second.text())

    def test_a_read_only_data_folder(self):
        prefix = in_mount_namespace('mkdir -p "$1/data"; mount --bind "$1/data" "$1/data"; mount -o remount,ro,bind "$1/data"')
        server = Server()
        server.prefix = prefix(server.folder)
        self.fails(server, str(server.data))

    def test_a_data_folder_that_is_a_file(self):
        server = Server()
        server.data.write_text("not a folder")
        self.fails(server, str(server.data))
        self.assertEqual(server.data.read_text(), "not a folder")

    def test_a_corrupt_database(self):
        with FakeModel() as model, Server({"models": {"default": {"base_url": model.url, "model": "fake"}}}) as server:
            inside = make_tenant(server.api, "t", ["ann"], ["helper"])
            conversation = inside.post("/conversations", {"agent": "@helper", "user": "@ann"})["id"]
            for i in range(20):
                inside.post(f"/conversations/{conversation}/messages", {"text": f"note {i}"})
            server.stop()
            file = server.data / "sid.db"
            log = server.data / "sid.db-wal"
            self.assertFalse(log.exists() and log.stat().st_size, "a clean stop leaves everything in one file, which people copy")
            good = file.read_bytes()
            bad = (b"this is no database at all" * 40)[:1040] + good[1040:]
            file.write_bytes(bad)
            text = self.fails(server, file.name)
            self.assertRegex(text.lower(), "corrupt|not a database|damaged|malformed")
            self.assertEqual(file.read_bytes(), bad, "evidence is left as it was")
            # With the backup put back everything is there.
            file.write_bytes(good)
            server.start()
            self.assertEqual(len(list(inside.all(f"/conversations/{conversation}/messages", limit=100))), 40)

    def test_two_servers_on_one_data_folder(self):
        with Server() as first:
            second = Server(folder=first.folder / "second")
            second.config["store"]["path"] = str(first.data)
            second.ready_s = 20
            self.fails(second, str(first.data))
            self.assertEqual(first.api.raw("GET", "/health/ready")[0], 200)


class FullDisk(unittest.TestCase):
    def test_a_full_disk(self):
        """Writes are refused with a clear error, reads go on, and with room again the next message works."""
        prefix = in_mount_namespace('mkdir -p "$1/data"; mount -t tmpfs -o size=6m tmpfs "$1/data"')
        with FakeModel() as model:
            server = Server({"models": {"default": {"base_url": model.url, "model": "fake"}}})
            self.addCleanup(server.remove)
            server.prefix = prefix(server.folder)
            server.start()
            inside = make_tenant(server.api, "t", ["ann"], ["helper"])
            conversation = inside.post("/conversations", {"agent": "@helper", "user": "@ann"})["id"]
            inside.post(f"/conversations/{conversation}/messages", {"text": "kept"})
            # The server's own view of its mounts; ours does not have the small disk.
            disk = pathlib.Path(f"/proc/{server.process.pid}/root{server.data}")
            ballast = disk / "ballast"
            with open(ballast, "wb", buffering=0) as f:
                try:
                    while f.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
            acknowledged, refused = ["kept"], None
            for i in range(400):
                text = f"message {i} " + "x" * 2000
                status, _, body = inside.raw("POST", f"/conversations/{conversation}/messages", {"text": text})
                if status == 200:
                    acknowledged.append(text)
                else:
                    refused = status, json.loads(body)
                    break
            self.assertIsNotNone(refused, "the disk never filled")
            self.assertIn(refused[0], (500, 503, 507))
            self.assertIn("SID-STORE", refused[1]["code"])
            self.assertRegex(str(refused[1]).lower(), "full|space")
            self.assertEqual(len(list(inside.all("/users"))), 1, "reading goes on")
            ballast.unlink()
            answers = []

            def is_answered():
                answers.append(inside.raw("POST", f"/conversations/{conversation}/messages", {"text": "room again"}))
                status, _, body = answers[-1]
                return status == 200 and json.loads(body)["run"]["status"] == "completed"
            until(lambda: f"it goes on with room again: {answers[-1]}", is_answered, every_s=0.5)
            said = [m["text"] for m in inside.all(f"/conversations/{conversation}/messages", limit=200) if m["role"] == "user"]
            for text in acknowledged:
                self.assertEqual(said.count(text), 1, text[:40])
