//! How tools call out: through which client, with which headers, and where values of secrets come from.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sid_fetch::{FetchError, Fetcher, HostPattern, Request};
use zeroize::Zeroizing;

use super::outcome;
use crate::{Declaration, EffectClass, ToolContext, ToolOutcome};

/// A secret's value, while a call is made. It does not show itself.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From a text.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value: for the call that it was made for, and for nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where values of secrets come from.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The value of this name, for whoever this call is made; `None` = there is none, or the caller may not have it.
    async fn reveal(&self, context: &ToolContext, name: &str) -> Option<Secret>;
}

/// There are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn reveal(&self, _: &ToolContext, _: &str) -> Option<Secret> {
        None
    }
}

#[derive(Debug, Clone)]
enum Value {
    Plain(String),
    Secret { prefix: String, name: String },
}

/// A client, the headers of every call, and the time that a call may take. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    pub(super) fetcher: Fetcher,
    secrets: Arc<dyn Secrets>,
    headers: Vec<(String, Value)>,
    timeout: Option<Duration>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("headers", &self.headers).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Connection {
    /// Without headers and secrets.
    #[must_use]
    pub fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, secrets: Arc::new(NoSecrets), headers: Vec::new(), timeout: None }
    }

    /// Through another client, with everything else as it is.
    #[must_use]
    pub fn through(mut self, fetcher: Fetcher) -> Self {
        self.fetcher = fetcher;
        self
    }

    /// With values of secrets from there.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn Secrets>) -> Self {
        self.secrets = secrets;
        self
    }

    /// With a header in every call.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Value::Plain(value.into())));
        self
    }

    /// With a header whose value is `prefix` and the secret of this name, as in `Bearer ` and `TICKETS_KEY`.
    #[must_use]
    pub fn secret_header(mut self, header: impl Into<String>, prefix: impl Into<String>, name: impl Into<String>) -> Self {
        self.headers.push((header.into(), Value::Secret { prefix: prefix.into(), name: name.into() }));
        self
    }

    /// With less time for a call than the policy gives.
    #[must_use]
    pub const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(super) fn declaration(&self, effect: EffectClass, hosts: &[HostPattern]) -> Declaration {
        Declaration {
            hosts: hosts.iter().map(ToString::to_string).collect(),
            secrets: self.secret_names(),
            timeout: self.timeout(),
            // What is read elsewhere is what somebody there has written; what an action answers is its receipt.
            untrusted: effect == EffectClass::Read,
            ..Declaration::new(effect)
        }
    }

    /// The client.
    #[must_use]
    pub const fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Most time of one call: the policy's, or less.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let most = self.fetcher.policy().timeout;
        self.timeout.map_or(most, |t| t.min(most))
    }

    /// Names of the secrets that the headers need.
    #[must_use]
    pub fn secret_names(&self) -> Vec<String> {
        let names = self.headers.iter().filter_map(|(_, value)| match value {
            Value::Secret { name, .. } => Some(name.clone()),
            Value::Plain(_) => None,
        });
        names.collect()
    }

    /// The value of a secret, for whoever this call is made.
    ///
    /// Errors: there is none, in words for a model.
    pub async fn secret(&self, context: &ToolContext, name: &str) -> Result<Secret, String> {
        self.secrets.reveal(context, name).await.ok_or_else(|| {
            format!(
                "The secret `{name}` is not there, so the call was not made. Ask the user to provide it; other arguments will not help."
            )
        })
    }

    /// The headers of a call, with the secrets of whoever it is made for.
    ///
    /// Errors: a secret is not there, in words for a model.
    pub async fn headers(&self, context: &ToolContext) -> Result<Headers, String> {
        let mut headers = Headers::default();
        for (header, value) in &self.headers {
            match value {
                Value::Plain(value) => headers.plain.push((header.clone(), value.clone())),
                Value::Secret { prefix, name } => {
                    headers.put_secret(header, prefix, name, self.secret(context, name).await?);
                }
            }
        }
        Ok(headers)
    }

    /// Sends with all headers, and tells the model what came of it.
    ///
    /// `token`: for what changes something outside.
    pub(super) async fn call(&self, context: &ToolContext, request: Request, effect: EffectClass) -> ToolOutcome {
        let headers = match self.headers(context).await {
            Ok(headers) => headers,
            Err(problem) => return ToolOutcome::error(problem),
        };
        let mut request = match headers.put_on(request) {
            Ok(request) => request,
            Err(error) => return ToolOutcome::error(format!("The call was not made: {error}.")),
        };
        if !matches!(effect, EffectClass::Read) {
            request = match request.header("idempotency-key", &context.token.to_string()) {
                Ok(request) => request,
                Err(error) => return ToolOutcome::error(format!("The call was not made: {error}.")),
            };
        }
        if let Some(timeout) = self.timeout {
            request = request.within(timeout);
        }
        let mut outcome = match self.fetcher.send(request).await {
            Ok(response) => outcome::of_response(&response, &headers, context.result_budget),
            Err(error) => outcome::of_failure(&error, effect),
        };
        outcome.text = headers.hide(outcome.text);
        outcome
    }
}

/// Headers with the values of secrets, while a call is made. Neither `Debug` nor errors show them.
#[derive(Debug, Default)]
pub struct Headers {
    plain: Vec<(String, String)>,
    secret: Vec<(String, Secret)>,
    /// Names and values, without what stands before them.
    revealed: Vec<(String, Secret)>,
}

impl Headers {
    /// Adds a header with a secret: `prefix` and its value.
    pub fn put_secret(&mut self, header: &str, prefix: &str, name: &str, secret: Secret) {
        let value = Secret(Zeroizing::new(format!("{prefix}{}", secret.0.as_str())));
        self.secret.push((header.to_owned(), value));
        self.revealed.push((name.to_owned(), secret));
    }

    /// Puts them on a request.
    ///
    /// Errors: as of [`Request::header`], without values.
    pub fn put_on(&self, mut request: Request) -> Result<Request, FetchError> {
        for (name, value) in &self.plain {
            request = request.header(name, value)?;
        }
        for (name, Secret(value)) in &self.secret {
            request = request.secret(name, value)?;
        }
        Ok(request)
    }

    /// Takes values of secrets out of a text. A service that echoes a header must not hand it to the model.
    #[must_use]
    pub fn hide(&self, mut text: String) -> String {
        for (name, Secret(value)) in &self.revealed {
            if !value.is_empty() && text.contains(value.as_str()) {
                text = text.replace(value.as_str(), &format!("[secret {name}]"));
            }
        }
        text
    }

    /// Whether both would send the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |a: &[(String, Secret)], b: &[(String, Secret)]| {
            a.len() == b.len() && a.iter().zip(b).all(|((n, v), (m, w))| n == m && v.0.as_str() == w.0.as_str())
        };
        self.plain == other.plain && same(&self.secret, &other.secret)
    }
}
