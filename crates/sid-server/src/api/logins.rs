//! Logins of toolsets: begun here, granted in a browser, confirmed here.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use sid_store::StoreError;
use sid_types::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::access::Level;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::toolbox::login::{LoginError, LoginState, McpLogin, Place};
use crate::toolbox::source::Source;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_login, begin_login, forget_login)).routes(routes!(confirm_login))
}

/// A login as it stands.
#[derive(Debug, Serialize, ToSchema)]
struct LoginJson {
    state: LoginState,
    /// Who makes its tokens.
    issuer: Option<String>,
}

/// A login that was begun.
#[derive(Debug, Serialize, ToSchema)]
struct LoginBegun {
    /// What the person opens in a browser.
    url: String,
    /// Until then it has to be done.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmLogin {
    /// What the browser shows at the end.
    code: String,
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused(problem) => Self::bad_request(problem),
            LoginError::Context(error) => error.into(),
        }
    }
}

/// Whose login it is (the user's, or the tenant's where there is none), and the server that it is for.
async fn place_of(app: &App, caller: &Caller, name: &str) -> Result<(Place, String, McpLogin), ApiError> {
    let scope = caller.scope()?;
    let user = if caller.level() >= Level::Tenant { None } else { scope.user() };
    caller.about(user);
    let place = Place { tenant: scope.tenant(), user, toolset: name.to_owned() };
    // Toolsets are the tenant's; of one that they log in to, users are told that it is there, and of no other.
    let toolset = app.store().toolset(&place.scope(), name).await?;
    let source = match Source::of(&toolset.spec) {
        Ok(Source::Mcp(source)) => Some(source),
        _ => None,
    };
    match source.and_then(|source| source.url.zip(source.login)) {
        Some((url, login)) => Ok((place, url, login)),
        None if user.is_some() => Err(StoreError::NotFound { what: "toolset" }.into()),
        None => Err(ApiError::bad_request("this toolset wants no login: its source is not of kind `mcp`, or has no `login`")),
    }
}

/// Where the caller's login stands: a user's own, or the tenant's.
#[utoipa::path(get, path = "/tools/{toolset}/login", tag = "tools", params(("toolset" = String, Path, description = "Name")), responses((status = 200, description = "As it stands", body = LoginJson)))]
async fn get_login(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<axum::Json<LoginJson>, ApiError> {
    let (place, url, _) = place_of(&app, &caller, &name).await?;
    let (state, issuer) = app.toolbox().logins().state(&place, &url).await?;
    Ok(axum::Json(LoginJson { state, issuer }))
}

/// Begins a login at the toolset's server: for the user, or for the tenant, with whose login the server is asked for its tools. The person opens
/// `url`; the browser shows a code at the end, which confirms it. One that was begun before is dropped. For people, not for assistants.
#[utoipa::path(post, path = "/tools/{toolset}/login", tag = "tools", params(("toolset" = String, Path, description = "Name")), responses((status = 200, description = "Begun", body = LoginBegun)))]
async fn begin_login(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<axum::Json<LoginBegun>, ApiError> {
    let (place, url, login) = place_of(&app, &caller, &name).await?;
    let (url, expires_at) = app.toolbox().logins().begin(&place, &url, &login).await?;
    Ok(axum::Json(LoginBegun { url, expires_at }))
}

/// Gives the code that the browser shows. After five wrong ones the login is dropped.
#[utoipa::path(post, path = "/tools/{toolset}/login/confirm", tag = "tools", params(("toolset" = String, Path, description = "Name")), request_body = ConfirmLogin, responses((status = 200, description = "Logged in", body = LoginJson)))]
async fn confirm_login(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    body: Json<ConfirmLogin>,
) -> Result<axum::Json<LoginJson>, ApiError> {
    let (place, url, _) = place_of(&app, &caller, &name).await?;
    app.toolbox().logins().confirm(&place, &body.value.code).await?;
    app.toolbox().logged_in(&place).await;
    let (state, issuer) = app.toolbox().logins().state(&place, &url).await?;
    Ok(axum::Json(LoginJson { state, issuer }))
}

/// Forgets the caller's login. What was granted is taken back at the server, not here.
#[utoipa::path(delete, path = "/tools/{toolset}/login", tag = "tools", params(("toolset" = String, Path, description = "Name")), responses((status = 204, description = "Gone")))]
async fn forget_login(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let (place, ..) = place_of(&app, &caller, &name).await?;
    if !app.toolbox().logins().forget(&place).await? {
        return Err(StoreError::NotFound { what: "login" }.into());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Where browsers come back to. Without a key: the state is the proof, and the code that is shown does nothing by itself.
pub(crate) async fn came_back(State(app): State<App>, Query(query): Query<HashMap<String, String>>) -> Response {
    let of = |name: &str| query.get(name).map(String::as_str);
    let code = match (of("code"), of("error")) {
        (Some(code), None) => Ok(code),
        (_, Some(error)) => Err(error),
        (None, None) => Err("there is no code"),
    };
    let came = app.toolbox().logins().came_back(of("state").unwrap_or_default(), code, of("iss")).await;
    let (status, head, text) = match came {
        Ok(code) => {
            let text =
                "If you have begun this login yourself, give this code where you began it. If somebody sent you here, close this page.";
            (StatusCode::OK, code, text.to_owned())
        }
        Err(LoginError::Refused(problem)) => (StatusCode::BAD_REQUEST, "Not logged in".to_owned(), problem),
        Err(LoginError::Context(error)) => {
            tracing::warn!(%error, "a login could not be kept");
            (StatusCode::SERVICE_UNAVAILABLE, "Not logged in".to_owned(), "It could not be kept. Begin again.".to_owned())
        }
    };
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sid</title></head><body><h1>{}</h1><p>{}</p></body></html>",
        escaped(&head),
        escaped(&text)
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, Html(page)).into_response()
}
