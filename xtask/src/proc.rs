//! Running other programs.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::dirs;

/// A heading for what comes next, with the time since the first one.
pub(crate) fn heading(text: &str) {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let since = FIRST.get_or_init(Instant::now).elapsed();
    if since < Duration::from_secs(1) {
        println!("\n==> {text}");
    } else {
        println!("\n==> {text} [after {}]", human(since));
    }
    // Children write to the same terminal: the heading has to be there first.
    let _ = std::io::stdout().flush();
}

/// Time for people: `0.4 s`, `12 s`, `3 min 05 s`.
pub(crate) fn human(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.1} s", time.as_secs_f32()),
        s @ 10..=119 => format!("{s} s"),
        s => format!("{} min {:02} s", s / 60, s % 60),
    }
}

/// `cargo`, the one that runs us, at the top of the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(dirs::root());
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}

/// Whether cargo has this subcommand (`nextest`, `deny`).
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    cargo(&[subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// The command as somebody would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy())
        .enumerate()
        .map(|(i, w)| if i == 0 { w.rsplit('/').next().unwrap_or_default().to_owned() } else { w.into_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs it with our terminal; an error names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs it and gives what it printed on its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !out.status.success() {
        bail!("`{}` ended with {}", shown(command), out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("`{}` printed something that is not text", shown(command)))
}

/// How a teed command went.
pub(crate) struct Teed {
    pub(crate) success: bool,
    pub(crate) text: String,
}

impl Teed {
    /// Both, one after the other.
    pub(crate) fn and(mut self, next: Self) -> Self {
        self.success &= next.success;
        self.text.push_str(&next.text);
        self
    }
}

/// Runs it, shows what it prints as it prints it, and keeps it as well.
pub(crate) fn tee(command: &mut Command) -> Result<Teed> {
    tee_reading(command, Stdio::null())
}

/// [`tee`] with something to read.
pub(crate) fn tee_reading(command: &mut Command, input: Stdio) -> Result<Teed> {
    println!("    $ {}", shown(command));
    let mut child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    let err = child.stderr.take().expect("stderr is piped");
    let out = child.stdout.take().expect("stdout is piped");
    let other = std::thread::spawn(move || copy(err));
    let mut text = copy(out);
    text.push_str(&other.join().unwrap_or_default());
    let status = child.wait().with_context(|| format!("waiting for `{}`", shown(command)))?;
    Ok(Teed { success: status.success(), text })
}

/// Prints every line that arrives and gives all of them.
fn copy(from: impl Read) -> String {
    let mut kept = String::new();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let part = String::from_utf8_lossy(&line);
        // One call per line, so that the two streams do not mix inside a line.
        print!("{part}");
        kept.push_str(&part);
        line.clear();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{human, tee};
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn both_streams_are_kept() {
        let went = tee(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).expect("sh runs");
        assert!(!went.success && went.text.contains("out\n") && went.text.contains("err\n"));
    }

    #[test]
    fn times_read_well() {
        assert_eq!(human(Duration::from_millis(400)), "0.4 s");
        assert_eq!(human(Duration::from_secs(185)), "3 min 05 s");
    }
}
