//! The client.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use url::Host;

use crate::body::{self, root_cause};
use crate::redirect::{self, Hop};
use crate::resolve::Guarded;
use crate::{FetchError, Opened, Policy, Refusal, Request, Resolve, Response, SystemResolver};

/// Fetches what its [`Policy`] allows. Cheap to clone; connections are kept for a while.
#[derive(Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    resolver: Arc<dyn Resolve>,
    policy: Arc<Policy>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A client that looks names up as the machine does.
    ///
    /// Errors: [`FetchError::SetUp`].
    pub fn new(policy: Policy) -> Result<Self, FetchError> {
        Self::with_resolver(policy, Arc::new(SystemResolver))
    }

    /// A client that looks names up there.
    ///
    /// Errors: [`FetchError::SetUp`].
    pub fn with_resolver(policy: Policy, resolver: Arc<dyn Resolve>) -> Result<Self, FetchError> {
        static RING: Once = Once::new();
        // Fails only when the application has installed another provider, which is as good.
        RING.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let policy = Arc::new(policy);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(policy.timeout)
            .dns_resolver(Arc::new(Guarded { policy: policy.clone(), inner: resolver.clone() }))
            .user_agent(concat!("sid/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| FetchError::SetUp(root_cause(&e)))?;
        Ok(Self { client, resolver, policy })
    }

    /// What it may do.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Fetches, following redirects. Every status is an answer.
    ///
    /// Errors: [`FetchError`]; after [`FetchError::Timeout`] and [`FetchError::Interrupted`] the host may have acted all the same.
    pub async fn send(&self, request: Request) -> Result<Response, FetchError> {
        let limit = self.time_of(&request);
        tokio::time::timeout(limit, self.whole(request)).await.map_err(|_| FetchError::Timeout { limit })?
    }

    /// Fetches, following redirects, and answers as soon as the last hop's headers are there: for streams. The time is for all until then; a
    /// body's parts are counted as they are taken ([`Opened::chunk`]), never decompressed.
    ///
    /// Errors: [`FetchError`], as for [`Fetcher::send`].
    pub async fn open(&self, request: Request) -> Result<Opened, FetchError> {
        let limit = self.time_of(&request);
        let most = request.max_body_bytes.unwrap_or(self.policy.max_body_bytes).min(self.policy.max_body_bytes);
        let (response, _) =
            tokio::time::timeout(limit, self.follow(request, "identity")).await.map_err(|_| FetchError::Timeout { limit })??;
        Opened::new(response, most)
    }

    /// Where a host may be reached by another protocol than HTTP, looked up and checked as a URL's host is. Whoever asks connects to these
    /// addresses and to no others. `usual`: the protocol's ports, in place of the policy's.
    ///
    /// Shape: at least one. Errors: [`FetchError::BadUrl`], [`FetchError::Refused`].
    pub async fn addresses(&self, host: &str, port: u16, usual: &[u16]) -> Result<Vec<SocketAddr>, FetchError> {
        let policy = Policy { ports: usual.to_vec(), ..(*self.policy).clone() };
        let target = policy.target(&format!("https://{host}:{port}/"))?;
        let addresses = match target.url().host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => {
                let limit = self.policy.timeout;
                let looked_up =
                    tokio::time::timeout(limit, self.resolver.resolve(name)).await.map_err(|_| FetchError::Timeout { limit })?;
                let unknown = |_| Refusal::NoPublicAddress { host: name.to_owned(), is_unresolved: true };
                let addresses = looked_up.map_err(unknown)?;
                policy.check_answer(name, &addresses)?;
                addresses
            }
            None => return Err(FetchError::BadUrl { problem: "it has no host".into() }),
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    fn time_of(&self, request: &Request) -> Duration {
        request.timeout.unwrap_or(self.policy.timeout).min(self.policy.timeout)
    }

    async fn whole(&self, request: Request) -> Result<Response, FetchError> {
        let limit = request.max_body_bytes.unwrap_or(self.policy.max_body_bytes).min(self.policy.max_body_bytes);
        let (response, url) = self.follow(request, "gzip").await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Response { status, headers, body: body::read(response, limit).await?, url })
    }

    /// Goes from hop to hop; answers with what is no redirect.
    async fn follow(&self, request: Request, encoding: &'static str) -> Result<(reqwest::Response, Url), FetchError> {
        let Request { method, url, headers, body, hosts, .. } = request;
        let mut hop = Hop { target: self.policy.target(&url)?, method, headers, body };
        let mut redirects = 0;
        loop {
            let host = hop.target.host();
            if hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|h| h.matches(host))) {
                return Err(Refusal::Undeclared(host.to_owned()).into());
            }
            let response = self.exchange(&hop, encoding).await?;
            let status = response.status();
            let Some(to) = redirect::location(status, response.headers(), hop.target.url()) else {
                return Ok((response, hop.target.into_url()));
            };
            redirects += 1;
            if redirects > self.policy.max_redirects {
                return Err(Refusal::Redirect("there are too many, one after the other").into());
            }
            hop = hop.next(status, to, &self.policy)?;
        }
    }

    async fn exchange(&self, hop: &Hop, encoding: &'static str) -> Result<reqwest::Response, FetchError> {
        let mut request = self.client.request(hop.method.clone(), hop.target.url().clone()).headers(hop.headers.clone());
        request = request.header(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        if let Some(body) = &hop.body {
            request = request.body(body.clone());
        }
        request.send().await.map_err(|error| self.failure(hop.target.host(), error))
    }

    fn failure(&self, host: &str, error: reqwest::Error) -> FetchError {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(refusal) = error.downcast_ref::<Refusal>() {
                return refusal.clone().into();
            }
            cause = error.source();
        }
        if error.is_timeout() {
            return FetchError::Timeout { limit: self.policy.timeout };
        }
        if error.is_connect() {
            // Its text has the address that was tried.
            return FetchError::Unreachable { host: host.to_owned(), source: Box::new(error.without_url()) };
        }
        FetchError::Interrupted { problem: root_cause(&error) }
    }
}
