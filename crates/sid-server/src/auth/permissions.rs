//! Sets of permissions.

use std::ops::BitAnd;

use sid_types::{AccessRole, ApiKey, KeyRole, Permission};

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permissions(u32);

impl Permissions {
    /// What an operator with this role may do: beside the role's own, whoever administers also operates.
    pub(crate) fn of_operator(access: AccessRole) -> Self {
        let operate = matches!(access, AccessRole::Owner | AccessRole::Admin).then_some(Permission::Operate);
        access.permissions().iter().copied().chain(operate).collect()
    }

    /// What a role gives, as far as the scopes leave it.
    pub(crate) fn new(role: &KeyRole, access: AccessRole, scopes: Option<&[Permission]>) -> Self {
        let all = match role {
            KeyRole::Operator => Self::of_operator(access),
            _ => access.into(),
        };
        scopes.map_or(all, |scopes| all & scopes.iter().copied().collect())
    }

    pub(crate) fn of_key(key: &ApiKey) -> Self {
        Self::new(&key.role, key.access, key.scopes.as_deref())
    }

    pub(crate) const fn has(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// What is in here and not in `other`.
    pub(crate) fn beyond(self, other: Self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |p| self.has(*p) && !other.has(*p))
    }
}

const fn bit(permission: Permission) -> u32 {
    1 << permission as u32
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        Self(permissions.into_iter().fold(0, |set, permission| set | bit(permission)))
    }
}

impl From<AccessRole> for Permissions {
    fn from(role: AccessRole) -> Self {
        role.permissions().iter().copied().collect()
    }
}

impl BitAnd for Permissions {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_take_away_and_never_give() {
        let user = KeyRole::Tenant { tenant: sid_types::TenantId::new() };
        let all = Permissions::new(&user, AccessRole::ReadOnly, None);
        assert_eq!(all, AccessRole::ReadOnly.into());
        let cut = Permissions::new(&user, AccessRole::ReadOnly, Some(&[Permission::MemoryRead, Permission::Erase]));
        assert_eq!(cut, [Permission::MemoryRead].into_iter().collect());
        assert_eq!(Permissions::new(&user, AccessRole::Owner, Some(&[])).beyond(cut).count(), 0);
        assert_eq!(all.beyond(cut).collect::<Vec<_>>(), [Permission::ContextRead, Permission::DirectoryRead]);
    }

    #[test]
    fn only_operators_who_administer_operate() {
        for access in AccessRole::ALL {
            let operates = Permissions::new(&KeyRole::Operator, access, None).has(Permission::Operate);
            assert_eq!(operates, matches!(access, AccessRole::Owner | AccessRole::Admin), "{access:?}");
            assert!(!Permissions::from(access).has(Permission::Operate));
        }
    }
}
