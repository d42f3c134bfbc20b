//! What each kind of item is allowed to be: whose, below what, in which states.

use sid_types::ItemKind;

/// Whose items of a kind are, where a request names no owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The assistant's that makes it, for its user: the user's other assistants read it.
    Agent,
    /// The user's: all of the user's assistants read and write it.
    User,
}

/// The rules of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whose, unless the request says it.
    pub reach: Reach,
    /// Below which kinds it may stand; empty = it is always a top.
    pub parents: &'static [ItemKind],
    /// Whether it may also be a top.
    pub may_be_top: bool,
    /// Its states, the first one first; empty = it has none.
    pub states: &'static [&'static str],
    /// Whether people make and change it through the plain calls for items, and not through calls of its own.
    pub is_plain: bool,
}

/// The table.
#[must_use]
pub const fn rules(kind: ItemKind) -> Rules {
    const fn plain(reach: Reach, parents: &'static [ItemKind]) -> Rules {
        Rules { reach, parents, may_be_top: true, states: &[], is_plain: true }
    }
    const fn special(reach: Reach, states: &'static [&'static str]) -> Rules {
        Rules { reach, parents: &[], may_be_top: true, states, is_plain: false }
    }
    match kind {
        ItemKind::Note => plain(Reach::Agent, &[ItemKind::Note]),
        ItemKind::Memory => plain(Reach::Agent, &[]),
        ItemKind::Preference => plain(Reach::Agent, &[ItemKind::Preference]),
        ItemKind::Hint => plain(Reach::User, &[ItemKind::Hint]),
        ItemKind::Page => plain(Reach::User, &[ItemKind::Page]),
        ItemKind::Project => {
            Rules { states: &["planning", "active", "on_hold", "evolving", "complete", "archived"], ..plain(Reach::User, &[]) }
        }
        ItemKind::Section => Rules { may_be_top: false, ..plain(Reach::User, &[ItemKind::Project, ItemKind::Section]) },
        ItemKind::Session => special(Reach::Agent, &["open"]),
        ItemKind::Handoff => special(Reach::User, &["open", "claimed", "done", "withdrawn"]),
        ItemKind::Proposal => special(Reach::User, &["open", "approved", "rejected", "stale"]),
        ItemKind::Secret | ItemKind::DataKey => special(Reach::User, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_no_top_has_parents() {
        for kind in ItemKind::ALL {
            let rules = rules(kind);
            assert!(rules.may_be_top || !rules.parents.is_empty(), "{kind}");
            // What is below an item has its owner, so the default must be the same.
            assert!(rules.parents.iter().all(|parent| super::rules(*parent).reach == rules.reach), "{kind}");
        }
    }
}
