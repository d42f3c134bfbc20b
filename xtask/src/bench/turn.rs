//! `cargo xtask bench turn`: what a message costs beside the model.
//!
//! The measuring is `sid-testkit`'s example `turn_bench`, a client of the server like any other.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::args::Args;
use crate::setup::{self, Group};
use crate::{dirs, proc, test};

const DIST: &str = "dist";

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let quick = args.flag("--quick");
    let only = args.value("--only")?;
    let store = args.value("--store")?.unwrap_or_else(|| "sqlite".into());
    args.finish()?;
    let parts = setup::ensure(if store == "sqlite" { &[Group::Embed] } else { &[Group::Embed, Group::Postgres] })?;
    test::build_server()?;
    let server = build_dist(store != "sqlite")?;
    let mut bench = Command::new(dirs::example("turn_bench"));
    bench.arg("--store").arg(store).arg("--server").arg(server);
    bench.arg("--minilm").arg(&parts["minilm"]).arg("--onnxruntime").arg(&parts["onnxruntime"]);
    if quick {
        bench.arg("--quick");
    }
    if let Some(part) = only {
        bench.arg("--only").arg(part);
    }
    proc::run(&mut bench)?;
    Ok(ExitCode::SUCCESS)
}

/// The server as it is shipped: on Postgres as in the images, with their allocator; on the embedded store without it, as on a laptop.
fn build_dist(is_image: bool) -> Result<PathBuf> {
    proc::heading("building the server as it is shipped (the first time takes some minutes)");
    let mut build = proc::cargo(&["build", "--locked", "--profile", DIST, "--package", "sid-server", "--bins"]);
    if is_image {
        build.args(["--features", "sid-server/mimalloc"]);
    }
    proc::run(&mut build)?;
    Ok(dirs::target().join(DIST).join(format!("sid-server{}", std::env::consts::EXE_SUFFIX)))
}
