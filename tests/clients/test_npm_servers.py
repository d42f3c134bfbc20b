"""MCP servers as npm has them, tools of an agent's: the reference servers for files and for everything, as programs of the operator's and over HTTP."""
import os, pathlib, shutil, subprocess, sys, tempfile, urllib.error, urllib.request

import npm
from harness import paths, reaper
from harness.case import Case
from harness.server import environment, free_port
from harness.waiting import until

sys.path.insert(0, str(paths.ROOT / "tests/blackbox"))
import test_tools  # noqa: E402

FILES = "@modelcontextprotocol/server-filesystem/dist/index.js"
EVERYTHING = "@modelcontextprotocol/server-everything/dist/index.js"


def program(script, *arguments):
    return {"command": npm.node(), "args": [str(npm.modules() / script), *arguments], "tenants": ["*"]}


class NpmServers(Case):
    sid, ask, offered = test_tools.Tools.sid, test_tools.Tools.ask, test_tools.Tools.offered

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="sid-files-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        (cls.folder / "shopping.txt").write_text("pickles, rye bread\n")
        cls.config = {"tools": {"open": ["127.0.0.1:*"], "mcp": {"files": program(FILES, str(cls.folder)), "everything": program(EVERYTHING, "stdio")}}}
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann",))

    def test_the_servers_of_files(self):
        said = self.sid("add", "mcp:files")
        self.assertIn("files_read_text_file", said)
        self.assertIn("pickles", self.ask("files_read_text_file", {"path": str(self.folder / "shopping.txt")}))
        self.ask("files_write_file", {"path": str(self.folder / "new.txt"), "content": "Hello."})
        self.assertEqual((self.folder / "new.txt").read_text(), "Hello.")
        self.assertIn("denied", self.ask("files_read_text_file", {"path": "/etc/passwd"}).lower())
        self.assertIn("path", self.ask("files_read_text_file", {}), "arguments are checked before they leave the house")

    def everything(self, prefix):
        self.assertIn("17", self.ask(f"{prefix}_get-sum", {"a": 8, "b": "9"}))
        self.assertIn("hello", self.ask(f"{prefix}_echo", {"message": "hello"}))
        picture = self.ask(f"{prefix}_get-tiny-image", {})
        self.assertIn("[image: image/png", picture)
        self.assertLess(len(picture), 1000, "no base64 for the model")
        self.assertIn("temperature", self.ask(f"{prefix}_get-structured-content", {"location": "New York"}))
        self.assertIn("demo://", self.ask(f"{prefix}_get-resource-links", {"count": 2}))
        self.assertIn("demo://", self.ask(f"{prefix}_get-resource-reference", {"resourceType": "Text", "resourceId": 1}))

    def test_everything_as_a_program(self):
        self.sid("add", "mcp:everything")
        self.everything("everything")
        names = self.ask("everything_get-env", {})
        self.assertNotIn("SID_", names)

    def test_everything_over_http(self):
        port = free_port()
        home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, home, True)
        log = open(os.path.join(home, "log"), "w+")
        server = subprocess.Popen([npm.node(), str(npm.modules() / EVERYTHING), "streamableHttp"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home,
                                  env={**environment(), "HOME": home, "PORT": str(port)})
        reaper.watch(server.pid)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)

        def answers():
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/mcp", timeout=5).close()
            except urllib.error.HTTPError:
                pass  # It is there, and wants more than a GET.
            return True
        until(lambda: f"the server answers:\n{open(log.name).read()}", answers, every_s=0.1, not_yet=OSError, hopeless=lambda: server.poll() is not None)
        self.assertIn("remote_echo", self.sid("add", f"http://127.0.0.1:{port}/mcp", "--name", "remote"))
        self.everything("remote")
        self.assertLess(open(log.name).read().count("Session initialized"), 6, "not a session for each call")
