//! The rights of root, given up, and its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::chown;

use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::plan::Plan;

/// What root needs to hand a call over to a user of its own, to end it, and to clear away after it.
const NEEDED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID);

/// Kept by a user of its own where Python or the folder is in a place that only root may enter. Landlock says what may be read with it.
const READ: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Drops every capability, and the bounding set, so that a root user who executes a program gets none back. Root becomes the plan's user where it can.
///
/// Whether it became that user. It cannot where root lacks rights, or the user does not exist in this container.
pub(super) fn drop_all(plan: &Plan) -> Result<bool, String> {
    let had = capabilities(None).map_err(|e| format!("they cannot be asked for: {e}"))?;
    let becomes = geteuid().is_root() && had.effective.contains(NEEDED) && hand_over(plan, had.permitted.contains(READ));
    let kept = if becomes { READ.intersection(had.permitted) } else { CapabilitySet::empty() };
    if becomes {
        set_capabilities(None, CapabilitySets { inheritable: kept, ..had }).map_err(|e| format!("reading cannot be kept: {e}"))?;
    }
    empty_the_bounding_set()?;
    if becomes {
        become_user(plan.user).map_err(|e| format!("the user {} cannot be become: {e}", plan.user))?;
    }
    let set = |effective: CapabilitySet, kept: CapabilitySet| {
        let sets = CapabilitySets { effective, permitted: kept, inheritable: kept };
        set_capabilities(None, sets).map_err(|e| format!("they cannot be dropped: {e}"))
    };
    set(CapabilitySet::empty(), kept)?;
    if kept.is_empty() || is_reachable(plan) {
        set(CapabilitySet::empty(), CapabilitySet::empty())?;
        return Ok(becomes);
    }
    set(kept, kept)?;
    configure_capability_in_ambient_set(READ, true).map_err(|e| format!("reading cannot be kept: {e}"))?;
    Ok(true)
}

/// Gives the folder to the plan's user, if that user exists and could reach Python. Whether it did.
fn hand_over(plan: &Plan, can_read_all: bool) -> bool {
    if chown(&plan.folder, Some(plan.user), Some(plan.user)).is_err() {
        return false;
    }
    let is_ready = can_read_all || seen_by(plan.user, || is_reachable(plan)).unwrap_or(false);
    if !is_ready {
        // Root's again, who will have no right to write into a folder of others.
        let _ = chown(&plan.folder, Some(0), Some(0));
    }
    is_ready
}

/// What `look` answers to a user without rights.
fn seen_by(number: u32, look: impl FnOnce() -> bool) -> Result<bool, Errno> {
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    set_thread_groups(&[])?;
    set_thread_res_gid(None::<Gid>, group, None::<Gid>)?;
    set_thread_res_uid(None::<Uid>, user, None::<Uid>)?;
    let seen = look();
    set_thread_res_uid(None::<Uid>, Uid::ROOT, None::<Uid>)?;
    set_thread_res_gid(None::<Gid>, Gid::ROOT, None::<Gid>)?;
    Ok(seen)
}

fn empty_the_bounding_set() -> Result<(), String> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // An older kernel does not know it; a user without rights cannot drop any, and gets none by executing.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(Errno::PERM) if !geteuid().is_root() => break,
            Err(e) => return Err(format!("{capability:?} cannot be dropped: {e}")),
        }
    }
    Ok(())
}

fn become_user(number: u32) -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_keep_capabilities(true)?;
    set_thread_res_uid(user, user, user)
}

/// Whether a user without rights can open what the plan names. What is not there is not missed.
fn is_reachable(plan: &Plan) -> bool {
    let program = plan.program.iter().map(|(program, _)| program);
    let mut paths = program.chain(&plan.read).chain(&plan.execute).chain([&plan.folder]);
    paths.all(|path| File::open(path).map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |_| true))
}
