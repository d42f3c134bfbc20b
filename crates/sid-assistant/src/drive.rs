//! Google Drive and Docs: OAuth 2 with PKCE for a person, and the few calls that reading takes.
//!
//! Sources: RFC 7009 (revocation), Drive API v3 (`files.list`, `files.get`, `files.export`); the rest of OAuth is `sid_fetch::oauth`. Every host
//! is configured, and every call goes through the one guarded client.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sid_fetch::oauth::{ClientAuth, Grant, Hidden, OAuthClient, OAuthError, Pkce, Tokens, random_text};
use sid_fetch::{FetchError, Fetcher, Request, Response};
use sid_types::{DocumentFormat, Timestamp};

/// Bytes of an answer that is no file.
const MOST_ANSWER: usize = 1 << 20;
/// A token is asked for anew so long before it ends.
const EARLY: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// For a token that does not say when it ends.
const USUAL_S: u64 = 300;
/// A person has so long to say yes.
const PATIENCE: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);
/// Google's own kind of text; it has no bytes and is exported.
const GOOGLE_DOC: &str = "application/vnd.google-apps.document";

/// Where Drive is, and who asks.
#[derive(Debug, Clone)]
pub struct DriveSettings {
    /// Where a person is sent to say yes.
    pub authorize_url: String,
    /// Where a code, or a refresh token, becomes an access token.
    pub token_url: String,
    /// Where a token is given back.
    pub revoke_url: String,
    /// The Drive API, version 3.
    pub api_url: String,
    /// The client, as it was registered.
    pub client_id: String,
    /// Where a person comes back with a code, as it was registered.
    pub redirect_url: String,
    /// What is asked for.
    pub scope: String,
}

/// Tokens of a person. For a vault, and for nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveTokens {
    tokens: Tokens,
    until: Timestamp,
}

impl DriveTokens {
    /// Whether the access token can still be used.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        now < self.until
    }

    fn new(tokens: Tokens, now: Timestamp) -> Self {
        let seconds = i64::try_from(tokens.expires_in.unwrap_or(USUAL_S)).unwrap_or(i64::MAX).min(86_400);
        let lasts = jiff::SignedDuration::from_secs(seconds) - EARLY;
        Self { tokens, until: now.checked_add(lasts).unwrap_or(now) }
    }
}

/// What is kept while a person says yes: for a vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pending {
    /// What comes back with the code.
    pub state: Hidden,
    pkce: Pkce,
    until: Timestamp,
}

impl Pending {
    /// Whether the person took too long.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}

/// A file of Drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriveFile {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub mime_type: String,
    /// When it was last changed.
    #[serde(default)]
    pub modified_time: Option<String>,
    /// Where a person sees it.
    #[serde(default)]
    pub web_view_link: Option<String>,
}

impl DriveFile {
    /// What can be read of it; `None` for pictures, sheets and the like.
    #[must_use]
    pub fn format(&self) -> Option<DocumentFormat> {
        if self.mime_type == GOOGLE_DOC { Some(DocumentFormat::Markdown) } else { DocumentFormat::of_media_type(&self.mime_type) }
    }
}

/// Why Drive did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The person has taken the yes back, or it has expired.
    #[error("Google does not accept the connection any more: connect again")]
    Disconnected,
    /// There is no such file for this person.
    #[error("there is no such file in this person's Drive")]
    NoFile,
    /// The file is no text.
    #[error("a file of the kind {0} cannot be read: text, Markdown, HTML, PDF and Google Docs can")]
    NotText(String),
    /// Something else was answered.
    #[error("Google answers {status}: {problem}")]
    Refused {
        /// The status.
        status: u16,
        /// What it says.
        problem: String,
    },
    /// No tokens were given.
    #[error("Google gives no access: {0}")]
    NoTokens(OAuthError),
    /// It could not be asked.
    #[error("Google cannot be reached: {0}")]
    Unreachable(#[from] FetchError),
}

impl From<OAuthError> for DriveError {
    fn from(error: OAuthError) -> Self {
        if error.is_over() { Self::Disconnected } else { Self::NoTokens(error) }
    }
}

/// Asks Drive on behalf of people.
#[derive(Clone)]
pub struct Drive {
    grant: std::sync::Arc<Grant>,
    revoke_url: String,
    api_url: String,
    fetcher: Fetcher,
}

#[derive(Deserialize)]
struct FileList {
    #[serde(default)]
    files: Vec<DriveFile>,
}

impl Drive {
    /// A client with these settings, and the secret that it was registered with.
    #[must_use]
    pub fn new(settings: DriveSettings, secret: Hidden, fetcher: Fetcher) -> Self {
        let DriveSettings { authorize_url, token_url, revoke_url, api_url, client_id, redirect_url, scope } = settings;
        let grant = Grant {
            issuer: authorize_url.clone(),
            authorization_endpoint: authorize_url,
            token_endpoint: token_url,
            is_issuer_told: false,
            client: OAuthClient { id: client_id, secret: Some(secret), auth: ClientAuth::Post },
            redirect_uri: redirect_url,
            resource: None,
            scope: Some(scope),
            // Google gives a refresh token for this, and only when it asks anew.
            extra: vec![("access_type".into(), "offline".into()), ("prompt".into(), "consent".into())],
        };
        Self { grant: std::sync::Arc::new(grant), revoke_url, api_url, fetcher }
    }

    /// Where to send a person, and what to keep until they are back.
    ///
    /// Errors: `NoTokens` when `authorize_url` is no URL.
    pub fn begin(&self, now: Timestamp) -> Result<(String, Pending), DriveError> {
        let until = now.checked_add(PATIENCE).unwrap_or(now);
        let pending = Pending { state: Hidden::new(random_text()), pkce: Pkce::random(), until };
        Ok((self.grant.authorization_url(pending.state.reveal(), &pending.pkce)?, pending))
    }

    /// Tokens for a code.
    ///
    /// Errors: `Disconnected` for a code that is not taken.
    pub async fn finish(&self, pending: &Pending, code: &str, now: Timestamp) -> Result<DriveTokens, DriveError> {
        Ok(DriveTokens::new(self.grant.exchange(&self.fetcher, code, &pending.pkce).await?, now))
    }

    /// New tokens for old ones. The refresh token may be another one afterwards.
    ///
    /// Errors: `Disconnected`.
    pub async fn refresh(&self, tokens: &DriveTokens, now: Timestamp) -> Result<DriveTokens, DriveError> {
        let refresh = tokens.tokens.refresh_token.as_ref().ok_or(DriveError::Disconnected)?;
        Ok(DriveTokens::new(self.grant.refresh(&self.fetcher, refresh).await?, now))
    }

    /// Gives the yes back. A token that is not known any more is as good.
    pub async fn revoke(&self, tokens: &DriveTokens) -> Result<(), DriveError> {
        let token = tokens.tokens.refresh_token.as_ref().unwrap_or(&tokens.tokens.access_token).reveal();
        let response = self.fetcher.send(Request::post(&self.revoke_url).form(&[("token", token)]).at_most(MOST_ANSWER)).await?;
        if response.status.is_success() || response.status.as_u16() == 400 { Ok(()) } else { Err(refused(&response)) }
    }

    /// Files whose text or name has these words, those changed last first.
    ///
    /// Errors: `Disconnected`, `Refused`.
    pub async fn search(&self, tokens: &DriveTokens, words: &str, most: usize) -> Result<Vec<DriveFile>, DriveError> {
        let words = words.replace('\\', "\\\\").replace('\'', "\\'");
        let query = format!("fullText contains '{words}' and trashed = false");
        let most = most.clamp(1, 100).to_string();
        let fields = "files(id,name,mimeType,modifiedTime,webViewLink)";
        let found = self.get(tokens, &["files"], &[("q", &query), ("pageSize", &most), ("fields", fields)], MOST_ANSWER).await?;
        Ok(read::<FileList>(&found)?.files)
    }

    /// One file.
    ///
    /// Errors: `NoFile`.
    pub async fn file(&self, tokens: &DriveTokens, id: &str) -> Result<DriveFile, DriveError> {
        read(&self.get(tokens, &["files", id], &[("fields", "id,name,mimeType,modifiedTime,webViewLink")], MOST_ANSWER).await?)
    }

    /// What a file says: its bytes, or for a Google Doc its Markdown.
    ///
    /// Errors: `NotText`, `NoFile`; `Unreachable` for more than `most` bytes.
    pub async fn download(&self, tokens: &DriveTokens, file: &DriveFile, most: usize) -> Result<(DocumentFormat, Vec<u8>), DriveError> {
        let format = file.format().ok_or_else(|| DriveError::NotText(file.mime_type.clone()))?;
        let response = if file.mime_type == GOOGLE_DOC {
            self.get(tokens, &["files", &file.id, "export"], &[("mimeType", "text/markdown")], most).await?
        } else {
            self.get(tokens, &["files", &file.id], &[("alt", "media")], most).await?
        };
        Ok((format, response.body))
    }

    async fn get(&self, tokens: &DriveTokens, path: &[&str], query: &[(&str, &str)], most: usize) -> Result<Response, DriveError> {
        // An id is the model's word: it must not lead to another call.
        if path.iter().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))) {
            return Err(DriveError::NoFile);
        }
        let url = format!("{}/{}?{}", self.api_url.trim_end_matches('/'), path.join("/"), form(query));
        let request =
            Request::get(url).at_most(most).secret("authorization", &format!("Bearer {}", tokens.tokens.access_token.reveal()))?;
        let response = self.fetcher.send(request).await?;
        match response.status.as_u16() {
            200..300 => Ok(response),
            401 => Err(DriveError::Disconnected),
            404 => Err(DriveError::NoFile),
            _ => Err(refused(&response)),
        }
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    String::from_utf8_lossy(Request::get("").form(fields).body().unwrap_or_default()).into_owned()
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<T, DriveError> {
    if !response.status.is_success() {
        return Err(refused(response));
    }
    let problem = |_| DriveError::Refused { status: response.status.as_u16(), problem: "what was not expected".into() };
    serde_json::from_slice(&response.body).map_err(problem)
}

/// A text of the answer's JSON.
fn said(response: &Response, pointer: &str) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().chars().take(200).collect()
}

fn refused(response: &Response) -> DriveError {
    let words = [said(response, "/error/message"), said(response, "/error_description"), said(response, "/error")];
    let problem = words.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| "no reason".into());
    DriveError::Refused { status: response.status.as_u16(), problem }
}
