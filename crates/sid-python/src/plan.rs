//! What the launcher is told to do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Grants, Limits};

/// The first argument of a process that is to be a launcher. Not a flag that a person would write.
pub(crate) const MARK: &str = "--sid-launch-function";

/// The exit code of a launcher that could not do what it was told.
pub(crate) const FAILED: u8 = 125;

/// The second argument, as JSON. It holds no secret: arguments can be seen by other processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The program to become, and its arguments; none: only report what could be put in force.
    pub(crate) program: Option<(PathBuf, Vec<String>)>,
    /// The process that must still be the parent.
    pub(crate) parent: u32,
    /// The user, and group, that a root server's call becomes.
    pub(crate) user: u32,
    /// What may be read, files or folders.
    pub(crate) read: Vec<PathBuf>,
    /// What may be executed besides the program: its loader.
    pub(crate) execute: Vec<PathBuf>,
    /// The working folder: the only place to write.
    pub(crate) folder: PathBuf,
    /// Control groups to enter.
    pub(crate) cgroups: Vec<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    /// Go on where a part cannot be put in force.
    pub(crate) allow_unconfined: bool,
}
