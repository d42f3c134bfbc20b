//! A server's sessions: one for each whose state is its own, opened when it is needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sid_tools::ToolContext;
use sid_tools::http::{Headers, Secret};
use tokio::time::Instant;

use super::{Inner, McpServer, Place, Slot, Whose};
use crate::http::Door;
use crate::login::{Authorization, NoToken};
use crate::session::Session;

/// Sessions of one server at once; the one that was used longest ago makes room.
const MOST_SESSIONS: usize = 64;
/// A remote session that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

impl McpServer {
    /// An open session for this caller. Errors: in words.
    pub(super) async fn session(&self, whose: Whose, context: &ToolContext) -> Result<Arc<Session>, String> {
        let slot = self.slot(whose);
        let mut slot = slot.lock().await;
        let headers = self.headers(whose, context, &mut slot).await?;
        if let Some(session) = slot.session.clone() {
            if session.headers.is_same(&headers) && !session.is_refused() && session.is_good().await {
                return Ok(session);
            }
            slot.session = None;
            if session.is_local() {
                tracing::warn!(server = %self.0.name, "a local MCP server has ended or does not answer, and is started again");
            }
        }
        if let Some(not_before) = slot.not_before.filter(|t| *t > Instant::now()) {
            let seconds = (not_before - Instant::now()).as_secs_f32().ceil();
            return Err(format!("{} (tried again in {seconds} s)", slot.problem));
        }
        // Should this future be dropped in the middle, nobody tries again at once.
        slot.failures += 1;
        slot.not_before = Some(Instant::now() + self.0.limits.pause_after(slot.failures));
        slot.problem = "it did not greet in time".into();
        let is_refused = Arc::default();
        let mut opened = self.open(headers, &is_refused).await;
        if is_refused.swap(false, Ordering::Relaxed) && self.has_login() {
            // The token may have ended before its time: once more, with the next one.
            slot.is_refused = true;
            let headers = self.headers(whose, context, &mut slot).await?;
            opened = self.open(headers, &is_refused).await;
            slot.is_refused = is_refused.load(Ordering::Relaxed);
        }
        match opened {
            Ok(session) => {
                let session = Arc::new(session);
                // A local server that ends at once, again and again, is not started again and again: it must have lived a while first.
                slot.failures = if session.is_local() { slot.failures } else { 0 };
                slot.not_before = session.is_local().then(|| Instant::now() + self.0.limits.pause_after(slot.failures));
                slot.problem = "it has ended".into();
                slot.session = Some(session.clone());
                self.watch(whose, &session);
                Ok(session)
            }
            Err(problem) => {
                slot.problem.clone_from(&problem);
                Err(problem)
            }
        }
    }

    fn slot(&self, whose: Whose) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.0.slots.lock();
        if slots.len() >= MOST_SESSIONS && !slots.contains_key(&whose) {
            // One that is being opened counts as just used.
            let idle = |slot: &Arc<tokio::sync::Mutex<Slot>>| {
                slot.try_lock().map_or(Duration::ZERO, |s| s.session.as_ref().map_or(Duration::MAX, |session| session.idle()))
            };
            if let Some(oldest) = slots.iter().map(|(whose, slot)| (idle(slot), *whose)).max_by_key(|(idle, _)| *idle) {
                slots.remove(&oldest.1);
            }
        }
        slots.entry(whose).or_default().clone()
    }

    /// With the secrets of whoever this is for, and a token if one is needed. Errors: in words.
    async fn headers(&self, whose: Whose, context: &ToolContext, slot: &mut Slot) -> Result<Arc<Headers>, String> {
        let Place::Remote { url, calls, looks, authorization, .. } = &self.0.place else { return Ok(Arc::default()) };
        let connection = if whose == Whose::Nobodys { looks } else { calls };
        let mut headers = connection.headers(context).await?;
        match authorization {
            None => {}
            Some(Authorization::Client(oauth)) => {
                let secret = connection.secret(context, &oauth.client_secret).await?;
                if !slot.token.as_ref().is_some_and(|token| token.is_good_for(&secret)) {
                    slot.token = Some(oauth.ask(connection.fetcher(), url, secret).await?);
                }
                if let Some(token) = &slot.token {
                    headers.put_secret("authorization", "Bearer ", "token", token.value());
                }
            }
            Some(Authorization::Login(login)) => {
                let shown = slot.shown.take().filter(|_| slot.is_refused || slot.session.as_ref().is_some_and(|s| s.is_refused()));
                slot.is_refused = false;
                let looks = whose == Whose::Nobodys;
                let token = login.token(context, looks, shown.as_ref()).await;
                if looks && matches!(token, Err(NoToken::LogIn(_))) {
                    self.0.waits_for_login.store(true, Ordering::Relaxed);
                }
                let token = token.map_err(NoToken::into_words)?;
                slot.shown = Some(Secret::new(token.reveal()));
                headers.put_secret("authorization", "Bearer ", "token", token);
            }
        }
        Ok(Arc::new(headers))
    }

    async fn open(&self, headers: Arc<Headers>, is_refused: &Arc<AtomicBool>) -> Result<Session, String> {
        match &self.0.place {
            Place::Local(program) => Session::over_stdio(&self.0.name, program, self.0.has_changed.clone(), self.0.asks).await,
            Place::Remote { url, hosts, calls, .. } => {
                let door = Door {
                    fetcher: calls.fetcher().clone(),
                    headers,
                    hosts: hosts.clone(),
                    time: calls.timeout(),
                    problem: Arc::default(),
                    is_refused: is_refused.clone(),
                };
                Session::over_http(url, door, self.0.has_changed.clone(), self.0.asks).await
            }
        }
    }

    /// Closes a remote session that is no longer used; lets a local server that has lived for a while begin again without a pause.
    fn watch(&self, whose: Whose, session: &Arc<Session>) {
        let (server, session): (Weak<Inner>, Weak<Session>) = (Arc::downgrade(&self.0), Arc::downgrade(session));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 5).await;
                let (Some(server), Some(session)) = (server.upgrade(), session.upgrade()) else { return };
                let slot = server.slots.lock().get(&whose).cloned();
                let Some(slot) = slot else { return };
                let mut slot = slot.lock().await;
                if !slot.session.as_ref().is_some_and(|now| Arc::ptr_eq(now, &session)) {
                    return;
                }
                if session.is_local() {
                    slot.failures = 0;
                    slot.not_before = None;
                } else if session.idle() > IDLE {
                    slot.session = None;
                    return;
                }
            }
        });
    }
}
