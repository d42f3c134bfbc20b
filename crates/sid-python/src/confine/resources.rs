//! Limits that the kernel keeps for each process.

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

use crate::Limits;

/// Most processes and threads of the server's user while a function starts one more. It keeps a bomb of threads from using up the numbers of
/// processes. Root is not bound by it: there, a call is a user of its own, with a number of its own.
const USER_TASKS: u64 = 4_096;

/// Other processes come first, and are the last to be killed when memory runs out.
pub(super) fn be_polite() {
    let _ = nice(5);
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Sets soft and hard limits alike.
pub(super) fn limit(limits: &Limits, own_user: bool) -> Result<(), String> {
    let wanted = [
        (Resource::Core, 0),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Nofile, limits.open_files),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Nproc, if own_user { limits.tasks } else { USER_TASKS }),
        // Last: what comes after must fit into it.
        (Resource::As, limits.memory_bytes),
    ];
    for (resource, most) in wanted {
        // What is less already stays so: nobody but root may raise it.
        let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        // The first second over the soft limit ends it with a signal that says why, the next one anyhow.
        let hard = if resource == Resource::Cpu { most.saturating_add(1) } else { most };
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(hard) }).map_err(|e| format!("{resource:?}: {e}"))?;
    }
    Ok(())
}
