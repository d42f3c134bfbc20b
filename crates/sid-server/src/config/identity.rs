//! Whether what is set about identity fits together.

use sid_types::AccessRole;

use super::{ConfigError, Issuer, TrustedProxy, is_web_url};
use crate::auth::Network;

/// Signatures by a key pair, all of which can be verified. HMAC is not among them: its key would be no secret of the issuer's alone.
pub(crate) const SIGNATURES: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// The role with this name.
pub(crate) fn role(name: &str) -> Option<AccessRole> {
    AccessRole::ALL.into_iter().find(|role| role.as_str() == name)
}

fn bad(section: &str, field: &str, problem: String) -> ConfigError {
    ConfigError::BadValue { key: format!("{section}.{field}"), problem, place: None }
}

impl Issuer {
    /// Its URL; empty only before the check.
    pub(crate) fn url(&self) -> &str {
        self.issuer.as_deref().unwrap_or_default()
    }

    /// What the values of `role_claim` mean: `(value, role)`, the first that fits holds.
    pub(crate) fn roles(&self) -> Result<Vec<(String, AccessRole)>, String> {
        let read = |text: &String| {
            let (value, name) = text.rsplit_once('=')?;
            Some((value.trim().to_owned(), role(name.trim())?))
        };
        let names = || AccessRole::ALL.map(AccessRole::as_str).join(", ");
        self.roles.iter().map(|r| read(r).ok_or_else(|| format!("expected `value=role` with a role of {}, found `{r}`", names()))).collect()
    }

    /// Whether the values of this section fit together.
    pub(super) fn check(&self, section: &str) -> Result<(), ConfigError> {
        let bad = |field: &str, problem: &str| Err(bad(section, field, problem.to_owned()));
        if !is_web_url(self.url()) {
            return bad("issuer", "required: the issuer's URL, exactly as in the tokens' `iss`");
        }
        if self.audience.iter().all(|a| a.trim().is_empty()) {
            return bad("audience", "required: a token that is meant for another service must not be taken here");
        }
        if self.algorithms.is_empty() {
            return bad("algorithms", "must name one at least");
        }
        if let Some(other) = self.algorithms.iter().find(|a| !SIGNATURES.contains(&a.as_str())) {
            return bad("algorithms", &format!("expected some of {}, found `{other}`", SIGNATURES.join(", ")));
        }
        if let Some(url) = &self.jwks_url
            && !is_web_url(url)
        {
            return bad("jwks_url", "expected a URL that begins with http:// or https://");
        }
        if self.leeway_s > 600 {
            return bad("leeway_s", "must be at most 600");
        }
        match (&self.tenant, &self.tenant_claim) {
            (None, None) => return bad("tenant", "required, or tenant_claim: whose users these are"),
            (Some(_), Some(_)) => return bad("tenant_claim", "set it or tenant, not both"),
            _ => {}
        }
        if self.user_claim.is_empty() {
            return bad("user_claim", "must not be empty");
        }
        if self.sync_teams && self.teams_claim.is_none() {
            return bad("teams_claim", "required when sync_teams is true");
        }
        if !self.default_role.is_empty() && role(&self.default_role).is_none() {
            let names = AccessRole::ALL.map(AccessRole::as_str).join(", ");
            return bad("default_role", &format!("expected one of {names}, or nothing, found `{}`", self.default_role));
        }
        self.roles().map(drop).or_else(|problem| bad("roles", &problem))
    }
}

impl TrustedProxy {
    /// Whether anything is set.
    fn is_touched(&self) -> bool {
        !self.addresses.is_empty() || self.key.is_some() || self.user_header.is_some()
    }

    /// Whether all that it needs is set.
    pub(crate) fn is_on(&self) -> bool {
        !self.addresses.is_empty() && self.key.is_some() && self.user_header.is_some()
    }

    /// Whether the values of this section fit together.
    pub(super) fn check(&self, section: &str) -> Result<(), ConfigError> {
        if self.is_touched() && !self.is_on() {
            let problem = "addresses, key and user_header belong together: set all three or none";
            return Err(bad(section, "addresses", problem.into()));
        }
        for address in &self.addresses {
            Network::parse(address).map_err(|problem| bad(section, "addresses", problem))?;
        }
        for (field, name) in [("user_header", &self.user_header), ("name_header", &self.name_header)] {
            let name = name.as_deref().unwrap_or("x");
            if axum::http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(bad(section, field, format!("`{name}` is not the name of a header")));
            }
        }
        if let Some(key) = &self.key
            && key.parse::<sid_types::KeyId>().is_err()
        {
            return Err(bad(section, "key", format!("expected the id of a tenant key, such as key_…, found `{key}`")));
        }
        Ok(())
    }
}
