//! `cargo xtask bench turn`: what a message costs beside the model.
//!
//! The measuring is `sid-testkit`'s example `turn_bench`, a client of the release server like any other.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::args::Args;
use crate::legs::PROFILE;
use crate::setup::{self, Group};
use crate::{dirs, proc, test};

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let quick = args.flag("--quick");
    let only = args.value("--only")?;
    let store = args.value("--store")?.unwrap_or_else(|| "sqlite".into());
    args.finish()?;
    let parts = setup::ensure(if store == "sqlite" { &[Group::Embed] } else { &[Group::Embed, Group::Postgres] })?;
    test::build_server()?;
    let mut bench = Command::new(dirs::target().join(PROFILE).join("examples/turn_bench"));
    bench.arg("--store").arg(store).arg("--server").arg(dirs::release("sid-server"));
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
