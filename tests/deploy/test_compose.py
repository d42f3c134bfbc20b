"""The Compose file: the official schema, what the schema cannot see, and its configuration read by the real server."""
import importlib.util, json, pathlib, re, shutil, tempfile, unittest

import jsonschema, yaml

from tools import DEPLOY, check_config, run

FOLDER = DEPLOY / "compose"
VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")


def schema():
    """The Compose specification's own, as check-jsonschema carries it."""
    package = importlib.util.find_spec("check_jsonschema").submodule_search_locations[0]
    return json.loads((pathlib.Path(package) / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())


def complaints(document):
    checker = jsonschema.validators.validator_for(schema())(schema())
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in checker.iter_errors(document)]


def settings(text):
    return dict(l.split("=", 1) for l in text.splitlines() if l and not l.startswith("#"))


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = (FOLDER / "compose.yaml").read_text()
        cls.env = settings((FOLDER / ".env.example").read_text())
        cls.document = yaml.safe_load(VARIABLE.sub(lambda m: cls.env.get(m[1], m[2] or ""), cls.text))
        cls.services = cls.document["services"]

    def test_the_schema_holds(self):
        self.assertEqual(complaints(self.document), [])

    def test_the_schema_would_not_hold(self):
        for where, key, value in (("sid", "replicas", 2), ("postgres", "healthcheck", {"tests": ["x"]}), ("balancer", "ports", 8080)):
            bad = json.loads(json.dumps(self.document))
            bad["services"][where][key] = value
            self.assertTrue(complaints(bad), key)

    def test_every_name_exists(self):
        for kind in ("secrets", "configs", "networks", "volumes"):
            declared, used = set(self.document[kind]), set()
            for service in self.services.values():
                for use in service.get(kind, []):
                    name = use["source"] if isinstance(use, dict) else use.split(":")[0]
                    used.add(name)
            self.assertEqual(declared, used, kind)
        for name, service in self.services.items():
            self.assertLessEqual(set(service.get("depends_on", {})), set(self.services), name)
        for config in self.document["configs"].values():
            self.assertTrue((FOLDER / config["file"]).is_file(), config)

    def test_every_variable_is_explained(self):
        self.assertEqual({m[1] for m in VARIABLE.finditer(self.text)}, set(self.env))

    def test_images_are_pinned_and_containers_are_hardened(self):
        for name, service in self.services.items():
            with self.subTest(name):
                self.assertRegex(service["image"], r":[^:]*\d")
                self.assertIn("memory", service["deploy"]["resources"]["limits"])
                # Postgres changes the owner of its volume and then its user.
                if name != "postgres":
                    self.assertTrue(service["read_only"])
                    self.assertEqual(service["cap_drop"], ["ALL"])
        self.assertTrue(self.document["networks"]["data"]["internal"])
        self.assertEqual([n for n, s in self.services.items() if "ports" in s], ["balancer"], "one way in")

    def test_servers_wait_for_the_schema_and_have_time_to_drain(self):
        self.assertEqual(self.services["sid"]["depends_on"]["migrate"]["condition"], "service_completed_successfully")
        self.assertEqual(int(self.services["sid"]["deploy"]["replicas"]), 2)
        toml = (FOLDER / "sid.toml").read_text()
        drain = sum(int(re.search(rf"{k} = (\d+)", toml)[1]) for k in ("drain_delay_ms", "drain_timeout_ms")) / 1000
        self.assertGreaterEqual(int(self.services["sid"]["stop_grace_period"].rstrip("s")), drain + 5)

    def secrets(self, folder):
        shutil.copy2(FOLDER / "make-secrets.sh", folder)
        made = run("sh", pathlib.Path(folder) / "make-secrets.sh")
        self.assertEqual(made.returncode, 0, made.stderr)
        return {f.name: f.read_text() for f in (pathlib.Path(folder) / "secrets").iterdir()}

    def test_secrets_are_made_once_and_are_all_that_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            first = self.secrets(folder)
            self.assertEqual({f"./secrets/{n}" for n in first}, {s["file"] for s in self.document["secrets"].values()})
            self.assertIn(f":{first['sid_password']}@", first["database_url"])
            self.assertIn(f":{first['postgres_password']}@", first["admin_url"])
            self.assertEqual(len(first["sid_password"]), 48)
            self.assertNotEqual(first["sid_password"], first["postgres_password"])
            self.assertEqual(self.secrets(folder), first, "a second run changes nothing")

    def test_the_server_takes_its_configuration(self):
        with tempfile.TemporaryDirectory() as folder:
            made = self.secrets(folder)

            def here(value):
                return re.sub(r"^/run/secrets/(\w+)$", lambda m: str(pathlib.Path(folder, "secrets", m[1])), str(value))

            for service in ("sid", "migrate"):
                env = {k: here(v) for k, v in self.services[service]["environment"].items()}
                toml = (FOLDER / "sid.toml").read_text()
                fine, said = check_config(toml, folder, env)
                self.assertTrue(fine, f"{service}: {said}")
                self.assertNotIn(made["sid_password"], said)
                self.assertFalse(check_config(toml.replace("drain_delay_ms", "drain_dealy_ms"), folder, env)[0], "a wrong key must be refused")


if __name__ == "__main__":
    unittest.main()
