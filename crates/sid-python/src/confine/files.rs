//! Landlock: which files can be reached.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::plan::Plan;

/// The newest version whose rights are asked for; older kernels give what they have.
const WANTED: ABI = ABI::V6;

pub(super) struct Restricted {
    pub(super) abi: u32,
    /// Signals and abstract sockets stay inside.
    pub(super) signals: bool,
}

/// Nothing but what the plan names, from here on.
pub(super) fn restrict(plan: &Plan) -> Result<Restricted, String> {
    let words = |e: landlock::RulesetError| e.to_string();
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))
        .and_then(|r| r.scope(Scope::from_all(WANTED)))
        .map_err(words)?;
    if !plan.grants.network {
        // A second lock: without a grant there are no sockets in the first place.
        ruleset = ruleset.handle_access(AccessNet::from_all(WANTED)).map_err(words)?;
    }
    let mut ruleset = ruleset.create().map_err(words)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in &plan.read {
        ruleset = allow(ruleset, path, read)?;
    }
    for path in &plan.execute {
        ruleset = allow(ruleset, path, read | AccessFs::Execute)?;
    }
    if let Some((program, _)) = &plan.program {
        ruleset = allow(ruleset, program, read | AccessFs::Execute)?;
    }
    let write = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::Refer;
    ruleset = allow(ruleset, &plan.folder, read | write)?;
    ruleset = allow(ruleset, "/dev/null".as_ref(), AccessFs::ReadFile | AccessFs::WriteFile)?;
    let status = ruleset.restrict_self().map_err(words)?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
        _ => ABI::Unsupported,
    };
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err("this kernel has no Landlock (Linux 5.13, enabled with `lsm=landlock`)".into());
    }
    Ok(Restricted { abi: abi as u32, signals: abi >= ABI::V6 })
}

/// A path that is not there needs no rule.
fn allow(ruleset: RulesetCreated, path: &std::path::Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, String> {
    let Ok(opened) = PathFd::new(path) else { return Ok(ruleset) };
    let is_folder = path.is_dir();
    let access = if is_folder { access } else { access & AccessFs::from_file(WANTED) };
    ruleset.add_rule(PathBeneath::new(opened, access)).map_err(|e| format!("{}: {e}", path.display()))
}
