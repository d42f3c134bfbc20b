//! The server of the torture `crash`: one that can be told where to end.

use std::path::PathBuf;

use anyhow::Result;

use crate::{dirs, proc};

/// Builds it in the debug profile, so that the release server stays as it is; answers where it is.
pub(crate) fn server() -> Result<PathBuf> {
    proc::heading("building the server that can be crashed at every named point");
    proc::run(&mut proc::cargo(&["build", "--locked", "--package", "sid-server", "--bin", "sid-server", "--features", "failpoints"]))?;
    Ok(dirs::target().join("debug").join("sid-server"))
}
