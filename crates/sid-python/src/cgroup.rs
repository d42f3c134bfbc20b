//! Control groups: one for each call, where the operator has given Sid a place for them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Limits, PythonError};

/// Folders of the control group file system in which Sid may make groups.
///
/// Version 2: one folder, whose `cgroup.subtree_control` has `memory` and `pids`, and in which no process is (with systemd: `Delegate=yes` and the
/// server in a group below). Version 1: one folder of `memory` and one of `pids`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// The folders; empty = no control groups.
    pub folders: Vec<PathBuf>,
}

impl Cgroups {
    /// Groups for one call. They are removed when it is dropped, after its processes have ended.
    pub(crate) fn make(&self, name: &str, limits: &Limits) -> Result<Groups, PythonError> {
        let mut groups = Groups { folders: Vec::new() };
        for parent in &self.folders {
            let folder = parent.join(name);
            fs::create_dir(&folder).map_err(PythonError::io("a control group cannot be made"))?;
            groups.folders.push(folder.clone());
            bound(&folder, limits).map_err(PythonError::io("a control group cannot be bounded"))?;
        }
        Ok(groups)
    }
}

/// Writes what the folder's version has a file for; at least one limit must take.
fn bound(folder: &Path, limits: &Limits) -> io::Result<()> {
    let (memory, tasks) = (limits.memory_bytes.to_string(), limits.tasks.to_string());
    let wanted = [
        ("memory.max", memory.as_str()),
        ("memory.swap.max", "0"),
        ("memory.limit_in_bytes", memory.as_str()),
        ("pids.max", tasks.as_str()),
    ];
    let mut taken = 0;
    for (file, value) in wanted {
        let file = folder.join(file);
        if file.exists() {
            fs::write(file, value)?;
            taken += 1;
        }
    }
    if taken == 0 { Err(io::Error::new(io::ErrorKind::NotFound, "it has neither memory.max nor pids.max")) } else { Ok(()) }
}

/// The groups of one call.
#[derive(Debug)]
pub(crate) struct Groups {
    folders: Vec<PathBuf>,
}

impl Groups {
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Ends what is left in them (version 2 can).
    pub(crate) fn kill(&self) {
        for folder in &self.folders {
            let _ = fs::write(folder.join("cgroup.kill"), "1");
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(error) = fs::remove_dir(folder) {
                tracing::warn!(folder = %folder.display(), %error, "a control group cannot be removed");
            }
        }
    }
}
