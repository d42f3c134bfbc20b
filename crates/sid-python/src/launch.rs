//! The launcher: a process that locks itself in, then becomes Python.
//!
//! Between `fork` and `exec` only unsafe code could do this; a process that is already its own needs none. So the server starts its own
//! executable again, which calls [`launch_if_asked`] before anything else.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, exit};

use rustix::process::setsid;

use crate::confine::{self, Enforced};
use crate::plan::{FAILED, MARK, Plan};

/// Becomes a function's process if this program was started as a launcher, and does not return then. Else it does nothing.
///
/// Call it first in `main`, before any thread, file or log: its process runs other people's code.
///
/// ```
/// sid_python::launch_if_asked();
/// // What `main` is there for.
/// ```
pub fn launch_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next() != Some(OsString::from(MARK)) {
        return;
    }
    let plan = arguments.next().and_then(|p| p.into_string().ok());
    let problem = match plan.as_deref().map(serde_json::from_str::<Plan>) {
        Some(Ok(plan)) => launch(&plan),
        _ => "it was given no plan".into(),
    };
    let _ = writeln!(std::io::stderr(), "{problem}");
    exit(i32::from(FAILED));
}

/// Answers only when it failed.
fn launch(plan: &Plan) -> String {
    // Whatever the server's libraries left open stays behind.
    close_fds::set_fds_cloexec(3, &[]);
    if let Err(e) = setsid() {
        return format!("no session of its own: {e}");
    }
    let enforced = match confine::confine(plan) {
        Ok(enforced) => enforced,
        Err(problem) => return problem,
    };
    match &plan.program {
        None => report(&enforced),
        Some((program, arguments)) => {
            let error = Command::new(program).args(arguments).exec();
            format!("{} cannot be started: {error}", program.display())
        }
    }
}

fn report(enforced: &Enforced) -> String {
    let text = serde_json::to_string(enforced).unwrap_or_default();
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Ok(()) => exit(0),
        Err(e) => format!("the report cannot be written: {e}"),
    }
}
