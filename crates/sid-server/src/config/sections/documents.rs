//! Documents, and where people keep them.

use std::sync::Arc;
use std::time::Duration;

use sid_documents::DocumentReader;

use crate::config::setting::{Secret, section};

section! {
    /// Documents. Each is read in a process of its own that the kernel bounds.
    Documents {
        /// Largest document, in bytes.
        max_bytes: usize = 20 * 1024 * 1024;
        /// Most documents of one owner.
        per_owner: u64 = 1_000;
        /// Most pages of one document.
        max_pages: u32 = 3_000;
        /// Most milliseconds of reading one document.
        read_ms: u64 = 60_000;
        /// Most memory of reading one document, all that its process maps included, in bytes.
        read_memory_bytes: u64 = 2 * 1024 * 1024 * 1024;
        /// Whether documents are read in a process of their own, which is this server's executable again. Off for programs that embed the server without `launch_if_asked`: then a hostile document can end the server.
        own_process: bool = true;
    }
}

impl Documents {
    /// Who reads them.
    pub(crate) fn reader(&self) -> Arc<dyn DocumentReader> {
        let limits = sid_documents::Limits {
            bytes: self.max_bytes as u64,
            pages: self.max_pages,
            time: Duration::from_millis(self.read_ms),
            memory: self.read_memory_bytes,
            ..sid_documents::Limits::default()
        };
        if self.own_process { Arc::new(sid_documents::OwnProcess::new(limits)) } else { Arc::new(sid_documents::InProcess { limits }) }
    }
}

section! {
    /// Google Drive of people, by OAuth 2. Without a client there is none. Needs `secrets.keys`: people's tokens are secrets of theirs.
    Google {
        /// The OAuth client, as it was registered with Google.
        client_id: Option<String> = None;
        /// The client's secret.
        client_secret: Secret = Secret::default();
        /// Where Google sends a person back, as it was registered: a page of the application, which hands `state` and `code` to `POST /api/v1/drive/callback`.
        redirect_url: String = String::new();
        /// What is asked for.
        scope: String = "https://www.googleapis.com/auth/drive.readonly".into();
        /// Where a person says yes.
        authorize_url: String = "https://accounts.google.com/o/oauth2/v2/auth".into();
        /// Where codes and refresh tokens are taken.
        token_url: String = "https://oauth2.googleapis.com/token".into();
        /// Where tokens are given back.
        revoke_url: String = "https://oauth2.googleapis.com/revoke".into();
        /// The Drive API.
        api_url: String = "https://www.googleapis.com/drive/v3".into();
    }
}

impl Google {
    /// A client for it, if there is one. `fetcher`: with the policy of all that leaves the house.
    pub(crate) fn drive(
        &self,
        fetcher: &sid_fetch::Fetcher,
        most_bytes: usize,
    ) -> Result<Option<sid_assistant::Drive>, sid_fetch::FetchError> {
        let (Some(client_id), Some(secret)) = (&self.client_id, self.client_secret.reveal()) else { return Ok(None) };
        let settings = sid_assistant::DriveSettings {
            authorize_url: self.authorize_url.clone(),
            token_url: self.token_url.clone(),
            revoke_url: self.revoke_url.clone(),
            api_url: self.api_url.clone(),
            client_id: client_id.clone(),
            redirect_url: self.redirect_url.clone(),
            scope: self.scope.clone(),
        };
        // A document may be larger, and take longer, than a function's answer.
        let policy = sid_fetch::Policy { max_body_bytes: most_bytes, timeout: Duration::from_secs(60), ..fetcher.policy().clone() };
        let secret = sid_fetch::oauth::Hidden::new(secret);
        Ok(Some(sid_assistant::Drive::new(settings, secret, sid_fetch::Fetcher::new(policy)?)))
    }

    /// Whether the values of this section fit together: the field that does not, and why.
    pub(in crate::config) fn check(&self, has_keys: bool) -> Result<(), (&'static str, &'static str)> {
        if self.client_id.is_none() {
            return Ok(());
        }
        if self.client_secret.reveal().is_none() {
            return Err(("client_secret", "required with google.client_id"));
        }
        if self.redirect_url.is_empty() {
            return Err(("redirect_url", "required with google.client_id: where Google sends a person back"));
        }
        let urls = [
            ("redirect_url", &self.redirect_url),
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("revoke_url", &self.revoke_url),
            ("api_url", &self.api_url),
        ];
        if let Some((field, _)) = urls.into_iter().find(|(_, url)| url.parse::<sid_fetch::Url>().is_err()) {
            return Err((field, "must be a URL, such as https://app.example/back"));
        }
        if !has_keys {
            return Err(("client_id", "needs secrets.keys: people's tokens are kept as secrets"));
        }
        Ok(())
    }
}
