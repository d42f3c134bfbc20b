"""The Helm chart: linted and rendered by Helm itself, the result checked against the schemas of several Kubernetes versions."""
import pathlib, tempfile, unittest

import kubernetes_validate, yaml

from tools import CHART, check_config, run, tool

# The least that a user says, and everything at once.
LEAST = {"store": {"existingSecret": "db"}, "migrate": {"existingSecret": "db"}, "models": {"default": {"baseUrl": "http://vllm:8000/v1"}}}
ALL = {
    "image": {"repository": "registry.example/sid", "digest": "sha256:" + "0" * 64, "pullSecrets": ["pull"]},
    "store": {"existingSecret": "db", "urlKey": "app", "preparedStatements": False},
    "migrate": {"existingSecret": "db"},
    "vectors": {"kind": "qdrant", "url": "http://qdrant:6334", "existingSecret": "qdrant"},
    "models": {"default": {"baseUrl": "http://vllm:8000/v1", "existingSecret": "vllm"}, "small_one": {"baseUrl": "http://small/v1", "model": "s"}},
    "autoscaling": {"targetActiveRuns": 200},
    "ingress": {"enabled": True, "tlsSecret": "tls"},
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "podLabels": {"team": "agents"},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "extraConfig": "[embedder]\nkind = \"lexical\"\n\n[engine]\nmax_steps = 20",
}
OFF = {**LEAST, "autoscaling": {"enabled": False}, "podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False},
       "migrate": {"enabled": False}, "serviceAccount": {"name": "mine"}}
VERSIONS = ("1.29", "1.31", "1.33", "1.34")
# Its schema belongs to the Prometheus operator, not to Kubernetes.
FOREIGN = {"ServiceMonitor"}


class Chart(unittest.TestCase):
    def helm(self, command, values):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "values.yaml"
            file.write_text(yaml.safe_dump(values))
            # No cluster and no settings of this user's.
            home = {"HOME": folder, "KUBECONFIG": "/dev/null", "PATH": ""}
            return run(tool("helm"), *command, "--values", file, env=home)

    def render(self, values):
        went = self.helm(["template", "s", CHART, "--namespace", "sid", "--kube-version", "1.33.0"], values)
        self.assertEqual(went.returncode, 0, went.stderr)
        found = [d for d in yaml.safe_load_all(went.stdout) if d]
        self.assertEqual(len({(d["kind"], d["metadata"]["name"]) for d in found}), len(found), "no object twice")
        return found

    def one(self, values, kind):
        [found] = [d for d in self.render(values) if d["kind"] == kind]
        return found

    def refused(self, over, words):
        """With these values Helm must say no, with these words."""
        went = self.helm(["template", "s", CHART], {**LEAST, **over})
        self.assertNotEqual(went.returncode, 0, over)
        self.assertIn(words, went.stderr)

    def test_helm_lint_is_silent(self):
        for values in (LEAST, ALL, OFF):
            went = self.helm(["lint", "--strict", "--quiet", CHART], values)
            self.assertEqual((went.returncode, went.stdout.strip()), (0, ""), went.stdout + went.stderr)

    def test_kubernetes_takes_what_is_rendered(self):
        for values, count in ((LEAST, 8), (ALL, 10), (OFF, 3)):
            found = self.render(values)
            self.assertEqual(len(found), count, [d["kind"] for d in found])
            for version in VERSIONS:
                for document in found:
                    if document["kind"] not in FOREIGN:
                        with self.subTest(kind=document["kind"], version=version):
                            kubernetes_validate.validate(document, version, strict=True)

    def test_kubernetes_would_not_take_everything(self):
        deployment = self.one(LEAST, "Deployment")
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        container["readinesProbe"] = container.pop("readinessProbe")
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)

    def test_wrong_values_are_refused(self):
        self.refused({"store": {}}, "store.existingSecret")
        self.refused({"migrate": {}}, "migrate.existingSecret")
        self.refused({"models": {"default": {"baseUrl": ""}}}, "models.default.baseUrl")
        self.refused({"vectors": {"kind": "qdrant"}}, "vectors.url")
        self.refused({"vectors": {"kind": "faiss"}}, "vectors/kind")
        self.refused({"replica": 3}, "replica")
        self.refused({"store": {"existingSecret": "Not A Name"}}, "existingSecret")
        self.refused({"server": {"drainTimeoutMs": 60000}}, "terminationGracePeriodSeconds must be at least 70")
        self.refused({"extraConfig": "[server]\nlisten = \"0.0.0.0:1\""}, "[server] has values of its own")
        self.refused({"service": {"type": "LoadBalancer"}}, "show /metrics to the world")
        self.refused({"autoscaling": {"minReplicas": 5, "maxReplicas": 4}}, "maxReplicas")

    def test_the_server_takes_its_configuration(self):
        for values in (LEAST, ALL):
            toml = self.one(values, "ConfigMap")["data"]["sid.toml"]
            pod = self.one(values, "Deployment")["spec"]["template"]["spec"]
            mounted = {i["path"] for s in pod["volumes"][1]["projected"]["sources"] for i in s["secret"]["items"]}
            with tempfile.TemporaryDirectory() as folder:
                env = {}
                for variable in pod["containers"][0]["env"]:
                    mount, _, name = variable["value"].rpartition("/")
                    self.assertEqual(mount, "/etc/sid-secrets")
                    self.assertIn(name, mounted)
                    file = pathlib.Path(folder) / name
                    file.write_text("postgres://sid_server:secret@db:5432/sid" if name == "store-url" else "secret")
                    env[variable["name"]] = str(file)
                fine, said = check_config(toml, folder, env)
                self.assertTrue(fine, said)
                self.assertNotIn("sid_server:secret", said)
                self.assertFalse(check_config(toml + "\n[nonsense]\na = 1\n", folder, env)[0], "a wrong section must be refused")

    def test_pods_are_hardened_spread_and_drained(self):
        for kind in ("Deployment", "Job"):
            pod = self.one(ALL, kind)["spec"]["template"]["spec"]
            [container] = pod["containers"]
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertFalse(pod["automountServiceAccountToken"])
            self.assertEqual(container["securityContext"],
                             {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
            self.assertIn("memory", container["resources"]["limits"])
            self.assertNotIn("secretKeyRef", str(container), "secrets are files")
        deployment = self.one(ALL, "Deployment")["spec"]
        pod = deployment["template"]["spec"]
        probes = {k: pod["containers"][0][f"{k}Probe"]["httpGet"]["path"] for k in ("startup", "readiness", "liveness")}
        self.assertEqual(probes, {"startup": "/health/live", "readiness": "/health/ready", "liveness": "/health/live"})
        self.assertIn("topology.kubernetes.io/zone", [c["topologyKey"] for c in pod["topologySpreadConstraints"]])
        self.assertEqual(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0)
        self.assertNotIn("replicas", deployment, "the autoscaler decides")
        self.assertEqual(self.one(OFF, "Deployment")["spec"]["replicas"], 3)

    def test_the_migration_comes_first_and_needs_nothing_of_the_chart(self):
        rendered = self.render(ALL)
        [job] = [d for d in rendered if d["kind"] == "Job"]
        self.assertEqual(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade")
        pod = job["spec"]["template"]["spec"]
        self.assertEqual(pod["containers"][0]["args"], ["migrate"])
        self.assertNotIn("serviceAccountName", pod)
        self.assertEqual([set(v) - {"name"} for v in pod["volumes"]], [{"projected"}])
        self.assertTrue(all(set(s) == {"secret"} for s in pod["volumes"][0]["projected"]["sources"]))
        # Its log holds the first key: it must not be deleted when it succeeds.
        self.assertEqual(job["metadata"]["annotations"]["helm.sh/hook-delete-policy"], "before-hook-creation")
        # The service must not send requests to it.
        service = next(d for d in rendered if d["kind"] == "Service")["spec"]["selector"]
        self.assertFalse(service.items() <= job["spec"]["template"]["metadata"]["labels"].items())

    def test_the_notes_say_where_the_first_key_is(self):
        went = self.helm(["install", "s", CHART, "--namespace", "sid", "--dry-run=client"], ALL)
        self.assertEqual(went.returncode, 0, went.stderr)
        [job] = [d["metadata"]["name"] for d in self.render(ALL) if d["kind"] == "Job"]
        self.assertIn(f"kubectl --namespace sid logs job/{job} ", went.stdout.split("NOTES:")[1])

    def test_metrics_stay_inside(self):
        paths = [p["path"] for p in self.one(ALL, "Ingress")["spec"]["rules"][0]["http"]["paths"]]
        self.assertFalse(any("/metrics".startswith(p) for p in paths), paths)


if __name__ == "__main__":
    unittest.main()
