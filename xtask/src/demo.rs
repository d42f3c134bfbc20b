//! `cargo xtask demo`: builds, sets up, and lets `tests/demo/pickles.py` play the story.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Args;
use crate::setup::{self, Group};
use crate::{proc, python, test};

pub(crate) const HELP: &str = "\
Usage: cargo xtask demo [--auto]

Builds sid-server and sid (release), fetches a real small chat model and a sentence model, starts
both, and plays the pickles story: a fact is told, more than a whole context window of other talk
follows, the server is killed with SIGKILL and started again, and days later an indirect question
comes. For every turn it prints the prompt's tokens against the window, what was recalled and why,
and the model's own streamed answer. It fails unless the fact reached the prompt.

  --auto   end after the story; otherwise you go on talking to the agent with `sid chat`";

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let auto = args.flag("--auto");
    args.finish()?;
    proc::heading("setting up the models (nothing is fetched twice)");
    setup::ensure(&[Group::Embed, Group::Llm])?;
    test::build_server()?;
    let mut story = python::script("tests/demo/pickles.py");
    if auto {
        story.arg("--auto");
    }
    let status = story.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
