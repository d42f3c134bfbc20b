//! Tokens for calls: as they are kept, or the next ones, fetched by one at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sid_fetch::FetchError;
use sid_fetch::oauth::Hidden;
use sid_mcp::NoToken;
use sid_tools::ToolContext;
use sid_tools::http::Secret;
use sid_types::{TenantId, WorkerId};
use tracing::warn;

use super::{Kept, LoginError, Logins, Place, ends, hashed};

/// Who refreshes has so long; the others wait.
const TURN: Duration = Duration::from_secs(30);

/// Why there is no token.
enum TokenError {
    /// Only another login helps.
    Ended,
    /// It may work later.
    NotNow(String),
}

impl From<LoginError> for TokenError {
    fn from(error: LoginError) -> Self {
        Self::NotNow(match error {
            LoginError::Refused(problem) => problem,
            LoginError::Context(error) => format!("its login cannot be read or kept: {error}"),
        })
    }
}

impl Logins {
    /// A token that is good now. `None`: nobody has logged in. `shown`: the server has just refused this one.
    async fn token(self: &Arc<Self>, place: &Place, url: &str, shown: Option<Hidden>) -> Result<Option<Hidden>, TokenError> {
        let duty = format!("login {}", &hashed(&format!("{} {:?} {}", place.tenant, place.user, place.toolset))[..40]);
        // Each call by itself: two of one process must not refresh at once, either.
        let worker = WorkerId::new();
        let tries = TURN.as_millis() / 100;
        for _ in 0..tries {
            let kept: Option<Kept> = self.read(place, &place.kept()).await?;
            let Some(kept) = kept.filter(|k| k.url == url) else { return Ok(None) };
            if kept.is_good(self.clock.now(), shown.as_ref()) {
                return Ok(Some(kept.tokens.access_token));
            }
            if kept.is_over || kept.tokens.refresh_token.is_none() {
                return Err(TokenError::Ended);
            }
            if !self.store.take_duty(&duty, worker, TURN).await.map_err(|e| TokenError::NotNow(e.to_string()))? {
                // Somebody else is at it: with rotation, a second one would end the login.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            // By itself: a call that is given up in the middle must not lose the token that is on its way.
            let (this, place, url) = (self.clone(), place.clone(), url.to_owned());
            let refreshing = tokio::spawn(async move {
                let refreshed = this.refreshed(&place, &url, shown.as_ref()).await;
                if let Err(error) = this.store.leave_duty(&duty, worker).await {
                    warn!(%error, "the next refresh of a login has to wait");
                }
                refreshed
            });
            return refreshing.await.unwrap_or_else(|e| Err(TokenError::NotNow(e.to_string()))).map(Some);
        }
        Err(TokenError::NotNow("its login is being refreshed for too long".into()))
    }

    /// With the duty in hand: as it is now, somebody may have refreshed it before.
    async fn refreshed(&self, place: &Place, url: &str, shown: Option<&Hidden>) -> Result<Hidden, TokenError> {
        let kept: Option<Kept> = self.read(place, &place.kept()).await?;
        let mut kept = kept.filter(|k| k.url == url).ok_or(TokenError::Ended)?;
        if kept.is_good(self.clock.now(), shown) {
            return Ok(kept.tokens.access_token);
        }
        let Some(token) = kept.tokens.refresh_token.clone() else { return Err(TokenError::Ended) };
        let refreshed = tokio::time::timeout(TURN / 2, kept.grant.refresh(&self.fetcher, &token)).await;
        match refreshed.unwrap_or_else(|_| Err(FetchError::Timeout { limit: TURN / 2 }.into())) {
            Ok(tokens) => {
                kept.until = ends(&tokens, self.clock.now());
                kept.tokens = tokens;
                self.keep(place, &kept).await?;
                Ok(kept.tokens.access_token)
            }
            Err(error) if error.is_over() => {
                kept.is_over = true;
                self.keep(place, &kept).await?;
                Err(TokenError::Ended)
            }
            Err(error) => Err(TokenError::NotNow(format!("its login cannot be refreshed: {error}"))),
        }
    }
}

/// What a toolset's server is shown.
pub(in crate::toolbox) struct ToolsetLogin {
    pub(in crate::toolbox) logins: Arc<Logins>,
    pub(in crate::toolbox) tenant: TenantId,
    pub(in crate::toolbox) toolset: String,
    pub(in crate::toolbox) url: String,
    pub(in crate::toolbox) shared: bool,
}

#[async_trait]
impl sid_mcp::Login for ToolsetLogin {
    async fn token(&self, context: &ToolContext, looks: bool, refused: Option<&Secret>) -> Result<Secret, NoToken> {
        let user = context.scope.user().filter(|_| !looks);
        let refused = refused.map(|token| Hidden::new(token.reveal()));
        let at = |user| Place { tenant: self.tenant, user, toolset: self.toolset.clone() };
        let mut found = self.logins.token(&at(user), &self.url, refused.clone()).await.map(|t| t.map(|t| (user, t)));
        if self.shared && user.is_some() && matches!(found, Ok(None)) {
            found = self.logins.token(&at(None), &self.url, refused).await.map(|t| t.map(|t| (None, t)));
        }
        let name = &self.toolset;
        let who = if user.is_some() { "the user has" } else { "the tenant has" };
        let how = format!("by `sid tools login {name}`, or POST /api/v1/tools/{name}/login");
        match found {
            Ok(Some((whose, token))) => {
                let place = at(whose);
                self.logins.secrets.note(context, &place.kept(), place.owner()).await;
                Ok(Secret::new(token.reveal()))
            }
            Ok(None) => Err(NoToken::LogIn(format!("{who} to log in first, {how}"))),
            Err(TokenError::Ended) => Err(NoToken::LogIn(format!("its login has ended: {who} to log in again, {how}"))),
            Err(TokenError::NotNow(problem)) => Err(NoToken::NotNow(format!("{problem}; it may work later"))),
        }
    }
}
