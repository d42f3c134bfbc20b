"""The image: its Dockerfile under hadolint, and whether what the builder gets is what the workspace needs."""
import fnmatch, json, pathlib, re, shutil, tempfile, unittest

from harness import paths
from tools import DEPLOY, run, tool

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"


def stages(text):
    """The instructions of each stage: [[("FROM", rest), ...], ...]."""
    out = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            out.append([])
        if out and word.isupper():
            out[-1].append((word, " ".join(rest.split())))
    return out


def lets_through(patterns, path):
    """The rule of a .dockerignore: the last pattern that fits decides; a folder stands for what is in it."""
    verdict = True
    names = [str(path), *map(str, path.parents)]
    for pattern in patterns:
        keep, pattern = pattern.startswith("!"), pattern.lstrip("!")
        fits = [pattern, pattern.removeprefix("**/")]
        if any(fnmatch.fnmatchcase(n, f) for n in names if n != "." for f in fits):
            verdict = keep
    return verdict


class Image(unittest.TestCase):
    def lint(self, file):
        return run(tool("hadolint"), "--strict-labels", "--format", "json", "--failure-threshold", "style", file)

    def test_hadolint_is_silent(self):
        went = self.lint(DOCKERFILE)
        self.assertEqual((went.returncode, went.stdout.strip()), (0, "[]"), went.stdout + went.stderr)

    def test_hadolint_would_not_be_silent(self):
        with tempfile.TemporaryDirectory() as folder:
            bad = pathlib.Path(folder) / "Dockerfile"
            bad.write_text(DOCKERFILE.read_text().replace("rust:1.95-slim-bookworm", "rust:latest") + "\nRUN cd /tmp && sudo true\n")
            went = self.lint(bad)
        self.assertNotEqual(went.returncode, 0)
        self.assertTrue({"DL3007", "DL3003", "DL3004"} <= {f["code"] for f in json.loads(went.stdout)}, went.stdout)

    def test_the_last_stage_is_small_and_without_root(self):
        *_, last = stages(DOCKERFILE.read_text())
        words = [w for w, _ in last]
        self.assertNotIn("RUN", words, "the last image has no shell")
        self.assertNotIn("ADD", words)
        self.assertIn(("USER", "65532:65532"), last)
        self.assertIn(("STOPSIGNAL", "SIGTERM"), last)
        self.assertEqual([r for w, r in last if w == "ENTRYPOINT"], ['["/usr/local/bin/sid-server"]'], "exec form, or SIGTERM ends in a shell")
        self.assertTrue(all("--from=build" in r for w, r in last if w == "COPY"), "nothing but what was built")

    def test_the_programs_are_those_of_the_workspace(self):
        built = re.search(r"cargo build .*?--bins", DOCKERFILE.read_text())[0]
        packages = re.findall(r"-p (\S+)", built)
        metadata = json.loads(run("cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1", cwd=paths.ROOT).stdout)
        made = {t["name"] for p in metadata["packages"] if p["name"] in packages for t in p["targets"] if "bin" in t["kind"]}
        installed = re.search(r"install -D -t /out/bin (.*?) \\?\n", DOCKERFILE.read_text())[1]
        self.assertEqual({pathlib.PurePath(p).name for p in installed.split()}, made)
        version = re.search(r"FROM rust:(\d+\.\d+)-", DOCKERFILE.read_text())[1]
        self.assertEqual({p["rust_version"] for p in metadata["packages"]}, {version}, "the toolchain is the workspace's")

    def test_the_context_is_enough_and_no_more(self):
        lines = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        patterns = [l for l in lines if l and not l.startswith("#")]
        listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=paths.ROOT).stdout.split("\0")
        sent = [f for f in listed if f and (paths.ROOT / f).is_file() and lets_through(patterns, pathlib.PurePosixPath(f))]
        for never in ("deploy/compose/secrets/admin_url", ".git/config", "target/release/sid-server", "crates/sid-server/x.sid-data/sid.db", "sid.toml"):
            self.assertFalse(lets_through(patterns, pathlib.PurePosixPath(never)), never)
        copied = {pathlib.PurePosixPath(s) for w, r in stages(DOCKERFILE.read_text())[0] if w == "COPY" for s in r.split()[:-1]}
        below = {f: copied & {pathlib.PurePosixPath(f), *pathlib.PurePosixPath(f).parents} for f in sent}
        self.assertEqual([f for f, c in below.items() if not c], [], "all that is sent is copied")
        self.assertEqual(copied - set().union(*below.values()), set(), "all that is copied is sent")
        with tempfile.TemporaryDirectory() as folder:
            for f in sent:
                to = pathlib.Path(folder) / f
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(paths.ROOT / f, to)
            went = run("cargo", "metadata", "--locked", "--offline", "--format-version", "1", "--no-deps", cwd=folder)
            self.assertEqual(went.returncode, 0, went.stderr)
            # What is read at compile time is there too.
            missing = []
            for source in pathlib.Path(folder).rglob("*.rs"):
                for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
                    if not (source.parent / name).exists():
                        missing.append(f"{source.relative_to(folder)}: {name}")
            self.assertEqual(missing, [])


if __name__ == "__main__":
    unittest.main()
