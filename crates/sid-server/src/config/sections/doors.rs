//! Who comes in, and by which door.

use crate::config::setting::section;

section! {
    /// The MCP endpoint, `/mcp`.
    Mcp {
        /// Whether it is served.
        enabled: bool = true;
        /// Host names that requests may be sent to, beside the address that the server listens on and `localhost`; separated by commas. Others are refused: a page in a browser could otherwise reach this server under a name of its own.
        hosts: String = String::new();
        /// Origins that pages in browsers may come from, such as `https://app.example.com`; separated by commas. Requests without an origin do not come from pages.
        origins: String = String::new();
    }
}

section! {
    /// An issuer of tokens (OpenID Connect): who comes with a valid token of it is a user.
    Issuer {
        /// Its URL, exactly as in the tokens' `iss`.
        issuer: Option<String> = None;
        /// A token must be meant for one of these (`aud`): the names that the issuer knows this server by.
        audience: Vec<String> = Vec::new();
        /// Signatures that are taken: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
        algorithms: Vec<String> = vec!["RS256".into(), "ES256".into(), "EdDSA".into()];
        /// Where its keys are. Not set: as `/.well-known/openid-configuration` below the issuer says.
        jwks_url: Option<String> = None;
        /// How far clocks may differ, in seconds.
        leeway_s: u64 = 60;
        /// The tenant of all its users, by name or id. This or `tenant_claim`.
        tenant: Option<String> = None;
        /// The claim that names a user's tenant.
        tenant_claim: Option<String> = None;
        /// The claim that is a user's handle. With `email`, tokens that say that it is not verified are refused.
        user_claim: String = "sub".into();
        /// Set before each handle, to keep the users of two issuers of one tenant apart.
        user_prefix: String = String::new();
        /// The claim with the name that agents call a new user by.
        name_claim: String = "name".into();
        /// Whether who is not there yet becomes a user at the first token.
        create_users: bool = true;
        /// The claim with the names of a user's teams.
        teams_claim: Option<String> = None;
        /// Whether memberships follow `teams_claim`: into the tenant's teams of these names, and out of all others. A token without the claim changes nothing.
        sync_teams: bool = false;
        /// The claim with roles.
        role_claim: Option<String> = None;
        /// What roles of `role_claim` mean, as `value=role`; the first that fits holds. Roles: owner, admin, member, agent, read-only.
        roles: Vec<String> = Vec::new();
        /// The role of tokens for which nothing else is said. Empty: they are refused.
        default_role: String = "member".into();
        /// The claim with scopes, such as `sid:memory-read`; if there is one of these, what is not named is taken away.
        scope_claim: String = "scope".into();
        /// Whether a token without any scope that begins with `sid:` may do nothing, in place of all that its role gives.
        require_scopes: bool = false;
    }
}

section! {
    /// A proxy that is trusted to say whom it speaks for. Off unless `addresses`, `key` and `user_header` are all set.
    TrustedProxy {
        /// Addresses or ranges that its connections come from, such as `10.0.0.5` or `10.0.0.0/24`. Never a forwarded header.
        addresses: Vec<String> = Vec::new();
        /// The id of the tenant key that it shows.
        key: Option<String> = None;
        /// The header with the user's handle, such as `X-OpenWebUI-User-Id`; who is not there yet is made.
        user_header: Option<String> = None;
        /// The header with the name that agents call a new user by, such as `X-OpenWebUI-User-Name`.
        name_header: Option<String> = None;
    }
}
