//! Signals to processes that tests have started.

use std::process::{Command, Stdio};

/// Sends a signal (`STOP`, `KILL`) to these processes; those that are gone are left out.
pub(crate) fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let list: Vec<String> = pids.iter().map(u32::to_string).collect();
    // The shell's own `kill`: the program of that name is not on every machine, and the system call would be unsafe code.
    let script = format!("kill -{name} {} 2>/dev/null", list.join(" "));
    let _ = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status();
}
