"""What a new user gets wrong: each time a clear error that says what to do, and nothing lost."""
import json, os, pathlib, shutil, socket, subprocess, sys, time, unittest

from harness import paths
from harness.api import make_tenant
from harness.case import Case, cannot_run
from harness.fake_model import FakeModel
from harness.server import Server, StartError, environment, free_port


def in_mount_namespace(script):
    """A command prefix that runs `script` (its $1 is the data folder's parent) in mounts of its own, then the server."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        cannot_run("needs Linux mount namespaces (unshare)")
    flags = ["--mount"] if os.getuid() == 0 else ["--user", "--map-root-user", "--mount"]
    if subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode:
        cannot_run("this machine does not allow mount namespaces")
    return lambda folder: ["unshare", *flags, "sh", "-ec", script + '\nshift; exec "$@"', "sh", str(folder)]


class Model(Case):
    """The model endpoint is wrong; the message is kept and the next one works once it is right."""

    def failing(self, model, **config):
        server = Server({"models": {"default": {"base_delay_ms": 20, "connect_ms": 1000, **model}}, **config})
        self.addCleanup(server.remove)
        server.start()
        inside = make_tenant(server.api, "t", ["ann"], ["helper"])
        conversation = self.talk(inside)
        said = inside.post(f"/conversations/{conversation}/messages", {"text": "my cat is called Miso"})
        self.assertEqual(said["run"]["status"], "failed", said)
        # The message is there, and with the right endpoint it is even in the prompt.
        self.assertEqual(self.transcript(inside, conversation)[0]["text"], "my cat is called Miso")
        server.stop()
        server.config["models"]["default"] = {"base_url": self.model.url, "model": "fake"}
        server.start()
        before = len(self.model.requests)
        self.assertEqual(inside.post(f"/conversations/{conversation}/messages", {"text": "hello?"})["reply"], "Understood.")
        self.assertIn("Miso", str(self.model.requests[before:]))
        self.transcript(inside, conversation)
        return said["run"]

    def test_wrong_url(self):
        url = f"http://127.0.0.1:{free_port()}/v1"
        run = self.failing({"base_url": url})
        self.assertEqual(run["stop_reason"], "model_unavailable")
        self.assertIn(url.split("//")[1].split("/")[0], run["error"])

    def test_wrong_path(self):
        run = self.failing({"base_url": self.model.url.replace("/v1", "/wrong/v2") + "/x", "model": "fake"})
        self.assertIn(run["stop_reason"], ("model_refused", "model_unavailable"))
        self.assertIn("/wrong/v2", run["error"])

    def test_wrong_key(self):
        with FakeModel(key="right") as strict:
            run = self.failing({"base_url": strict.url, "model": "fake", "api_key": "wrong"})
        self.assertEqual(run["stop_reason"], "model_refused")
        self.assertIn("key", run["error"].lower())
        self.assertNotIn("wrong", run["error"])


class Input(Case):
    config = {"models": {"default": {"context_window": 2048}}}

    def test_an_unknown_agent(self):
        inside = self.tenant()
        error = self.refused(404, inside.post, "/conversations", {"agent": "@hepler", "user": "@ann"})
        self.assertIn("hepler", error.text)

    def test_an_unknown_model_of_an_agent(self):
        inside = self.tenant()
        error = self.refused((400, 404, 422), inside.post, "/agents", {"name": "other", "model": "gpt-9"})
        self.assertIn("gpt-9", error.text)

    def test_invalid_utf8(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        status, headers, body = inside.raw("POST", f"/conversations/{conversation}/messages", b'{"text": "caf\xe9"}')
        self.assertEqual(status, 400, body)
        self.assertIn("utf-8", body.decode().lower())
        self.assertEqual(self.transcript(inside, conversation), [])
        # Everything that *is* UTF-8 comes back as it was.
        odd = "é\u0301 \U0001f952 \u202e אב \x07 \u2028 end"
        inside.post(f"/conversations/{conversation}/messages", {"text": odd})
        self.assertEqual(self.transcript(inside, conversation)[0]["text"], odd)

    def test_not_json(self):
        inside = self.tenant()
        for body in (b"", b"{", b"[]", b'"text"', b'{"text": 5}', b"{\"text\": \"\"}"):
            status, headers, text = inside.raw("POST", f"/conversations/{self.talk(inside)}/messages", body)
            self.assertIn(status, (400, 422), body)
            self.assertIn("SID-", json.loads(text)["code"])

    def test_a_message_larger_than_the_window(self):
        inside = self.tenant()
        conversation = self.talk(inside)
        inside.post(f"/conversations/{conversation}/messages", {"text": "my cat is called Miso"})
        before = len(self.model.requests)
        huge = "The quick brown fox jumps over the lazy dog. " * 2000
        status, _, body = inside.raw("POST", f"/conversations/{conversation}/messages", {"text": huge})
        answer = json.loads(body)
        if status == 200:
            self.assertIn(answer["run"]["status"], ("completed", "failed"))
            if answer["run"]["status"] == "failed":
                self.assertEqual(answer["run"]["stop_reason"], "window_too_small")
                self.assertIn("window", answer["run"]["error"])
            self.assertIn(huge.strip(), [m["text"].strip() for m in self.transcript(inside, conversation)], "what was accepted is kept whole")
        else:
            self.assertIn(status, (400, 413, 422), body)
            self.assertIn("SID-", answer["code"])
        for request in self.model.requests[before:]:
            self.assertLess(len(str(request)) / 4, 2048 * 1.3, "no prompt over the window")
        self.assertEqual(inside.post(f"/conversations/{conversation}/messages", {"text": "and now?"})["reply"], "Understood.")

    def test_a_body_over_the_limit(self):
        inside = self.tenant()
        path = f"/api/v1/conversations/{self.talk(inside)}/messages"
        # By hand: the server answers when it has seen the length, and a client library may still be sending then.
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as s:
            head = "".join(f"{k}: {v}\r\n" for k, v in inside.headers({"content-length": str(5 << 20)}).items())
            s.sendall(f"POST {path} HTTP/1.1\r\nhost: sid\r\n{head}\r\n".encode())
            text = b""
            while b"SID-" not in text and (part := s.recv(65536)):
                text += part
        self.assertRegex(text.split(b"\r\n")[0], b"^HTTP/1.1 413 ")
        self.assertIn(b"SID-", text)
        self.assertEqual(self.api.raw("GET", "/health/ready")[0], 200)


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
            end = time.time() + 20
            while time.time() < end:
                status, _, body = inside.raw("POST", f"/conversations/{conversation}/messages", {"text": "room again"})
                if status == 200 and json.loads(body)["run"]["status"] == "completed":
                    break
                time.sleep(0.5)
            self.assertEqual(status, 200, body)
            said = [m["text"] for m in inside.all(f"/conversations/{conversation}/messages", limit=200) if m["role"] == "user"]
            for text in acknowledged:
                self.assertEqual(said.count(text), 1, text[:40])
