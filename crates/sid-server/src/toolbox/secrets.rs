//! Values of secrets for calls that leave the house.

use std::sync::Arc;

use async_trait::async_trait;
use sid_context::secrets::{SecretValue, Vault};
use sid_store::{AuditEntry, Store};
use sid_tools::ToolContext;
use sid_tools::http::{Secret, Secrets};
use sid_types::{KeyId, Owner, Principal};
use tracing::warn;
use uuid::Uuid;

use super::login::PREFIX;

/// Whether a secret is this server's own: tokens that somebody got by logging in. They are neither put nor revealed by hand, since whoever could
/// put them would have others work with an account that is not theirs.
pub(crate) fn is_of_logins(name: &str) -> bool {
    [PREFIX, "google-drive/"].iter().any(|prefix| name.starts_with(prefix))
}

/// The context service's secrets: the user's for whom a call is made, else the tenant's. That one was used is written down.
pub(crate) struct VaultSecrets {
    vault: Option<Vault>,
    store: Arc<dyn Store>,
}

impl VaultSecrets {
    pub(crate) fn new(vault: Option<Vault>, store: Arc<dyn Store>) -> Self {
        Self { vault, store }
    }

    pub(super) async fn note(&self, context: &ToolContext, name: &str, owner: Owner) {
        let agent = match context.scope.principal() {
            Principal::Turn { agent, .. } => Some(agent),
            Principal::User { .. } | Principal::Tenant { .. } => None,
        };
        let entry = AuditEntry {
            tenant: context.scope.tenant(),
            at: context.now,
            // The process itself.
            key: KeyId::from_uuid(Uuid::nil()),
            user: context.scope.user(),
            agent,
            operation: "use_secret".into(),
            subject: owner.user(),
            resource: Some(name.to_owned()),
            status: 200,
            request: Some(context.run.to_string()),
        };
        if let Err(error) = self.store.record(vec![entry]).await {
            warn!(%error, "could not write down that a secret was used");
        }
    }
}

impl VaultSecrets {
    /// The value of this name for whoever the call is made.
    pub(super) async fn value(&self, context: &ToolContext, name: &str) -> Option<SecretValue> {
        let users = context.scope.user().map(|user| Owner::User { user });
        self.first(context, name, users.into_iter().chain([Owner::Tenant])).await
    }

    async fn first(&self, context: &ToolContext, name: &str, owners: impl Iterator<Item = Owner> + Send) -> Option<SecretValue> {
        // Tokens go to the server that they were made for, and nowhere that a header of a toolset says.
        let vault = self.vault.as_ref().filter(|_| !is_of_logins(name))?;
        for owner in owners {
            if let Ok(value) = vault.reveal(&context.scope, owner, name).await {
                self.note(context, name, owner).await;
                return Some(value);
            }
        }
        None
    }
}

#[async_trait]
impl Secrets for VaultSecrets {
    async fn reveal(&self, context: &ToolContext, name: &str) -> Option<Secret> {
        self.value(context, name).await.map(|value| Secret::new(value.reveal()))
    }
}

/// The tenant's secrets alone, for what all of the tenant will profit from.
pub(super) struct TenantSecrets(pub(super) Arc<VaultSecrets>);

#[async_trait]
impl Secrets for TenantSecrets {
    async fn reveal(&self, context: &ToolContext, name: &str) -> Option<Secret> {
        self.0.first(context, name, std::iter::once(Owner::Tenant)).await.map(|value| Secret::new(value.reveal()))
    }
}
