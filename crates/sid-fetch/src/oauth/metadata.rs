//! Who guards a resource, and where it is asked. Sources: RFC 9728, RFC 8414, OpenID Connect Discovery 1.0.

use serde::Deserialize;

use super::{OAuthError, document};
use crate::{Fetcher, Url};

/// What a `WWW-Authenticate: Bearer` says beside that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the resource's metadata is.
    pub resource_metadata: Option<String>,
    /// The scopes that are needed.
    pub scope: Option<String>,
    /// Why the token that was shown will not do.
    pub error: Option<String>,
}

impl Challenge {
    /// Reads a header's value; what makes no sense says nothing.
    ///
    /// ```
    /// # use sid_fetch::oauth::Challenge;
    /// let said = Challenge::read(r#"Bearer error="invalid_token", resource_metadata="https://x.example/.well-known/y", scope="a b""#);
    /// assert_eq!(said.resource_metadata.as_deref(), Some("https://x.example/.well-known/y"));
    /// assert_eq!(said.scope.as_deref(), Some("a b"));
    /// ```
    #[must_use]
    pub fn read(header: &str) -> Self {
        let mut challenge = Self::default();
        let Some((_, mut rest)) = header.split_once(char::is_whitespace) else { return challenge };
        while let Some((name, after)) = rest.split_once('=') {
            let name = name.trim_matches([',', ' ', '\t']).to_ascii_lowercase();
            let after = after.trim_start();
            let (value, left) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(',').unwrap_or((after, "")),
            };
            rest = left;
            let value = Some(value.trim().to_owned());
            match name.as_str() {
                "resource_metadata" => challenge.resource_metadata = value,
                "scope" => challenge.scope = value,
                "error" => challenge.error = value,
                _ => {}
            }
        }
        challenge
    }
}

/// A resource that wants tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProtectedResource {
    /// What it calls itself: what tokens are asked for.
    pub resource: String,
    /// Who makes its tokens.
    #[serde(default)]
    pub authorization_servers: Vec<String>,
    /// Scopes that it knows.
    #[serde(default)]
    pub scopes_supported: Vec<String>,
}

/// Who makes tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuthorizationServer {
    /// Its name, and the URL that the others are found by.
    pub issuer: String,
    /// Where people are sent.
    pub authorization_endpoint: String,
    /// Where codes become tokens.
    pub token_endpoint: String,
    /// Where clients make themselves known.
    #[serde(default)]
    pub registration_endpoint: Option<String>,
    /// How clients may say who they are.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// Kinds of PKCE.
    #[serde(default)]
    pub code_challenge_methods_supported: Vec<String>,
    /// Whether its answers say whose they are (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// The metadata of a resource: where its challenge says, else at its well-known places; `None` where there is none.
///
/// Errors: what it says of itself is of another resource; what [`Fetcher::send`] refuses.
pub async fn protected_resource(fetcher: &Fetcher, resource: &Url, challenge: &Challenge) -> Result<Option<ProtectedResource>, OAuthError> {
    let mut places: Vec<String> = challenge.resource_metadata.clone().into_iter().collect();
    if places.is_empty() {
        places = well_known(resource, "oauth-protected-resource");
    }
    for place in places {
        if let Some(found) = document::<ProtectedResource>(fetcher, &place).await? {
            let named: Url = found.resource.parse().map_err(|_| OAuthError::Unusable(format!("{place} names no resource")))?;
            // A token for something else would be of use elsewhere, to whoever is shown it here.
            if !is_within(&named, resource) {
                return Err(OAuthError::Unusable(format!("{place} is about {named}, not about {resource}")));
            }
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether `inner` is what `outer` names or lies below it.
fn is_within(outer: &Url, inner: &Url) -> bool {
    let (above, path) = (outer.path().trim_end_matches('/'), inner.path().trim_end_matches('/'));
    outer.origin() == inner.origin() && (path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')))
}

/// The metadata of a server, by its issuer.
///
/// Errors: there is none, it is another's, or it lacks what is needed: PKCE with S256 above all.
pub async fn authorization_server(fetcher: &Fetcher, issuer: &str) -> Result<AuthorizationServer, OAuthError> {
    let url = fetcher.policy().target(issuer)?.into_url();
    let mut places = well_known(&url, "oauth-authorization-server");
    places.extend(well_known(&url, "openid-configuration"));
    let below = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    if !places.contains(&below) {
        places.push(below);
    }
    for place in places {
        let Some(found) = document::<AuthorizationServer>(fetcher, &place).await? else { continue };
        if found.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            return Err(OAuthError::Unusable(format!("{place} is of {}, not of {issuer}", found.issuer)));
        }
        if !found.code_challenge_methods_supported.iter().any(|m| m == "S256") {
            return Err(OAuthError::Unusable(format!(
                "{issuer} does not say that it takes PKCE with S256, without which a code could be stolen"
            )));
        }
        for endpoint in [&found.authorization_endpoint, &found.token_endpoint].into_iter().chain(&found.registration_endpoint) {
            fetcher.policy().target(endpoint)?;
        }
        return Ok(found);
    }
    Err(OAuthError::Unusable(format!("{issuer} has no metadata of an authorization server")))
}

/// Between host and path, and without the path.
fn well_known(url: &Url, what: &str) -> Vec<String> {
    let origin = url.origin().ascii_serialization();
    let path = url.path().trim_end_matches('/');
    let mut places = vec![format!("{origin}/.well-known/{what}{path}")];
    if !path.is_empty() && what == "oauth-protected-resource" {
        places.push(format!("{origin}/.well-known/{what}"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let check = |header: &str, metadata: Option<&str>, scope: Option<&str>| {
            let read = Challenge::read(header);
            assert_eq!((read.resource_metadata.as_deref(), read.scope.as_deref()), (metadata, scope), "{header}");
        };
        check("Bearer", None, None);
        check("Bearer realm=\"a, scope=b\", scope=\"c d\"", None, Some("c d"));
        check("Bearer scope=a, resource_metadata=\"https://a.example/b?c=d\"", Some("https://a.example/b?c=d"), Some("a"));
        check("Bearer scope=\"unclosed", None, Some("unclosed"));
    }

    #[test]
    fn a_resource_is_what_it_says_or_below_it() {
        let check = |outer: &str, inner: &str, expected: bool| {
            let url = |text: &str| text.parse::<Url>().expect(text);
            assert_eq!(is_within(&url(outer), &url(inner)), expected, "{outer} {inner}");
        };
        check("https://a.example/mcp", "https://a.example/mcp", true);
        check("https://a.example/", "https://a.example/mcp", true);
        check("https://a.example", "https://a.example/mcp/", true);
        check("https://a.example/mc", "https://a.example/mcp", false);
        check("https://a.example/mcp/x", "https://a.example/mcp", false);
        check("https://b.example/mcp", "https://a.example/mcp", false);
        check("http://a.example/mcp", "https://a.example/mcp", false);
    }

    #[test]
    fn well_known_places_stand_before_the_path() {
        let url: Url = "https://a.example:8443/x/mcp/".parse().expect("a URL");
        let places = well_known(&url, "oauth-protected-resource");
        assert_eq!(
            places,
            [
                "https://a.example:8443/.well-known/oauth-protected-resource/x/mcp",
                "https://a.example:8443/.well-known/oauth-protected-resource"
            ]
        );
        assert_eq!(well_known(&url, "oauth-authorization-server").len(), 1);
    }
}
