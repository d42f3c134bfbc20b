//! An issuer's public keys: found by discovery, kept, and fetched anew by one request at a time.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::RwLock;
use serde_json::Value;
use sid_fetch::{FetchError, Fetcher, Policy, Request, Resolve, SystemResolver, Url};
use tokio::time::Instant;

/// Keys are looked at again after this long, beside the requests.
const FRESH: Duration = Duration::from_secs(600);
/// Without an answer of the issuer, keys are believed for this long.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// A token with a key that nobody knows makes the server ask again at most this often.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// An issuer that did not answer is asked again after this long.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Larger answers are no key sets.
const LARGEST: usize = 1 << 20;

/// One public key.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) id: Option<String>,
    /// What it may have signed with.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

impl SigningKey {
    /// `None` for what is no key for signatures that we take: other types, keys for encryption, shared secrets.
    fn read(jwk: &Value) -> Option<Self> {
        let text = |field: &str| jwk.get(field).and_then(Value::as_str);
        if text("use").is_some_and(|u| u != "sig") {
            return None;
        }
        if jwk.get("key_ops").and_then(Value::as_array).is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return None;
        }
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let (mut algorithms, key) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (vec![RS256, RS384, RS512, PS256, PS384, PS512], DecodingKey::from_rsa_components(text("n")?, text("e")?)),
            ("EC", Some("P-256")) => (vec![ES256], DecodingKey::from_ec_components(text("x")?, text("y")?)),
            ("EC", Some("P-384")) => (vec![ES384], DecodingKey::from_ec_components(text("x")?, text("y")?)),
            ("OKP", Some("Ed25519")) => (vec![EdDSA], DecodingKey::from_ed_components(text("x")?)),
            _ => return None,
        };
        if let Some(named) = text("alg") {
            // RFC 9864 calls it by its curve.
            let named = if named == "Ed25519" { "EdDSA" } else { named };
            algorithms.retain(|a| named.parse::<Algorithm>().is_ok_and(|named| named == *a));
        }
        let key = key.ok()?;
        (!algorithms.is_empty()).then(|| Self { id: text("kid").map(str::to_owned), algorithms, key })
    }

    /// All usable keys of a key set.
    pub(super) fn read_set(set: &Value) -> Option<Vec<Self>> {
        Some(set.get("keys")?.as_array()?.iter().filter_map(Self::read).collect())
    }
}

pub(super) type Keys = Arc<[SigningKey]>;

#[derive(Default)]
struct Held {
    keys: Option<(Keys, Instant)>,
    /// When the issuer was last asked, whatever came of it.
    asked: Option<Instant>,
}

/// The keys of one issuer.
pub(super) struct Jwks {
    issuer: String,
    /// Not set: by discovery.
    url: Option<String>,
    fetcher: Fetcher,
    held: RwLock<Held>,
    /// Held by whoever asks the issuer.
    asking: tokio::sync::Mutex<()>,
}

impl Jwks {
    pub(super) fn new(issuer: &str, url: Option<&str>) -> Result<Self, FetchError> {
        Self::with(issuer, url, Self::policy(issuer, url), Arc::new(SystemResolver))
    }

    fn with(issuer: &str, url: Option<&str>, policy: Policy, resolver: Arc<dyn Resolve>) -> Result<Self, FetchError> {
        let fetcher = Fetcher::with_resolver(policy, resolver)?;
        let (held, asking) = (RwLock::default(), tokio::sync::Mutex::default());
        Ok(Self { issuer: issuer.to_owned(), url: url.map(str::to_owned), fetcher, held, asking })
    }

    /// What the operator names may be inside the network; what a fetched document names may not, unless it is in the same place.
    fn policy(issuer: &str, url: Option<&str>) -> Policy {
        let place = |url: &str| {
            let url = Url::parse(url).ok()?;
            format!("{}:{}", url.host_str()?, url.port_or_known_default()?).parse().ok()
        };
        let open = [Some(issuer), url].into_iter().flatten().filter_map(place).collect();
        // Where the keys are is for the issuer and the operator to say, not for whoever answers.
        Policy { open, max_redirects: 0, max_body_bytes: LARGEST, ..Policy::default() }
    }

    /// The keys as they were last seen; asked for when there are none. The error says what went wrong.
    pub(super) async fn keys(self: &Arc<Self>) -> Result<Keys, String> {
        if let Some((keys, age)) = self.known() {
            if age >= FRESH && self.may_ask(AFTER_FAILURE) {
                let this = self.clone();
                // Nobody waits: the keys that are there are good enough until the others are.
                tokio::spawn(async move {
                    let Ok(_asking) = this.asking.try_lock() else { return };
                    if let Err(problem) = this.ask().await {
                        tracing::warn!(issuer = this.issuer, "cannot look at the issuer's keys again: {problem}");
                    }
                });
            }
            return Ok(keys);
        }
        let _asking = self.asking.lock().await;
        if let Some((keys, _)) = self.known() {
            return Ok(keys);
        }
        if !self.may_ask(AFTER_FAILURE) {
            return Err("the issuer did not answer a moment ago".into());
        }
        self.ask().await
    }

    /// Keys other than these, which lack the one that a token names; `None` when there are none, or it was asked too lately.
    pub(super) async fn others(&self, than: &Keys) -> Option<Keys> {
        let changed = || self.known().map(|(keys, _)| keys).filter(|keys| !Arc::ptr_eq(keys, than));
        if let Some(keys) = changed() {
            return Some(keys);
        }
        // Whoever waits here is answered by the one before.
        let _asking = self.asking.lock().await;
        if changed().is_some() || !self.may_ask(ASK_AGAIN) {
            return changed();
        }
        match self.ask().await {
            Ok(keys) => Some(keys),
            Err(problem) => {
                tracing::warn!(issuer = self.issuer, "cannot look for a key that is not known: {problem}");
                None
            }
        }
    }

    fn known(&self) -> Option<(Keys, Duration)> {
        let held = self.held.read();
        held.keys.as_ref().map(|(keys, at)| (keys.clone(), at.elapsed())).filter(|(_, age)| *age < LONGEST)
    }

    fn may_ask(&self, pause: Duration) -> bool {
        self.held.read().asked.is_none_or(|at| at.elapsed() >= pause)
    }

    async fn ask(&self) -> Result<Keys, String> {
        self.held.write().asked = Some(Instant::now());
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let keys = SigningKey::read_set(&self.get(&url).await?).ok_or_else(|| format!("{url} answers no key set"))?;
        let keys: Keys = keys.into();
        self.held.write().keys = Some((keys.clone(), Instant::now()));
        Ok(keys)
    }

    async fn discover(&self) -> Result<String, String> {
        let place = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = self.get(&place).await?;
        let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("issuer") != self.issuer {
            return Err(format!("{place} is about the issuer `{}`, not `{}`", text("issuer"), self.issuer));
        }
        let found = text("jwks_uri");
        let is_as_safe = found.starts_with("https://") || (found.starts_with("http://") && self.issuer.starts_with("http://"));
        if is_as_safe { Ok(found.to_owned()) } else { Err(format!("{place} names no safe `jwks_uri`: `{found}`")) }
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let failed = |e: FetchError| match e {
            FetchError::Refused(refusal) => format!("{url}: {refusal} (keys inside the network: set `jwks_url`)"),
            other => format!("{url}: {other}"),
        };
        let request = Request::get(url).header("accept", "application/json").map_err(failed)?;
        let response = self.fetcher.send(request).await.map_err(failed)?;
        if !response.status.is_success() {
            return Err(format!("{url} answers {}", response.status));
        }
        serde_json::from_slice(&response.body).map_err(|e| format!("{url} answers no JSON: {e}"))
    }

    /// With these keys, and nobody to ask.
    #[cfg(test)]
    pub(super) fn fixed(issuer: &str, set: &Value) -> Self {
        let jwks = Self::new(issuer, Some("http://127.0.0.1:1/")).expect("a client");
        let keys: Keys = SigningKey::read_set(set).expect("a key set").into();
        *jwks.held.write() = Held { keys: Some((keys, Instant::now())), asked: Some(Instant::now()) };
        jwks
    }
}

#[cfg(test)]
#[path = "../../../sid-fetch/tests/ssrf/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    #[test]
    fn only_keys_for_signatures_are_taken() {
        let set = json!({"keys": [
            {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "shared"},
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed"},
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "enc", "use": "enc"},
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ops", "key_ops": ["encrypt"]},
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "alg", "alg": "RS256"},
            {"kty": "OKP", "crv": "X25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "x"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "kid": "half"},
            {"kty": "new-kind", "kid": "new"},
            7,
        ]});
        let keys = SigningKey::read_set(&set).expect("a key set");
        assert_eq!(keys.iter().map(|k| k.id.as_deref()).collect::<Vec<_>>(), [Some("ed")]);
        assert!(SigningKey::read_set(&json!({"keys": {}})).is_none());
        assert!(SigningKey::read_set(&json!([])).is_none());
    }

    /// An issuer that counts how often its keys are asked for.
    async fn counting(set: Value) -> (Arc<Jwks>, Arc<AtomicUsize>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let set = set.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                axum::Json(set)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let router = axum::Router::new()
            .route("/keys", axum::routing::get(answer))
            .route("/.well-known/openid-configuration", axum::routing::get(move || async move { axum::Json(discovery) }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Arc::new(Jwks::new(&url, None).expect("a client")), asked)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_ask_as_one_and_for_unknown_keys_once_a_minute() {
        let (jwks, asked) = counting(json!({"keys": []})).await;
        let first = futures::future::join_all((0..20).map(|_| jwks.keys())).await;
        assert!(first.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::SeqCst), 1, "single flight");
        let keys = jwks.keys().await.expect("keys");
        // Just asked: a token with an odd key does not make the server ask again.
        for _ in 0..10 {
            assert!(jwks.others(&keys).await.is_none());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let later = |jwks: &Jwks, by: Duration| jwks.held.write().asked = Instant::now().checked_sub(by);
        later(&jwks, ASK_AGAIN);
        let found = futures::future::join_all((0..20).map(|_| jwks.others(&keys))).await;
        assert_eq!(asked.load(Ordering::SeqCst), 2, "single flight");
        assert!(found.iter().all(Option::is_some), "all have the new keys");
        // Whoever still has the old ones is given the new ones without asking.
        assert!(jwks.others(&keys).await.is_some());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn old_keys_are_looked_at_again_beside_the_requests() {
        let (jwks, asked) = counting(json!({"keys": []})).await;
        let keys = jwks.keys().await.expect("keys");
        {
            let mut held = jwks.held.write();
            let long_ago = Instant::now().checked_sub(FRESH).expect("the machine is up for longer");
            *held = Held { keys: Some((keys.clone(), long_ago)), asked: Some(long_ago) };
        }
        assert!(Arc::ptr_eq(&jwks.keys().await.expect("keys"), &keys), "nobody waits");
        for _ in 0..100 {
            if asked.load(Ordering::SeqCst) == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody looked again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_does_not_answer_is_left_alone_for_a_moment() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let jwks = Arc::new(Jwks::new("http://127.0.0.1:1", Some("http://127.0.0.1:1/keys")).expect("a client"));
        assert!(jwks.keys().await.is_err());
        let again = jwks.keys().await.expect_err("no keys");
        assert!(again.contains("a moment ago"), "{again}");
        tokio::time::advance(AFTER_FAILURE).await;
        assert!(!jwks.keys().await.expect_err("no keys").contains("a moment ago"), "asked again");
    }

    /// Asks an issuer on 127.0.0.9 for keys, whose document says that they are at `url`.
    async fn led_to(url: String, policy: Policy) -> Result<Keys, String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.9:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let document = json!({"issuer": issuer, "jwks_uri": url});
        let answer = move || async move { axum::Json(document) };
        let router = axum::Router::new().route("/.well-known/openid-configuration", axum::routing::get(answer));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut all = Jwks::policy(&issuer, None);
        all.ports.extend(policy.ports);
        all.open.extend(policy.open);
        let jwks = Jwks::with(&issuer, None, all, Arc::new(super::corpus::LyingResolver::default())).expect("a client");
        let keys = Arc::new(jwks).keys().await;
        server.abort();
        keys
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_document_leads_nowhere_inside() {
        use super::corpus::{Class, Ground};
        let ground = Ground::lay().await;
        for (_, url) in ground.urls() {
            assert!(led_to(url.clone(), ground.guarded()).await.is_err(), "{url}");
        }
        assert_eq!(ground.seen(), 0, "connections to the canaries");
        // The listeners work: with the guard off, the same document leads to them.
        let (_, url) = ground.urls().into_iter().find(|(class, _)| *class == Class::Canary).expect("one of them");
        assert!(led_to(url, ground.open()).await.is_err(), "it says hello, which is no key set");
        assert_eq!(ground.seen(), 1);
    }
}
