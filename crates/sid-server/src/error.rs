//! Every failure of a request, as one type with one rendering.
//!
//! Handlers answer [`ApiError`]; its [`IntoResponse`] is the only place where an error becomes a response. The outermost layer
//! (`layers.rs`) knows the request's id and door and writes the body: problem+json, or OpenAI's shape under `/v1`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sid_context::ContextError;
use sid_core::CoreError;
use sid_llm::LlmError;
use sid_store::StoreError;
use utoipa::ToSchema;

/// Where the pages of error codes are.
const ERROR_PAGES: &str = "https://github.com/sid-agents/sid/blob/main/docs/errors/";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// What the HTTP layer itself refuses; each has a page in `docs/errors/`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ApiCode { $($(#[$doc])* $name),* }

        impl ApiCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// The stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }
            const fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }
            const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    /// No key or token, or one that is unknown, revoked or expired.
    Unauthenticated = "SID-API-UNAUTHENTICATED", 401, "A valid API key or token is required";
    /// The key may not do this.
    Forbidden = "SID-API-FORBIDDEN", 403, "This key may not do that";
    /// An operator's request that has to name a tenant.
    TenantRequired = "SID-API-TENANT-REQUIRED", 400, "A tenant must be named";
    /// The body is not JSON.
    BadJson = "SID-API-BAD-JSON", 400, "The body is not valid JSON";
    /// The body is not UTF-8.
    InvalidUtf8 = "SID-API-INVALID-UTF8", 400, "The body is not valid UTF-8";
    /// A field that does not exist.
    UnknownField = "SID-API-UNKNOWN-FIELD", 400, "The request has an unknown field";
    /// A field, parameter or header is missing or does not fit.
    BadRequest = "SID-API-BAD-REQUEST", 400, "The request does not fit";
    /// The body is too large.
    BodyTooLarge = "SID-API-BODY-TOO-LARGE", 413, "The body is too large";
    /// There is no such route.
    NoRoute = "SID-API-NO-ROUTE", 404, "There is no such route";
    /// The route does not know this method.
    Method = "SID-API-METHOD", 405, "The route does not know this method";
    /// Too many requests of one key or tenant.
    RateLimited = "SID-API-RATE-LIMITED", 429, "Too many requests";
    /// Too many requests at once.
    Overloaded = "SID-API-OVERLOADED", 503, "The server is at its limit";
    /// The server is not ready.
    NotReady = "SID-API-NOT-READY", 503, "The server is not ready";
    /// The keys of a token's issuer cannot be had.
    IssuerUnavailable = "SID-API-ISSUER-UNAVAILABLE", 503, "The token's issuer does not answer";
    /// A service that the server asked for somebody did not answer as it should.
    Upstream = "SID-API-UPSTREAM", 502, "Another service does not answer";
    /// The configured store cannot do this.
    Unsupported = "SID-API-UNSUPPORTED", 501, "The configured store cannot do this";
    /// The run ended without an answer (OpenAI door).
    RunFailed = "SID-API-RUN-FAILED", 502, "The run ended without an answer";
    /// A fault of the server.
    Internal = "SID-API-INTERNAL", 500, "A fault of the server";
}

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(Box<Failure>);

/// Boxed: answers are moved often, and seldom are errors.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    title: &'static str,
    pub(crate) detail: String,
    retry_after_s: Option<u64>,
    /// OpenAI's own name for it, and the parameter it is about.
    openai: Option<(&'static str, Option<&'static str>)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl std::ops::Deref for ApiError {
    type Target = Failure;
    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl ApiError {
    /// An error of the HTTP layer.
    pub(crate) fn new(code: ApiCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            status: StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: code.code(),
            title: code.title(),
            detail: detail.into(),
            retry_after_s: None,
            openai: None,
            headers: Vec::new(),
        }))
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ApiCode::BadRequest, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ApiCode::Forbidden, detail)
    }

    /// Nothing is told about why: a foreign id answers as a random one.
    pub(crate) fn not_found(what: &'static str) -> Self {
        StoreError::NotFound { what }.into()
    }

    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    #[must_use]
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    #[must_use]
    pub(crate) fn openai(mut self, code: &'static str, param: Option<&'static str>) -> Self {
        self.0.openai = Some((code, param));
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    fn of(status: u16, code: &'static str, title: &'static str, detail: String) -> Self {
        let mut error =
            Self::new(ApiCode::Internal, detail).status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        (error.0.code, error.0.title) = (code, title);
        error
    }

    /// The same failure in other words.
    #[must_use]
    pub(crate) fn reworded(mut self, detail: String) -> Self {
        self.0.detail = detail;
        self
    }

    /// The problem+json body.
    pub(crate) fn problem(&self, request_id: &str) -> Problem {
        Problem {
            r#type: format!("{ERROR_PAGES}{}.md", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.to_owned(),
            request_id: request_id.to_owned(),
        }
    }

    /// The body in OpenAI's shape.
    pub(crate) fn openai_body(&self) -> serde_json::Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        let (code, param) = match (self.openai, self.status.as_u16()) {
            (Some((code, param)), _) => (code, param),
            (None, 401) => ("invalid_api_key", None),
            (None, 429) => ("rate_limit_exceeded", None),
            (None, _) => (self.code, None),
        };
        serde_json::json!({"error": {"message": self.detail, "type": kind, "param": param, "code": code, "sid_code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sid\""));
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        let mut response = (self.status, headers).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// An error as it stands on the wire (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The page about the code.
    pub(crate) r#type: String,
    /// The code in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong with this request.
    pub(crate) detail: String,
    /// Stable, such as `SID-STORE-NOT-FOUND`.
    pub(crate) code: String,
    /// What the log knows the request by; also in `X-Request-Id`.
    pub(crate) request_id: String,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        use StoreError as E;
        let code = error.code();
        let detail = error.to_string();
        match error {
            E::NotFound { .. } => Self::of(404, code, "Not found", detail),
            E::Forbidden { .. } => Self::of(403, code, "The caller may see it, and may not do this with it", detail),
            E::Exists { .. } => Self::of(409, code, "It exists already", detail),
            E::Decided { .. } => Self::of(409, code, "It was decided already", detail),
            E::Conflict { .. } => Self::of(409, code, "Another writer was first", format!("{detail}; read it again and repeat the edit")),
            E::Fenced { .. } => Self::of(503, code, "Another worker has taken over", detail).retry_after(1),
            E::KeyReused => Self::of(422, code, "The idempotency key was used before", detail),
            E::QueueFull { .. } => Self::of(429, code, "Too many runs wait in this conversation", detail).retry_after(5),
            E::Busy => {
                Self::of(409, code, "The conversation is busy", format!("{detail}: a run is under way; wait for its end and try again"))
            }
            E::Invalid(_) => Self::of(422, code, "The request makes no sense", detail),
            E::TooLarge { .. } => Self::of(422, code, "A value is too large", detail),
            E::Full { .. } => Self::of(507, code, "No space is left", detail).retry_after(30),
            // Drivers' own words stay in the log: they may name paths and hosts.
            E::Setup(_) => {
                tracing::error!(code, "{detail}");
                let said = "the store is not as this server needs it; the server's log says more";
                Self::of(503, code, "The store is set up wrongly", said.into()).retry_after(30)
            }
            E::Corrupt { .. } => {
                tracing::error!(code, "{detail}");
                Self::of(500, code, "The stored data is damaged", "the stored data cannot be read; the server's log says more".into())
            }
            E::Unavailable { store, .. } => {
                tracing::error!(code, "{detail}");
                Self::of(503, code, "The store is unavailable", format!("{store} is unavailable; the server's log says more"))
                    .retry_after(2)
            }
            _ => Self::of(500, code, "A fault of the store", detail),
        }
    }
}

impl From<LlmError> for ApiError {
    fn from(error: LlmError) -> Self {
        use LlmError as E;
        let code = error.code();
        let detail = error.to_string();
        match error {
            E::Timeout { .. } => Self::of(504, code, "The model took too long", detail),
            E::RateLimited { retry_after } => {
                Self::of(503, code, "The model endpoint is rate limited", detail).retry_after(retry_after.map_or(5, |d| d.as_secs().max(1)))
            }
            E::BreakerOpen { retry_after } => {
                Self::of(503, code, "The model endpoint keeps failing", detail).retry_after(retry_after.as_secs().max(1))
            }
            E::Config(_) => Self::of(500, code, "The model is set up wrongly", detail),
            _ => Self::of(502, code, "The model endpoint failed", detail),
        }
    }
}

impl From<CoreError> for ApiError {
    fn from(error: CoreError) -> Self {
        use CoreError as E;
        let code = error.code();
        let detail = error.to_string();
        match error {
            E::Store(e) => e.into(),
            E::Llm(e) => e.into(),
            E::UnknownModel { .. } => Self::of(422, code, "The agent's model is not configured", detail),
            E::Invalid(_) => Self::of(422, code, "The request makes no sense", detail),
            E::ClientTool(_) => Self::of(400, code, "A tool of the request cannot be offered", detail),
            E::UnknownCall { .. } => Self::of(422, code, "No such call waits", detail),
            E::CallOver { .. } => Self::of(409, code, "The call waits no longer", detail),
            E::CallsOpen { .. } => Self::of(422, code, "Calls are left without an answer", detail),
            E::Budget { .. } => Self::of(429, code, "The tenant's tokens are used up", detail),
            E::Draining => Self::of(503, code, "The server is shutting down", detail).retry_after(2),
            E::Overloaded { .. } => Self::of(503, code, "The server is at its limit", detail).retry_after(1),
            _ => Self::of(500, code, "A fault of the engine", detail),
        }
    }
}

impl From<ContextError> for ApiError {
    fn from(error: ContextError) -> Self {
        use ContextError as E;
        let code = error.code();
        let detail = error.to_string();
        match error {
            E::Store(e) => e.into(),
            E::Invalid(_) => Self::of(422, code, "The request makes no sense", detail),
            E::NotForAssistants(_) => Self::of(403, code, "Only a person may do this", detail),
            E::Taken { .. } => Self::of(409, code, "Somebody else was first", detail),
            E::Stale => Self::of(409, code, "What was proposed is out of date", detail),
            E::NoKey => Self::of(501, code, "This server keeps no secrets", detail),
            E::Sealed(_) => {
                tracing::error!(code, "{detail}");
                Self::of(409, code, "A secret does not open", detail)
            }
            _ => Self::of(500, code, "A fault of the context service", detail),
        }
    }
}
