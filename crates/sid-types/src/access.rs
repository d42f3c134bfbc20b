//! What a caller may do at all: permissions, and the roles that bundle them. Whose memory it is, is another question: see
//! [`Principal`](crate::Principal).

use serde::{Deserialize, Serialize};

/// One kind of thing that a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Talk with agents: send messages, follow and cancel runs.
    Chat,
    /// Read and search memory: messages, passages, blocks, the diary.
    MemoryRead,
    /// Write memory.
    MemoryWrite,
    /// Read what the context service keeps; not the values of secrets.
    ContextRead,
    /// Write to the context service, hand work over, store secrets.
    ContextWrite,
    /// Approve what assistants propose, share with others.
    ContextDecide,
    /// Read the value of a secret.
    SecretsReveal,
    /// Read who is there: users, teams, agents.
    DirectoryRead,
    /// Make and change users, teams and agents.
    DirectoryWrite,
    /// Make, rotate and revoke keys.
    KeysManage,
    /// Read the audit log.
    AuditRead,
    /// Export all that is held.
    Export,
    /// Erase.
    Erase,
    /// Manage tenants, limits, models and the server itself.
    Operate,
}

impl Permission {
    /// All of them, in a stable order.
    pub const ALL: [Self; 14] = [
        Self::Chat,
        Self::MemoryRead,
        Self::MemoryWrite,
        Self::ContextRead,
        Self::ContextWrite,
        Self::ContextDecide,
        Self::SecretsReveal,
        Self::DirectoryRead,
        Self::DirectoryWrite,
        Self::KeysManage,
        Self::AuditRead,
        Self::Export,
        Self::Erase,
        Self::Operate,
    ];

    /// Its name, as in keys and tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::MemoryRead => "memory-read",
            Self::MemoryWrite => "memory-write",
            Self::ContextRead => "context-read",
            Self::ContextWrite => "context-write",
            Self::ContextDecide => "context-decide",
            Self::SecretsReveal => "secrets-reveal",
            Self::DirectoryRead => "directory-read",
            Self::DirectoryWrite => "directory-write",
            Self::KeysManage => "keys-manage",
            Self::AuditRead => "audit-read",
            Self::Export => "export",
            Self::Erase => "erase",
            Self::Operate => "operate",
        }
    }
}

/// A bundle of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessRole {
    /// Everything inside its reach.
    Owner,
    /// Everything but keys and erasure.
    Admin,
    /// A person, or an application that acts for one.
    Member,
    /// An assistant that acts for a person.
    Agent,
    /// Looks and changes nothing.
    ReadOnly,
}

impl AccessRole {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Member, Self::Agent, Self::ReadOnly];

    /// Its name, as in keys and tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Agent => "agent",
            Self::ReadOnly => "read-only",
        }
    }

    /// What it may do. This is the table; `docs/access.md` shows it.
    #[must_use]
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission::{
            AuditRead, Chat, ContextDecide, ContextRead, ContextWrite, DirectoryRead, DirectoryWrite, Erase, Export, KeysManage,
            MemoryRead, MemoryWrite, SecretsReveal,
        };
        match self {
            Self::Owner => &[
                Chat,
                MemoryRead,
                MemoryWrite,
                ContextRead,
                ContextWrite,
                ContextDecide,
                SecretsReveal,
                DirectoryRead,
                DirectoryWrite,
                KeysManage,
                AuditRead,
                Export,
                Erase,
            ],
            Self::Admin => &[
                Chat,
                MemoryRead,
                MemoryWrite,
                ContextRead,
                ContextWrite,
                ContextDecide,
                SecretsReveal,
                DirectoryRead,
                DirectoryWrite,
                AuditRead,
                Export,
            ],
            Self::Member => &[
                Chat,
                MemoryRead,
                MemoryWrite,
                ContextRead,
                ContextWrite,
                ContextDecide,
                SecretsReveal,
                DirectoryRead,
                AuditRead,
                Export,
                Erase,
            ],
            Self::Agent => &[Chat, MemoryRead, MemoryWrite, ContextRead, ContextWrite, DirectoryRead],
            Self::ReadOnly => &[MemoryRead, ContextRead, DirectoryRead],
        }
    }

    /// Whether it may do this.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_is_stored() {
        for permission in Permission::ALL {
            assert_eq!(serde_json::to_value(permission).expect("JSON"), permission.as_str());
        }
        for role in AccessRole::ALL {
            assert_eq!(serde_json::to_value(role).expect("JSON"), role.as_str());
        }
    }

    #[test]
    fn no_role_operates_and_each_has_less_than_the_owner() {
        for role in AccessRole::ALL {
            assert!(!role.may(Permission::Operate));
            assert!(role.permissions().iter().all(|p| AccessRole::Owner.may(*p)));
        }
    }
}
