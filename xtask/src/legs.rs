//! The legs of `cargo xtask test`: each runs one kind of test and says how it went.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::setup::{self, Group, Parts};
use crate::table::{Counts, Row, State};
use crate::{bench, dirs, proc, python};

/// A kind of test.
pub(crate) struct Leg {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What it needs from the set-up.
    pub(crate) needs: &'static [Group],
    /// Why it is left out here, in CI too, if it is: something that no set-up can bring is not there. What set-up can bring, but does not,
    /// fails in CI.
    pub(crate) missing: fn() -> Option<String>,
    pub(crate) run: fn(&Parts) -> Result<proc::Teed>,
}

const fn nothing_missing() -> Option<String> {
    None
}

fn no_stick() -> Option<String> {
    dirs::shared_bench().is_none().then(|| "the measuring stick (../shared/bench, or SID_BENCH_DIR) is not there".into())
}

/// CI is to end within forty minutes, and what takes long is left out there, unless it is asked for.
fn too_long_for_ci() -> Option<String> {
    (dirs::is_ci() && std::env::var_os("SID_BENCH_STORES").is_none())
        .then(|| "it takes up to twenty minutes: not in CI, unless SID_BENCH_STORES is set".into())
}

/// All legs. Those of cargo come first: what they build is what the others start.
pub(crate) const LEGS: &[Leg] = &[
    Leg {
        name: "unit",
        about: "unit, property and snapshot tests of all crates",
        // For timers over days on which clocks change, which are tried on every store.
        needs: &[Group::Postgres],
        missing: nothing_missing,
        run: unit,
    },
    Leg {
        name: "conformance",
        about: "the store contract against the in-process store and SQLite",
        needs: &[],
        missing: nothing_missing,
        run: |_| proc::tee(&mut tests(&[CONFORMANCE], None)?),
    },
    Leg {
        name: "postgres",
        about: "the Postgres store on a throw-away server: contract, row-level security, many processes",
        needs: &[Group::Postgres],
        missing: || (!cfg!(unix)).then(|| "the throw-away server needs Unix sockets".into()),
        run: postgres,
    },
    Leg {
        name: "qdrant",
        about: "Postgres with the vectors in a real Qdrant engine: contract, faults, drift, erasure",
        needs: &[Group::Postgres, Group::Qdrant],
        missing: || (!cfg!(unix)).then(|| "the throw-away servers need Unix".into()),
        run: |_| proc::tee(&mut tests(&[QDRANT], None)?),
    },
    Leg { name: "doc", about: "the examples in the documentation", needs: &[], missing: nothing_missing, run: doctests },
    Leg { name: "examples", about: "the example programs that need nothing else", needs: &[], missing: nothing_missing, run: examples },
    Leg {
        name: "embedding",
        about: "MiniLM in process: vectors, and recall by meaning in a real server",
        needs: &[Group::Embed],
        missing: nothing_missing,
        run: embedding,
    },
    Leg {
        name: "black box",
        about: "a real server over HTTP: tenants, kills, streams, bad input",
        needs: &[],
        missing: nothing_missing,
        run: |_| Ok(folder("tests/blackbox", &[])?.and(folder("tests/embedded", &[])?)),
    },
    Leg {
        name: "mail",
        about: "e-mail that agents send, through Debian's Exim",
        needs: &[Group::Mail],
        missing: || (!cfg!(target_os = "linux")).then(|| "Exim comes from Debian's packages".into()),
        run: |_| folder("tests/mail", &[]),
    },
    Leg {
        name: "black box on postgres",
        about: "the same on Postgres, and what several servers on one database must do",
        needs: &[Group::Postgres],
        missing: || (!cfg!(unix)).then(|| "the throw-away server needs Unix sockets".into()),
        run: |_| {
            let same = proc::tee(python::suites("tests/blackbox", &[]).env("SID_TEST_STORE", "postgres"))?;
            Ok(same.and(folder("tests/postgres", &[])?))
        },
    },
    Leg {
        name: "leaks",
        about: "20,000 random operations of many callers over every door, on both stores: nobody sees anybody else's words",
        needs: &[Group::Postgres],
        missing: || (!cfg!(unix)).then(|| "the throw-away server needs Unix sockets".into()),
        run: |_| {
            let embedded = folder("tests/leaks", &[])?;
            Ok(embedded.and(proc::tee(python::suites("tests/leaks", &[]).env("SID_TEST_STORE", "postgres"))?))
        },
    },
    Leg {
        name: "secrets and erasure",
        about: "canaries in secrets, and in all that is held of a person, searched for everywhere; ciphertexts moved; keys rotated under load; both stores",
        needs: &[Group::Postgres],
        missing: || (!cfg!(unix)).then(|| "the throw-away server needs Unix sockets".into()),
        run: secrets_and_erasure,
    },
    Leg {
        name: "schema",
        about: "more than 10,000 requests that schemathesis makes from the OpenAPI document: no 5xx, answers as documented, none without a key",
        needs: &[Group::Schema],
        missing: nothing_missing,
        run: |parts| folder("tests/schema", &[parts["schema"].clone()]),
    },
    Leg {
        name: "real clients",
        about: "the official `openai` and `mcp` packages, MCP's inspector and its conformance suite against the front door, /mcp and `sid mcp`",
        needs: &[Group::Clients, Group::Node],
        missing: nothing_missing,
        run: clients,
    },
    Leg {
        name: "example applications",
        about: "the applications in examples/ over a real server: FastAPI and Django under one suite, an AutoGen team, Rust on a terminal",
        needs: &[Group::Examples],
        missing: nothing_missing,
        run: |parts| folder("examples/suite", &[parts["fastapi"].clone()]),
    },
    Leg {
        name: "identity",
        about: "tokens of a real OpenID Connect issuer: who gets in, as whom, and every kind that must not",
        needs: &[Group::Identity],
        missing: nothing_missing,
        run: |parts| folder("tests/identity", &[parts["identity"].clone()]),
    },
    Leg {
        name: "real model",
        about: "SmolLM2 behind llama.cpp's server: protocol, streaming, usage, memory in the prompt",
        needs: &[Group::Llm],
        missing: nothing_missing,
        run: real_model,
    },
    Leg {
        name: "deploy",
        about: "image, Compose file and Helm chart under real linters; two servers behind the load balancer, restarted in turn",
        needs: &[Group::Deploy],
        missing: || setup::missing(Group::Deploy),
        run: deploy,
    },
    Leg {
        name: "torture",
        about: "every torture in its quick form: kills, freezes, cut streams, a lost database, overload",
        needs: crate::torture::NEEDS,
        missing: || (!cfg!(target_os = "linux")).then(|| "the rig looks at processes through /proc".into()),
        run: crate::torture::quick,
    },
    Leg {
        name: "memory",
        about: "the measuring stick: scenarios at the full window, LoCoMo",
        needs: &[Group::Embed, Group::Bench],
        missing: no_stick,
        run: |parts| bench::memory::leg(&parts["bench"]),
    },
    Leg {
        name: "memory on other stores",
        about: "the scenarios on Postgres and on Postgres with Qdrant, and LoCoMo's and BEAM's first questions against SQLite's",
        needs: &[Group::Embed, Group::Bench, Group::Postgres, Group::Qdrant],
        missing: || no_stick().or_else(too_long_for_ci),
        run: |parts| bench::memory::other_stores(&parts["bench"]),
    },
];

/// What is switched on for tests and tortures, everywhere alike: another choice of features would compile half of the workspace anew.
///
/// With `failpoints` the servers under test can be told, by the environment alone, to end or to panic at named places.
pub(crate) const FEATURES: &str = "sid-server/failpoints,sid-store-pg/postgres-tests,sid-store-qdrant/qdrant-tests,sid-testkit/rig,\
    sid-tools/http,sid-tools/macros";

/// The test binaries of the store contract; every store's is called so.
const CONFORMANCE: &str = "conformance*";
/// Test binaries that say nothing unless they are told where MiniLM, or a real engine, is.
const MINILM: &str = "minilm*";
const REAL_ENGINE: &str = "real_engine*";
/// Test binaries that need a Postgres.
const POSTGRES: &str = "postgres_*";
/// Test binaries that need a Postgres and a Qdrant engine, likewise.
const QDRANT: &str = "qdrant_*";
/// What the leg `unit` leaves to others.
const SPECIAL: [&str; 5] = [CONFORMANCE, MINILM, REAL_ENGINE, POSTGRES, QDRANT];

/// Tests of all crates by nextest where it is installed, else by cargo test: these binaries, or all but the special ones.
///
/// Always of the whole workspace, so that nothing is built a second time with other features. `around` is a program that runs it.
fn tests(only: &[&str], around: Option<Command>) -> Result<Command> {
    let has_nextest = proc::has_cargo("nextest");
    let command = if has_nextest {
        let mut command = proc::cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--cargo-profile",
            &dirs::profile(),
            "--features",
            FEATURES,
        ]);
        let any = |names: &[&str]| names.iter().map(|n| format!("binary(#{n})")).collect::<Vec<_>>().join(" or ");
        let filter = if only.is_empty() { format!("not ({})", any(&SPECIAL)) } else { any(only) };
        command.args(["-E", &filter]);
        command
    } else {
        let mut command =
            proc::cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--profile", &dirs::profile(), "--features", FEATURES]);
        // Plain cargo cannot leave a binary out, only name the others.
        let ordinary = if only.is_empty() { ordinary_tests()? } else { BTreeSet::new() };
        if only.is_empty() {
            command.args(["--lib", "--bins"]);
        }
        command.args(only.iter().copied().chain(ordinary.iter().map(String::as_str)).flat_map(|name| ["--test", name]));
        command
    };
    let Some(mut outer) = around else { return Ok(command) };
    outer.arg(command.get_program()).args(command.get_args());
    Ok(outer)
}

/// Every test binary of the workspace that is not [`SPECIAL`].
fn ordinary_tests() -> Result<BTreeSet<String>> {
    let metadata = proc::output(&mut proc::cargo(&["metadata", "--format-version", "1", "--locked", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is JSON")?;
    let targets = metadata["packages"].as_array().into_iter().flatten().flat_map(|p| p["targets"].as_array()).flatten();
    let tests = targets.filter(|t| t["kind"][0] == "test").filter_map(|t| t["name"].as_str());
    let is_special = |name: &str| SPECIAL.iter().any(|s| name.starts_with(s.trim_end_matches('*')));
    Ok(tests.filter(|name| !is_special(name)).map(str::to_owned).collect())
}

fn unit(_: &Parts) -> Result<proc::Teed> {
    proc::tee(&mut tests(&[], None)?)
}

/// Everything on the newer server, the contract and row-level security on the older one too.
fn postgres(_: &Parts) -> Result<proc::Teed> {
    let on = |version: &str, only: &[&str]| proc::tee(tests(only, None)?.env("SID_PG_VERSION", version));
    Ok(on("18", &[POSTGRES])?.and(on("16", &["postgres_conformance", "postgres_security", "postgres_migrations"])?))
}

fn doctests(_: &Parts) -> Result<proc::Teed> {
    proc::tee(&mut proc::cargo(&["test", "--doc", "--workspace", "--locked", "--profile", &dirs::profile(), "--features", FEATURES]))
}

/// One folder of Python suites, with further folders on the module path.
fn folder(path: &str, more: &[PathBuf]) -> Result<proc::Teed> {
    proc::tee(&mut python::suites(path, more))
}

/// Runs what `crates/*/examples/*.rs` has, but for servers and benches.
fn examples(_: &Parts) -> Result<proc::Teed> {
    let mut all = proc::tee(&mut proc::cargo(&[
        "build",
        "--workspace",
        "--examples",
        "--locked",
        "--profile",
        &dirs::profile(),
        "--features",
        FEATURES,
    ]))?;
    let mut names = Vec::new();
    for package in std::fs::read_dir(dirs::root().join("crates"))?.filter_map(Result::ok) {
        let Ok(files) = std::fs::read_dir(package.path().join("examples")) else { continue };
        let files = files.filter_map(Result::ok).map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "rs"));
        names.extend(files.filter_map(|p| Some(p.file_stem()?.to_string_lossy().into_owned())));
    }
    names.retain(|n| !n.ends_with("_server") && !n.ends_with("_bench"));
    names.sort();
    for name in &names {
        let went = if name == "own_binary" { own_binary()? } else { proc::tee(&mut Command::new(dirs::example(name)))? };
        let (passed, failed) = if went.success { (1, 0) } else { (0, 1) };
        all.text.push_str(&format!("test result: {passed} passed; {failed} failed; 0 ignored\n"));
        all.success &= went.success;
    }
    Ok(all)
}

/// A chat with the agent in its own binary, over a scripted model; the second start knows what the first was told.
fn own_binary() -> Result<proc::Teed> {
    const ANSWER: &str = "Extra pickles, right?";
    let folder = dirs::target().join("own-binary");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let mut model = Command::new(dirs::example("model_server")).args(["--port", &port, "--text", ANSWER]).stdout(Stdio::piped()).spawn()?;
    // It prints a line when it listens.
    let _ = std::io::BufReader::new(model.stdout.take().context("a pipe")?).read_line(&mut String::new());
    let mut all = proc::Teed { success: true, text: String::new() };
    for said in ["I love pickles.\n\n", "Order me a sandwich.\n"] {
        let input = folder.join("said");
        std::fs::write(&input, said)?;
        let mut chat = Command::new(dirs::example("own_binary"));
        chat.args([format!("http://127.0.0.1:{port}"), "scripted".into()]).current_dir(&folder);
        let went = proc::tee_reading(&mut chat, std::fs::File::open(&input)?.into())?;
        all.success &= went.success && went.text.contains(ANSWER);
        all.text.push_str(&went.text);
    }
    model.kill()?;
    model.wait()?;
    Ok(all)
}

fn embedding(parts: &Parts) -> Result<proc::Teed> {
    let (library, folder) = (&parts["onnxruntime"], &parts["minilm"]);
    let vectors = proc::tee(tests(&[MINILM], None)?.env("ORT_DYLIB_PATH", library).env("SID_EMBED_DIR", folder))?;
    let mut server = python::suites("tests/embedding", &[]);
    Ok(vectors.and(proc::tee(server.env("ORT_DYLIB_PATH", library).env("SID_EMBED_DIR", folder))?))
}

fn clients(parts: &Parts) -> Result<proc::Teed> {
    let mut tests = python::suites("tests/clients", &[parts["clients"].clone()]);
    proc::tee(tests.env("SID_NODE", setup::node(&parts["node"])).env("SID_NODE_MODULES", parts["npm"].join("node_modules")))
}

/// Both suites on both stores.
fn secrets_and_erasure(_: &Parts) -> Result<proc::Teed> {
    let mut all = proc::Teed { success: true, text: String::new() };
    for store in ["sqlite", "postgres"] {
        for suite in ["tests/secrets", "tests/erasure"] {
            let mut tests = python::suites(suite, &[]);
            all = all.and(proc::tee(tests.env("SID_TEST_STORE", store))?);
        }
    }
    Ok(all)
}

fn deploy(parts: &Parts) -> Result<proc::Teed> {
    let mut tests = python::suites("tests/deploy", &[parts["deploy"].clone()]);
    for tool in ["hadolint", "helm", "haproxy"] {
        tests.env(format!("SID_{}", tool.to_uppercase()), &parts[tool]);
    }
    proc::tee(&mut tests)
}

fn real_model(_: &Parts) -> Result<proc::Teed> {
    let engine = proc::tee(&mut tests(&[REAL_ENGINE], Some(python::script("tests/llm/with_model.py")))?)?;
    Ok(engine.and(folder("tests/llm", &[])?))
}

impl Leg {
    /// Runs it, whatever happens.
    pub(crate) fn run(&self) -> Row {
        proc::heading(&format!("{}: {}", self.name, self.about));
        let start = std::time::Instant::now();
        let row = |state, counts| Row { name: self.name.into(), state, counts, took: start.elapsed() };
        let cannot = |why: String| {
            println!("    {}: {why}", if dirs::is_ci() { "FAILED, cannot run" } else { "SKIPPED" });
            row(if dirs::is_ci() { State::Failed } else { State::Skipped(why) }, Counts::default())
        };
        if let Some(why) = (self.missing)() {
            println!("    SKIPPED: {why}");
            return row(State::Skipped(why), Counts::default());
        }
        let parts = match setup::ensure(self.needs) {
            Ok(parts) => parts,
            Err(error) => return cannot(format!("{error:#}")),
        };
        match (self.run)(&parts) {
            Ok(went) => {
                let counts = Counts::read(&went.text);
                row(if went.success && counts.failed == 0 { State::Passed } else { State::Failed }, counts)
            }
            Err(error) => {
                println!("    FAILED: {error:#}");
                row(State::Failed, Counts::default())
            }
        }
    }
}
