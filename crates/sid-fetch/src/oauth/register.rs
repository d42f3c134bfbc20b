//! Making oneself known. Source: RFC 7591.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{AuthorizationServer, Hidden, OAuthError, post};
use crate::Fetcher;

/// How a client says who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// By its id alone: a public client.
    #[default]
    None,
    /// By id and secret in the `Authorization` header.
    Basic,
    /// By id and secret in the form.
    Post,
}

impl ClientAuth {
    /// With a secret, as the server likes it.
    #[must_use]
    pub fn with_secret(server: &AuthorizationServer) -> Self {
        let methods = &server.token_endpoint_auth_methods_supported;
        let has = |name: &str| methods.iter().any(|m| m == name);
        if has("client_secret_post") && !has("client_secret_basic") { Self::Post } else { Self::Basic }
    }
}

/// Who asks for tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthClient {
    /// As the server knows it.
    pub id: String,
    /// Its secret, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Hidden>,
    /// How it says who it is.
    #[serde(default)]
    pub auth: ClientAuth,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<Hidden>,
    token_endpoint_auth_method: Option<String>,
}

/// Registers a client that may be sent back to `redirect_uri` and no other place.
///
/// Errors: the server does not take registrations, or not this one.
pub async fn register(fetcher: &Fetcher, server: &AuthorizationServer, name: &str, redirect_uri: &str) -> Result<OAuthClient, OAuthError> {
    let endpoint = server.registration_endpoint.as_deref().ok_or_else(|| {
        OAuthError::Unusable(format!("{} registers no clients: register one there by hand, and configure its id", server.issuer))
    })?;
    let methods = &server.token_endpoint_auth_methods_supported;
    let is_public = methods.is_empty() || methods.iter().any(|m| m == "none");
    let method = match ClientAuth::with_secret(server) {
        _ if is_public => "none",
        ClientAuth::Post => "client_secret_post",
        _ => "client_secret_basic",
    };
    let wanted = json!({
        "client_name": name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    });
    let made: Registered = post(fetcher, endpoint, |request| Ok(request.json(wanted.to_string().into_bytes()))).await?;
    let auth = match made.token_endpoint_auth_method.as_deref().unwrap_or(method) {
        _ if made.client_secret.is_none() => ClientAuth::None,
        "client_secret_post" => ClientAuth::Post,
        "none" => ClientAuth::None,
        _ => ClientAuth::Basic,
    };
    Ok(OAuthClient { id: made.client_id, secret: made.client_secret, auth })
}
