//! The rights of root, given up.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities};

/// Drops every capability, and the bounding set, so that a root user who executes a program gets none back.
pub(super) fn drop_all() -> Result<(), String> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // An older kernel does not know it; a user without rights cannot drop any, and gets none by executing.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(Errno::PERM) if !rustix::process::geteuid().is_root() => break,
            Err(e) => return Err(format!("{capability:?} cannot be dropped: {e}")),
        }
    }
    let none = CapabilitySets { effective: CapabilitySet::empty(), permitted: CapabilitySet::empty(), inheritable: CapabilitySet::empty() };
    set_capabilities(None, none).map_err(|e| format!("they cannot be dropped: {e}"))
}
