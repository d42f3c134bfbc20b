//! Progress of long work, on standard error; silent with `--json` or when nobody watches.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;

/// A bar for `total` bytes; a counter when the size is not known.
#[must_use]
pub fn bytes(out: &Output, doing: &'static str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    start(out, doing, total, template)
}

/// A bar for `total` things.
#[must_use]
pub fn items(out: &Output, doing: &'static str, total: u64) -> ProgressBar {
    start(out, doing, Some(total), "{msg} [{bar:30}] {pos}/{len} {per_sec} {eta}")
}

fn start(out: &Output, doing: &'static str, total: Option<u64>, template: &str) -> ProgressBar {
    let is_shown = !out.json && std::io::stderr().is_terminal();
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(total, target);
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    bar.set_message(doing);
    if total.is_none() {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}
