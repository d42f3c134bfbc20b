//! Locks the calling process in, for good.

mod capabilities;
mod files;
mod resources;
mod syscalls;

use std::fmt;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// What is in force for functions on this system; measured by a process that locked itself in, not guessed from versions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Enforced {
    /// Limits of memory, processor time, files and open files (rlimits).
    pub limits: bool,
    /// Files outside of the working folder and of Python itself can be neither read nor written (Landlock).
    pub files: bool,
    /// The kernel's version of Landlock, as far as it is known here; 0 = none.
    pub landlock: u32,
    /// No network without a grant, no new processes without a grant, no calls that look into or change other processes (seccomp).
    pub system_calls: bool,
    /// No rights of root, even where the server runs as root; one to read is left where Python is in a place for root alone.
    pub capabilities: bool,
    /// Each call is a user of its own, whose threads are counted. Only where the server runs as root.
    pub own_user: bool,
    /// No signals to processes outside (Landlock 6; without it the system calls alone are in the way).
    pub signals: bool,
    /// Memory and threads of a call as a whole (control groups).
    pub groups: bool,
    /// What could not be put in force, in words.
    pub missing: Vec<String>,
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on: bool| if on { "yes" } else { "NO" };
        let groups = if self.groups { "yes" } else { "no (none configured)" };
        write!(f, "limits: {}; files: {} (Landlock {}); ", word(self.limits), word(self.files), self.landlock)?;
        write!(f, "system calls: {}; rights dropped: {}; ", word(self.system_calls), word(self.capabilities))?;
        let user = if self.own_user { "yes" } else { "no (only where the server has the rights of root)" };
        write!(f, "signals: {}; a user for each call: {user}; control groups: {groups}", word(self.signals))
    }
}

/// Puts everything in force that the plan asks for.
///
/// Errors: in words, when a part fails and the plan does not allow to go on without.
pub(crate) fn confine(plan: &Plan) -> Result<Enforced, String> {
    let mut enforced = Enforced { groups: enter_groups(plan)?, ..Enforced::default() };
    resources::be_polite();
    // Made ready while memory and system calls are still free.
    let filters = syscalls::filters(plan.grants);
    match files::restrict(plan) {
        Ok(files::Restricted { abi, signals }) => (enforced.files, enforced.landlock, enforced.signals) = (true, abi, signals),
        Err(problem) => enforced.missing.push(format!("files: {problem}")),
    }
    // After Landlock, which opens the folders as whoever the server is.
    let rights = capabilities::drop_all(plan).map(|own_user| enforced.own_user = own_user);
    note(&mut enforced.missing, "rights", &mut enforced.capabilities, rights);
    // After the change of user, which would undo it.
    end_with_parent(plan)?;
    note(&mut enforced.missing, "limits", &mut enforced.limits, resources::limit(&plan.limits, enforced.own_user));
    stop_at_the_first(plan, &enforced)?;
    // Last: it forbids what the steps before needed.
    note(&mut enforced.missing, "system calls", &mut enforced.system_calls, filters.and_then(|f| f.apply()));
    stop_at_the_first(plan, &enforced)?;
    Ok(enforced)
}

fn end_with_parent(plan: &Plan) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| format!("it cannot be made to end with its parent: {e}"))?;
    // The parent may have died before it was asked for.
    let parent = getppid().map(|p| p.as_raw_nonzero().get().unsigned_abs());
    if parent == Some(plan.parent) { Ok(()) } else { Err("its parent is gone".into()) }
}

fn note(missing: &mut Vec<String>, what: &str, flag: &mut bool, result: Result<(), String>) {
    match result {
        Ok(()) => *flag = true,
        Err(problem) => missing.push(format!("{what}: {problem}")),
    }
}

fn stop_at_the_first(plan: &Plan, enforced: &Enforced) -> Result<(), String> {
    match enforced.missing.first() {
        Some(problem) if !plan.allow_unconfined => Err(problem.clone()),
        _ => Ok(()),
    }
}

fn enter_groups(plan: &Plan) -> Result<bool, String> {
    for group in &plan.cgroups {
        std::fs::write(group.join("cgroup.procs"), std::process::id().to_string())
            .map_err(|e| format!("the control group {} cannot be entered: {e}", group.display()))?;
    }
    Ok(!plan.cgroups.is_empty())
}
