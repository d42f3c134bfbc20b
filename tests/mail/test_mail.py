"""E-mail that agents send, through a real mail server: Debian's Exim (`cargo xtask setup mail`)."""
import base64, os, pathlib, pwd, shutil, socket, subprocess, sys, tempfile

from harness import paths, reaper
from harness.case import Case
from harness.server import environment, free_port
from harness.waiting import until

sys.path.insert(0, str(paths.ROOT / "tests/blackbox"))
import test_tools  # noqa: E402

EXIM = """
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
primary_hostname = mail.example
keep_environment =
exim_path = {exim}
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
pid_file_path = {folder}/pid
exim_user = {user}
exim_group = {group}
never_users =
acl_smtp_rcpt = rcpt
tls_advertise_hosts =
begin acl
rcpt:
  deny message = no such mailbox
       local_parts = nobody-there
  accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  create_directory
  user = {user}
  group = {group}
begin retry
* * F,1h,1m
"""


class Mail:
    """Debian's exim on a free port; each message is a file."""

    def __init__(self):
        (exim,) = paths.parts("exim")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sid-mail-"))
        # Where another user may read it, too.
        shutil.copytree(pathlib.Path(exim).parent, self.folder / "program", symlinks=True)
        exim = self.folder / "program" / "exim"
        # Debian has it become root for whoever starts it, which takes the libraries beside it away.
        os.chmod(self.folder.joinpath("program", "root", "usr/sbin/exim4"), 0o755)
        # It gives up root, and will not deliver as root.
        user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self.port = free_port()
        os.chmod(self.folder, 0o755)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        config = self.folder / "exim.conf"
        config.write_text(EXIM.format(exim=exim, port=self.port, folder=self.folder, user=user.pw_uid, group=user.pw_gid))
        os.chmod(config, 0o644)
        log = open(self.folder / "output", "w")
        self.process = subprocess.Popen([exim, "-C", str(config), "-bdf", "-q1m"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
        reaper.watch(self.process.pid)
        until(lambda: "exim listens:\n" + (self.folder / "output").read_text(), self.listens, every_s=0.1, not_yet=OSError,
              hopeless=lambda: self.process.poll() is not None)

    def listens(self):
        socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        return True

    def messages(self, count):
        """All that have come, when there are as many at least."""
        new, logs = self.folder / "mail" / "new", lambda: "\n".join(f.read_text() for f in self.folder.glob("log-*"))
        until(lambda: f"{count} messages:\n{logs()}", lambda: sum(1 for _ in new.glob("*")) >= count, every_s=0.1)
        return [f.read_text() for f in new.glob("*")]

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


class Email(Case):
    config = {"tools": {"open": ["127.0.0.1:*"]}, "secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}
    ask, sid = test_tools.Tools.ask, test_tools.Tools.sid

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mail = Mail()
        cls.addClassCleanup(cls.mail.close)

    def setUp(self):
        super().setUp()
        self.inside = self.tenant(users=("ann",))

    def put(self, **more):
        source = {"kind": "email", "host": "127.0.0.1", "port": self.mail.port, "security": "none", "from": "Sid <sid@sid.example>", "recipients": ["*@corp.example"]}
        return self.inside.put("/tools/send_email", {"source": {**source, **more}})

    def test_mail_is_sent_to_whom_it_may(self):
        made = self.put()
        self.assertEqual([(f["name"], f["effect"]) for f in made["functions"]], [("send_email", "once")])
        before = len(self.mail.messages(0))
        told = self.ask("send_email", {"to": ["ann@corp.example"], "subject": "Größe", "text": "Dear Ann,\n\nit is 42.\n"})
        self.assertIn("taken it", told)
        message = next(m for m in self.mail.messages(before + 1) if "it is 42." in m)
        self.assertRegex(message, r"(?m)^Message-I[dD]: <[0-9a-f-]{36}@sid\.example>$")
        self.assertRegex(message, r"(?m)^From: .*Sid.* <sid@sid\.example>$")
        self.assertRegex(message, r"(?m)^To: ann@corp\.example$")
        for arguments in ({"to": ["eve@evil.example"], "subject": "Hi", "text": "x"}, {"to": ["ann@corp.example"], "subject": "Hi\r\nBcc: eve@evil.example", "text": "x"},
                          {"to": ["ann@corp.example\r\nBcc: eve@evil.example"], "subject": "Hi", "text": "x"}):
            self.assertIn("was not sent", self.ask("send_email", arguments))
        self.assertIn("refuses it", self.ask("send_email", {"to": ["nobody-there@corp.example"], "subject": "Hi", "text": "x"}))
        self.ask("send_email", {"to": ["ann@corp.example"], "subject": "Last", "text": "The last."})
        self.assertEqual(len(self.mail.messages(before + 2)), before + 2, "nothing else came")

    def test_what_does_not_fit_is_said(self):
        bad = lambda word, **more: self.assertIn(word, self.refused((400, 422), self.put, **more).text)
        bad("recipients", recipients=[])
        bad("TLS", username="sid", password="mail")
        bad("from", **{"from": "nobody"})
        self.put(security="starttls")
        self.assertIn("not", self.ask("send_email", {"to": ["ann@corp.example"], "subject": "Hi", "text": "No TLS, no mail."}))
