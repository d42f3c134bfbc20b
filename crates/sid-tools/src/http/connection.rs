//! How tools call out: through which client, with which headers, and where values of secrets come from.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sid_fetch::{Fetcher, HostPattern, Request};
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
        let secrets = self.headers.iter().filter_map(|(_, value)| match value {
            Value::Secret { name, .. } => Some(name.clone()),
            Value::Plain(_) => None,
        });
        let most = self.fetcher.policy().timeout;
        Declaration {
            effect,
            hosts: hosts.iter().map(ToString::to_string).collect(),
            secrets: secrets.collect(),
            timeout: self.timeout.map_or(most, |t| t.min(most)),
        }
    }

    /// Sends with all headers, and tells the model what came of it.
    ///
    /// `token`: for what changes something outside.
    pub(super) async fn call(&self, context: &ToolContext, mut request: Request, effect: EffectClass) -> ToolOutcome {
        let mut revealed: Vec<(String, Secret)> = Vec::new();
        for (header, value) in &self.headers {
            let with = match value {
                Value::Plain(value) => request.header(header, value),
                Value::Secret { prefix, name } => {
                    let Some(secret) = self.secrets.reveal(context, name).await else {
                        return ToolOutcome::error(format!(
                            "The secret `{name}` is not there, so the call was not made. Ask the user to provide it; other arguments will not help."
                        ));
                    };
                    let value = Zeroizing::new(format!("{prefix}{}", secret.0.as_str()));
                    revealed.push((name.clone(), secret));
                    request.secret(header, &value)
                }
            };
            request = match with {
                Ok(request) => request,
                Err(error) => return ToolOutcome::error(format!("The call was not made: {error}.")),
            };
        }
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
            Ok(response) => outcome::of_response(&response, &revealed, context.result_budget),
            Err(error) => outcome::of_failure(&error, effect),
        };
        outcome.text = without(outcome.text, &revealed);
        outcome
    }
}

/// Takes values of secrets out of a text. A service that echoes a header must not hand it to the model.
pub(super) fn without(mut text: String, revealed: &[(String, Secret)]) -> String {
    for (name, Secret(value)) in revealed {
        if !value.is_empty() && text.contains(value.as_str()) {
            text = text.replace(value.as_str(), &format!("[secret {name}]"));
        }
    }
    text
}
