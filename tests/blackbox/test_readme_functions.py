"""The part of the README on functions for agents, as a newcomer follows it: its files, its commands, a talk."""
import base64, os, pathlib, re, shlex, shutil, subprocess, sys, tempfile

from harness import paths
from harness.case import Case
from harness.server import environment
from harness.service import Service

README = (paths.ROOT / "README.md").read_text()
SECTION = README.split("\n## Functions for agents\n")[1].split("\n## ")[0]
# As public documents are: YAML, shared parts, more than one kind of parameter, answers with schemas, a key in a header.
PETSTORE = """
openapi: 3.0.3
info: {title: Pet shop, version: 1.0.0}
servers: [{url: "%s"}]
security: [{key: []}]
paths:
  /pets:
    get:
      operationId: listPets
      summary: All pets that are for sale.
      parameters:
        - {name: limit, in: query, required: false, schema: {type: integer, format: int32, maximum: 100}}
      responses: {"200": {description: Pets, content: {application/json: {schema: {$ref: "#/components/schemas/Pets"}}}}}
    post:
      operationId: createPet
      summary: Takes in a pet.
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
      responses: {"201": {description: Taken in}, default: {description: Otherwise, content: {application/json: {schema: {type: object}}}}}
  /pets/{petId}:
    get:
      operationId: showPetById
      summary: One pet.
      parameters: [{name: petId, in: path, required: true, schema: {type: string}}]
      responses: {"200": {description: A pet, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}}
components:
  securitySchemes: {key: {type: apiKey, in: header, name: X-Key}}
  schemas:
    Pet: {type: object, required: [id, name], properties: {id: {type: integer, format: int64}, name: {type: string}, tag: {type: string}}}
    Pets: {type: array, items: {$ref: "#/components/schemas/Pet"}}
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.S)


def command(beginning):
    """The README's own line, without its comment."""
    return next(line.split("  #")[0].strip() for line in blocks("sh")[0].splitlines() if line.startswith(beginning))


class Readme(Case):
    folder = tempfile.mkdtemp(prefix="sid-readme-")
    config = {"tools": {"open": ["127.0.0.1:*"], "python": True,
                        "mcp": {"files": {"command": sys.executable, "args": [str(paths.ROOT / "tests/harness/mcp_server.py"), folder], "tenants": ["*"]}}},
              "secrets": {"keys": "one:" + base64.b64encode(bytes(32)).decode()}}

    def setUp(self):
        super().setUp()
        self.addCleanup(shutil.rmtree, self.folder, True)
        os.makedirs(self.folder, exist_ok=True)
        self.inside = self.tenant(users=("ann",))

    def run_line(self, line, said="", status=0):
        words = shlex.split(line)
        self.assertEqual(words[0], "sid")
        env = {**environment(), "SID_SERVER": self.server.url, "SID_API_KEY": self.inside.key, "SID_TENANT": self.inside.tenant}
        done = subprocess.run([str(paths.binary("sid")), *words[1:]], cwd=self.folder, input=said, capture_output=True, text=True, timeout=120, env=env)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def test_a_file_with_a_function(self):
        (module,) = blocks("python")
        self.assertLessEqual(len(module.splitlines()), 10)
        (pathlib.Path(self.folder) / "bakery.py").write_text(module)
        self.assertIn("order_sandwich", self.run_line(command("sid tools add bakery.py")))
        self.assertIn("bakery", self.run_line(command("sid tools list")))
        arguments = {"bread": "rye", "toppings": ["pickles"]}
        self.model.answer = lambda request: "Ordered." if request["messages"][-1]["role"] == "tool" else {"tool": "order_sandwich", "arguments": arguments}
        self.assertIn("Ordered.", self.run_line(command("sid chat"), "Order me a rye sandwich\n"))
        told = next(m["content"] for r in reversed(self.model.requests) for m in reversed(r["messages"]) if m["role"] == "tool")
        self.assertEqual(told, "rye with pickles: ready in ten minutes.")

    def test_an_openapi_document(self):
        shop = Service()
        self.addCleanup(shop.__exit__)
        (pathlib.Path(self.folder) / "petstore.yaml").write_text(PETSTORE % shop.url)
        self.inside.put("/context/secrets/petstore?owner_type=tenant", {"value": "key-of-the-shop"})
        said = self.run_line(command("sid tools add petstore.yaml"))
        for name in ("listPets (read)", "createPet (once)", "showPetById (read)"):
            self.assertIn(name, said)
        script = [{"tool": "showPetById", "arguments": {"petId": "7"}}, {"tool": "createPet", "arguments": {"body": {"id": 8, "name": "Rex"}}}]
        takes_body = "body" in next(f for f in self.inside.get("/tools/petstore")["functions"] if f["name"] == "createPet")["parameters"]["properties"]
        if not takes_body:
            script[1]["arguments"] = script[1]["arguments"]["body"]
        self.model.answer = lambda request: script.pop(0) if script else "Done."
        self.inside.post(f"/conversations/{self.talk(self.inside)}/messages", {"text": "Which pet is 7? And take in Rex."})
        self.assertEqual([(m, p, h["x-key"], b) for m, p, h, b in shop.asked],
                         [("GET", "/pets/7", "key-of-the-shop", None), ("POST", "/pets", "key-of-the-shop", {"id": 8, "name": "Rex"})])

    def test_an_mcp_server(self):
        (config,) = blocks("toml")
        self.assertIn("[tools.mcp.files]", config)
        checked = pathlib.Path(self.folder) / "sid.toml"
        checked.write_text(config)
        server = [str(paths.binary("sid-server")), "--config", str(checked), "config", "check"]
        self.assertIn("server-filesystem", subprocess.run(server, capture_output=True, text=True, timeout=60, check=True, env=environment()).stdout)
        self.assertIn("files_add", self.run_line(command("sid tools add mcp:files")))
        # The other line is as it stands; nobody answers at that name.
        self.run_line(command("sid tools add https://"), status=1)

    def test_a_function_in_rust(self):
        (code,) = blocks("rust")
        function = code.split("// Engine")[0].strip()
        self.assertLessEqual(len(code.splitlines()), 15)
        self.assertIn(function, (paths.ROOT / "crates/sid-tools/examples/functions.rs").read_text(), "what is compiled and run is what is shown")
