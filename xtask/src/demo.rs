//! `cargo xtask demo`: builds, sets up, and lets `tests/demo/pickles.py` play the story.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Args;
use crate::setup::{self, Group};
use crate::{proc, python, test};

pub(crate) const HELP: &str = "\
Usage: cargo xtask demo [--auto] [--replicas N]

Builds sid-server and sid (release), fetches a real small chat model and a sentence model, starts
both, and plays the pickles story: a fact is told, more than a whole context window of other talk
follows, the server is killed with SIGKILL and started again, and days later an indirect question
comes. For every turn it prints the prompt's tokens against the window, what was recalled and why,
and the model's own streamed answer. It fails unless the fact reached the prompt.

  --auto         end after the story; otherwise you go on talking to the agent with `sid chat`
  --replicas N   the same over N servers, Postgres and Qdrant; the server that answers the last question is
                 killed in the middle of its answer, and the client's stream goes on at another one";

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let auto = args.flag("--auto");
    let replicas = args.number("--replicas")?.unwrap_or(1);
    args.finish()?;
    proc::heading("setting up the models (nothing is fetched twice)");
    let mut groups = vec![Group::Embed, Group::Llm];
    if replicas > 1 {
        groups.extend([Group::Postgres, Group::Qdrant]);
    }
    setup::ensure(&groups)?;
    test::build_server()?;
    let mut story = python::script("tests/demo/pickles.py");
    story.args(["--replicas", &replicas.to_string()]);
    if auto {
        story.arg("--auto");
    }
    let status = story.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
