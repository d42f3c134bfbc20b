"""HAProxy itself, on the very file that Compose mounts; a name server of ours tells it where the servers are."""
import http.client, os, socket, struct, subprocess, tempfile, threading

from harness import reaper, waiting
from harness.server import free_port
from tools import DEPLOY, tool

CONFIG = DEPLOY / "compose" / "balancer" / "haproxy.cfg"
PATIENCE_S = 60


class HaProxy:
    """On a port of 127.0.0.1, before servers on `addresses`, all on one port, as containers are."""

    def __init__(self, addresses, backend_port):
        self.port, self.names, self.log = free_port(), NameServer(addresses), tempfile.TemporaryFile()
        env = {"PATH": os.environ["PATH"], "SID_LISTEN": f"127.0.0.1:{self.port}", "SID_DNS": self.names.address, "SID_HOST": "sid.test",
               "SID_BACKEND_PORT": str(backend_port)}
        self.process = subprocess.Popen([tool("haproxy"), "-db", "-f", str(CONFIG)], env=env, stdout=self.log, stderr=self.log)
        reaper.watch(self.process.pid)

    def end(self):
        self.process.kill()
        self.process.wait()
        reaper.forget(self.process.pid)
        self.names.close()
        self.log.close()

    def ask(self, method, path, headers=None):
        """A request on a connection of its own: (status, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, b"{}" if method == "POST" else None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def said(self):
        """Its log so far."""
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def until(self, what, holds):
        """Waits for it; nobody listening is "not yet", a balancer that has ended is the end."""
        waiting.until(lambda: f"{what}\n{self.said()}", holds, every_s=0.1, not_yet=OSError, hopeless=lambda: self.process.poll() is not None)


class NameServer:
    """Answers every question for an IPv4 address with all replicas."""

    def __init__(self, addresses):
        self.addresses, self.socket = addresses, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                packet, client = self.socket.recvfrom(4096)
            except OSError:
                return
            end = packet.index(0, 12) + 5  # The name ends with an empty label; type and class follow.
            kind = struct.unpack(">H", packet[end - 4:end - 2])[0]
            found = self.addresses if kind == 1 else []
            head = packet[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)
            rows = b"".join(struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(a) for a in found)
            self.socket.sendto(head + packet[12:end] + rows, client)

    def close(self):
        self.socket.close()
