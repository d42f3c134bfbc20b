//! Looking names up: once per connection, and checked before it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolving};

use crate::{Policy, Refusal};

/// Where names are looked up.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, a name as it stands in the URL.
    ///
    /// Errors: the look-up failed, or there is no such name.
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// As the machine looks names up.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|a| a.ip()).collect())
    }
}

/// Stands between the client and the resolver: what it answers is all that the client can connect to.
pub(crate) struct Guarded {
    pub(crate) policy: Arc<Policy>,
    pub(crate) inner: Arc<dyn Resolve>,
}

impl reqwest::dns::Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, inner) = (self.policy.clone(), self.inner.clone());
        Box::pin(async move {
            let host = name.as_str();
            let addresses = match inner.resolve(host).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    tracing::debug!(host, "cannot look a host up: {error}");
                    return Err(Refusal::NoPublicAddress { host: host.to_owned(), is_unresolved: true }.into());
                }
            };
            policy.check_answer(host, &addresses)?;
            // Port 0: the URL's own.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|a| SocketAddr::new(a, 0)));
            Ok(addresses)
        })
    }
}
