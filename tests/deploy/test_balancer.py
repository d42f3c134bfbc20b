"""The load balancer, before two small servers on loopback addresses."""
import http.client, json, signal, tempfile, unittest

from harness.case import cannot_run
from harness.server import free_port
from haproxy import CONFIG, PATIENCE_S, HaProxy
from replica import Replica
from tools import run, tool


def rest_of(stream):
    """What still comes; what came before it was cut."""
    try:
        return stream.read()
    except http.client.IncompleteRead as cut:
        return cut.partial


class Balancer(unittest.TestCase):
    def setUp(self):
        backend = free_port()
        try:
            self.replicas = [Replica(f"127.0.0.{i}", backend).start() for i in (2, 3)]
        except OSError as e:
            cannot_run(f"a second loopback address is needed: {e}")
        for replica in self.replicas:
            self.addCleanup(replica.stop)
            self.addCleanup(replica.go.set)
        self.haproxy = HaProxy([r.address for r in self.replicas], backend)
        self.addCleanup(self.haproxy.end)
        self.ask, self.until = self.haproxy.ask, self.haproxy.until
        self.until("both replicas serve", lambda: {self.by() for _ in range(6)} == {r.address for r in self.replicas})

    def by(self, method="GET"):
        """Which replica answered; None = none did."""
        try:
            status, body = self.ask(method, "/")
        except OSError:
            return None
        return json.loads(body)["by"] if status == 200 else None

    def stream(self):
        """An open stream, its first event read: (its replica, what follows)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.haproxy.port, timeout=PATIENCE_S)
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
        # One stream on each, and the dead replica loses its own: by the number of connections alone, every request would be tried there.
        streams = [self.stream(), self.stream()]
        self.replicas[0].stop()
        # At once: the health check has not seen it yet, so the first one is tried there.
        served = [self.by("POST") for _ in range(40)]
        self.assertEqual(set(served), {self.replicas[1].address}, self.haproxy.said())
        self.replicas[0].start()
        self.until("the replica serves again", lambda: self.by() == self.replicas[0].address)
        self.replicas[1].go.set()
        self.assertIn(b"data: two\n\n", [rest_of(stream) for stream in streams])

    def test_a_draining_replica_keeps_its_streams_and_gets_nothing_new(self):
        answers = [self.stream(), self.stream()]
        self.replicas[0].ready = False
        other = self.replicas[1].address
        self.until("the draining replica gets nothing", lambda: {self.by() for _ in range(10)} == {other})
        self.assertEqual({self.by("POST") for _ in range(20)}, {other})
        for replica in self.replicas:
            replica.go.set()
        self.assertEqual([a.read() for a in answers], [b"data: two\n\n"] * 2)

    def test_no_ready_replica_is_a_503(self):
        for replica in self.replicas:
            replica.ready = False
        self.until("nobody is ready", lambda: self.ask("GET", "/")[0] == 503)

    def test_metrics_are_hidden_and_nobody_invents_where_he_is_from(self):
        self.assertEqual(self.ask("GET", "/metrics")[0], 404)
        self.assertEqual(self.ask("GET", "/metrics?x=1")[0], 404)
        status, body = self.ask("GET", "/", {"x-forwarded-for": "10.9.8.7", "forwarded": "for=10.9.8.7"})
        self.assertEqual((status, json.loads(body)["for"]), (200, "127.0.0.1"))

    def test_a_soft_stop_ends_running_streams_first(self):
        answer = self.stream()
        self.haproxy.process.send_signal(signal.SIGUSR1)
        self.until("new connections are refused", lambda: self.by() is None)
        for replica in self.replicas:
            replica.go.set()
        self.assertEqual(answer.read(), b"data: two\n\n")
        self.assertEqual(self.haproxy.process.wait(timeout=PATIENCE_S), 0)


if __name__ == "__main__":
    unittest.main()
