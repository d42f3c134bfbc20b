"""The load balancer: HAProxy itself, on the very file that Compose mounts, before two small servers on loopback addresses."""
import http.client, json, os, signal, subprocess, tempfile, time, unittest

from harness.case import cannot_run
from harness.server import free_port
from replica import NameServer, Replica
from tools import DEPLOY, run, tool

CONFIG = DEPLOY / "compose" / "balancer" / "haproxy.cfg"
PATIENCE_S = 60


class Balancer(unittest.TestCase):
    def setUp(self):
        self.port, backend = free_port(), free_port()
        try:
            self.replicas = [Replica(f"127.0.0.{i}", backend).start() for i in (2, 3)]
        except OSError as e:
            cannot_run(f"a second loopback address is needed: {e}")
        for replica in self.replicas:
            self.addCleanup(replica.stop)
            self.addCleanup(replica.go.set)
        names = NameServer([r.address for r in self.replicas])
        self.addCleanup(names.close)
        env = {"PATH": os.environ["PATH"], "SID_LISTEN": f"127.0.0.1:{self.port}", "SID_DNS": names.address, "SID_HOST": "sid.test",
               "SID_BACKEND_PORT": str(backend)}
        self.log = tempfile.TemporaryFile()
        self.addCleanup(self.log.close)
        self.process = subprocess.Popen([tool("haproxy"), "-db", "-f", str(CONFIG)], env=env, stdout=self.log, stderr=self.log)
        self.addCleanup(self.end)
        self.until(lambda: {self.by() for _ in range(6)} == {r.address for r in self.replicas}, "both replicas serve")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def until(self, condition, what):
        stop = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > stop or self.process.poll() is not None:
                self.log.seek(0)
                self.fail(f"{what}: not within {PATIENCE_S} s\n{self.log.read().decode()}")
            time.sleep(0.1)

    def ask(self, method, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, b"{}" if method == "POST" else None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def by(self, method="GET", path="/"):
        """Which replica answered; None = none did."""
        try:
            status, body = self.ask(method, path)
        except OSError:
            return None
        return json.loads(body)["by"] if status == 200 else None

    def stream(self):
        """An open stream, its first event read: (its replica, what follows)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        self.addCleanup(connection.close)
        connection.request("GET", "/stream", headers={"accept": "text/event-stream"})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        # The second event is not even sent before this has arrived: a balancer that collected an answer would hang here.
        self.assertEqual(answer.readline() + answer.readline(), b"data: one\n\n")
        return answer

    def test_the_file_is_valid_and_a_wrong_one_is_not(self):
        went = run(tool("haproxy"), "-c", "-f", CONFIG)
        self.assertEqual(went.returncode, 0, went.stderr)
        self.assertNotIn("WARNING", (went.stdout + went.stderr).upper())
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as bad:
            bad.write(CONFIG.read_text().replace("option redispatch 1", "option redispach 1"))
            bad.flush()
            self.assertNotEqual(run(tool("haproxy"), "-c", "-f", bad.name).returncode, 0)

    def test_streams_are_passed_on_as_they_come(self):
        answer = self.stream()
        for replica in self.replicas:
            replica.go.set()
        self.assertEqual(answer.read(), b"data: two\n\n")

    def test_a_dead_replica_costs_no_request(self):
        self.replicas[0].stop()
        # At once: the health check has not seen it yet, so some of these are tried there first.
        served = [self.by("POST") for _ in range(40)]
        self.assertEqual(set(served), {self.replicas[1].address})
        self.replicas[0].start()
        self.until(lambda: self.by() == self.replicas[0].address, "the replica serves again")

    def test_a_draining_replica_keeps_its_streams_and_gets_nothing_new(self):
        answers = [self.stream(), self.stream()]
        self.replicas[0].ready = False
        other = self.replicas[1].address
        self.until(lambda: {self.by() for _ in range(10)} == {other}, "the draining replica gets nothing")
        self.assertEqual({self.by("POST") for _ in range(20)}, {other})
        for replica in self.replicas:
            replica.go.set()
        self.assertEqual([a.read() for a in answers], [b"data: two\n\n"] * 2)

    def test_no_ready_replica_is_a_503(self):
        for replica in self.replicas:
            replica.ready = False
        self.until(lambda: self.ask("GET", "/")[0] == 503, "nobody is ready")

    def test_metrics_are_hidden_and_nobody_invents_where_he_is_from(self):
        self.assertEqual(self.ask("GET", "/metrics")[0], 404)
        self.assertEqual(self.ask("GET", "/metrics?x=1")[0], 404)
        status, body = self.ask("GET", "/", {"x-forwarded-for": "10.9.8.7", "forwarded": "for=10.9.8.7"})
        self.assertEqual((status, json.loads(body)["for"]), (200, "127.0.0.1"))

    def test_a_soft_stop_ends_running_streams_first(self):
        answer = self.stream()
        self.process.send_signal(signal.SIGUSR1)
        self.until(lambda: self.by() is None, "new connections are refused")
        for replica in self.replicas:
            replica.go.set()
        self.assertEqual(answer.read(), b"data: two\n\n")
        self.assertEqual(self.process.wait(timeout=PATIENCE_S), 0)


if __name__ == "__main__":
    unittest.main()
