//! The yes of people: asked for, kept sealed, renewed, given back.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sid_assistant::{Drive, DriveError, DriveFile, DriveTokens, Pending};
use sid_context::ContextError;
use sid_context::secrets::{SecretValue, Vault};
use sid_core::{Bring, CoreError, Library};
use sid_store::{Store, StoreError};
use sid_types::{Clock, ConversationId, Document, DocumentFormat, DocumentId, Owner, Provenance, RunId, Scope, UserId, WorkerId};
use subtle::ConstantTimeEq as _;
use tracing::warn;
use uuid::Uuid;

/// Names of secrets. People see them in their list and may delete them. They begin as all that no header of a toolset can name
/// (`toolbox::login`), and are of no toolset's login.
const TOKENS: &str = "login/google-drive/tokens";
const PENDING: &str = "login/google-drive/request";
/// What the list of secrets says of the first.
const ABOUT: &str = "Google Drive: delete it to disconnect";
/// Who renews has so long; the others wait.
const TURN: Duration = Duration::from_secs(90);
/// Between two looks of who waits.
const REST: Duration = Duration::from_millis(100);

/// What is said where no operator has set Drive up.
pub(crate) const NOT_SET_UP: &str = "Google Drive is not set up on this server: see [google] in docs/configuration.md";

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("this user's Google Drive is not connected")]
    NotConnected,
    #[error("there is no such request to connect, or it took too long: begin again")]
    UnknownState,
    #[error("the connection with Google is being renewed for too long: try again later")]
    Busy,
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Core(#[from] CoreError),
}

/// Connections of people with their Drive.
#[derive(Clone)]
pub(crate) struct Connections {
    drive: Drive,
    vault: Vault,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Connections {
    pub(crate) fn new(drive: Drive, vault: Vault, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { drive, vault, store, clock }
    }

    /// Where to send the person.
    pub(crate) async fn begin(&self, scope: &Scope, user: UserId) -> Result<String, ConnectionError> {
        let (url, pending) = self.drive.begin(self.clock.now())?;
        self.put(scope, user, PENDING, "a request to connect Google Drive", &pending).await?;
        Ok(url)
    }

    /// The person is back, with a code. Only who has begun can finish: a code that somebody else was lured into giving fits no request of theirs.
    pub(crate) async fn finish(&self, scope: &Scope, user: UserId, state: &str, code: &str) -> Result<(), ConnectionError> {
        let pending: Pending = self.get(scope, user, PENDING).await?.ok_or(ConnectionError::UnknownState)?;
        let is_same = bool::from(pending.state.reveal().as_bytes().ct_eq(state.as_bytes()));
        if !is_same || pending.is_over(self.clock.now()) {
            return Err(ConnectionError::UnknownState);
        }
        // Once only, whatever becomes of it.
        self.delete(scope, user, PENDING).await?;
        let tokens = self.drive.finish(&pending, code, self.clock.now()).await?;
        self.put(scope, user, TOKENS, ABOUT, &tokens).await
    }

    pub(crate) async fn is_connected(&self, scope: &Scope, user: UserId) -> Result<bool, ConnectionError> {
        Ok(self.get::<DriveTokens>(scope, user, TOKENS).await?.is_some())
    }

    /// Forgets the tokens here in any case, and gives them back if Google can be reached.
    pub(crate) async fn disconnect(&self, scope: &Scope, user: UserId) -> Result<(), ConnectionError> {
        let tokens: DriveTokens = self.get(scope, user, TOKENS).await?.ok_or(ConnectionError::NotConnected)?;
        self.delete(scope, user, TOKENS).await?;
        Ok(self.drive.revoke(&tokens).await?)
    }

    pub(crate) async fn search(&self, scope: &Scope, user: UserId, words: &str, most: usize) -> Result<Vec<DriveFile>, ConnectionError> {
        let tokens = self.tokens(scope, user, None).await?;
        match self.drive.search(&tokens, words, most).await {
            Err(DriveError::Disconnected) => {
                let tokens = self.tokens(scope, user, Some(&tokens)).await?;
                Ok(self.drive.search(&tokens, words, most).await?)
            }
            done => Ok(done?),
        }
    }

    /// A file with what it says.
    pub(crate) async fn open(
        &self,
        scope: &Scope,
        user: UserId,
        file: &str,
        most: u64,
    ) -> Result<(DriveFile, DocumentFormat, Vec<u8>), ConnectionError> {
        let tokens = self.tokens(scope, user, None).await?;
        match self.fetch(&tokens, file, most).await {
            Err(DriveError::Disconnected) => {
                let tokens = self.tokens(scope, user, Some(&tokens)).await?;
                Ok(self.fetch(&tokens, file, most).await?)
            }
            done => Ok(done?),
        }
    }

    async fn fetch(&self, tokens: &DriveTokens, file: &str, most: u64) -> Result<(DriveFile, DocumentFormat, Vec<u8>), DriveError> {
        let file = self.drive.file(tokens, file).await?;
        let (format, content) = self.drive.download(tokens, &file, usize::try_from(most).unwrap_or(usize::MAX)).await?;
        Ok((file, format, content))
    }

    /// Brings a file as a document; the same file again, to the same place, is that document's new version.
    pub(crate) async fn import(
        &self,
        library: &Library,
        scope: &Scope,
        user: UserId,
        file: &str,
        to: Place,
    ) -> Result<Document, ConnectionError> {
        let (file, format, content) = self.open(scope, user, file, library.most_bytes()).await?;
        let place = format!("google-drive/{}/{:?}/{:?}", file.id, to.owner, to.conversation);
        let provenance = Provenance {
            conversation: to.conversation,
            run: to.run,
            user: Some(user),
            channel: to.channel.into(),
            ..Provenance::default()
        };
        let bring = Bring {
            id: DocumentId::from_uuid(Uuid::new_v5(&scope.tenant().uuid(), place.as_bytes())),
            owner: to.owner,
            title: file.name.chars().filter(|c| !c.is_control()).take(Document::TITLE_CHARS).collect(),
            format,
            origin: Some(file.web_view_link.unwrap_or_else(|| format!("google-drive:{}", file.id))),
            content,
            provenance,
        };
        Ok(library.bring(scope, bring).await?)
    }

    /// Tokens that can be used now, renewed if they must be. `refused`: those that Google has just not taken.
    async fn tokens(&self, scope: &Scope, user: UserId, refused: Option<&DriveTokens>) -> Result<DriveTokens, ConnectionError> {
        let duty = format!("google-drive {user}");
        // Each call by itself: two of one process must not renew at once, either. A refresh token may be good for one.
        let worker = WorkerId::new();
        for _ in 0..TURN.as_millis() / REST.as_millis() {
            let tokens = self.kept(scope, user).await?;
            if self.is_good(&tokens, refused) {
                return Ok(tokens);
            }
            if !self.store.take_duty(&duty, worker, TURN).await.map_err(CoreError::from)? {
                tokio::time::sleep(REST).await;
                continue;
            }
            let (own, scope, refused) = (self.clone(), *scope, refused.cloned());
            // A task of its own: whoever asked may go away between Google's answer and the vault, and the only refresh token with them.
            let renewing = tokio::spawn(async move {
                let renewed = own.renewed(&scope, user, refused.as_ref()).await;
                if let Err(error) = own.store.leave_duty(&duty, worker).await {
                    warn!(%error, "the next renewal of a Google Drive has to wait");
                }
                renewed
            });
            return renewing.await.unwrap_or(Err(ConnectionError::Busy));
        }
        Err(ConnectionError::Busy)
    }

    /// With the duty in hand: as it is now, somebody may have renewed it before.
    async fn renewed(&self, scope: &Scope, user: UserId, refused: Option<&DriveTokens>) -> Result<DriveTokens, ConnectionError> {
        let tokens = self.kept(scope, user).await?;
        if self.is_good(&tokens, refused) {
            return Ok(tokens);
        }
        match self.drive.refresh(&tokens, self.clock.now()).await {
            Ok(renewed) => {
                self.put(scope, user, TOKENS, ABOUT, &renewed).await?;
                Ok(renewed)
            }
            // They are of no use any more.
            Err(DriveError::Disconnected) => {
                self.delete(scope, user, TOKENS).await?;
                Err(DriveError::Disconnected.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn kept(&self, scope: &Scope, user: UserId) -> Result<DriveTokens, ConnectionError> {
        self.get(scope, user, TOKENS).await?.ok_or(ConnectionError::NotConnected)
    }

    fn is_good(&self, tokens: &DriveTokens, refused: Option<&DriveTokens>) -> bool {
        tokens.is_good(self.clock.now()) && refused != Some(tokens)
    }

    async fn get<T: DeserializeOwned>(&self, scope: &Scope, user: UserId, name: &str) -> Result<Option<T>, ConnectionError> {
        match self.vault.reveal(scope, Owner::User { user }, name).await {
            // What cannot be read is from another version of this program: the person connects again.
            Ok(value) => Ok(serde_json::from_str(value.reveal()).ok()),
            Err(ContextError::Store(StoreError::NotFound { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn put<T: Serialize>(&self, scope: &Scope, user: UserId, name: &str, about: &str, value: &T) -> Result<(), ConnectionError> {
        let value = SecretValue::new(serde_json::to_string(value).unwrap_or_default());
        self.vault.put(scope, Owner::User { user }, name, about, &value, None).await?;
        Ok(())
    }

    async fn delete(&self, scope: &Scope, user: UserId, name: &str) -> Result<(), ConnectionError> {
        match self.vault.delete(scope, Owner::User { user }, name, None).await {
            Ok(()) | Err(ContextError::Store(StoreError::NotFound { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where an imported file goes, and who brings it.
pub(crate) struct Place {
    pub(crate) owner: Owner,
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) run: Option<RunId>,
    pub(crate) channel: &'static str,
}
