//! What a caller may do at all: permissions, and the roles that bundle them. Whose memory it is, is another question: see
//! [`Principal`](crate::Principal).

named! {
    /// One kind of thing that a caller may do.
    Permission {
        /// Talk with agents: send messages, follow and cancel runs.
        Chat = "chat",
        /// Read and search memory: messages, passages, blocks, the diary.
        MemoryRead = "memory-read",
        /// Write memory.
        MemoryWrite = "memory-write",
        /// Read what the context service keeps; not the values of secrets.
        ContextRead = "context-read",
        /// Write to the context service, hand work over, store secrets.
        ContextWrite = "context-write",
        /// Approve what assistants propose, share with others.
        ContextDecide = "context-decide",
        /// Read the value of a secret.
        SecretsReveal = "secrets-reveal",
        /// Read who is there: users, teams, agents, and the functions that agents were given.
        DirectoryRead = "directory-read",
        /// Make and change users, teams and agents, and give agents functions.
        DirectoryWrite = "directory-write",
        /// Make, rotate and revoke keys.
        KeysManage = "keys-manage",
        /// Read the audit log.
        AuditRead = "audit-read",
        /// Export all that is held.
        Export = "export",
        /// Erase.
        Erase = "erase",
        /// Manage tenants, limits, models and the server itself.
        Operate = "operate",
    }
}

named! {
    /// A bundle of permissions.
    AccessRole {
        /// Everything inside its reach.
        Owner = "owner",
        /// Everything but keys and erasure.
        Admin = "admin",
        /// A person, or an application that acts for one.
        Member = "member",
        /// An assistant that acts for a person.
        Agent = "agent",
        /// Looks and changes nothing.
        ReadOnly = "read-only",
    }
}

impl AccessRole {
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
