//! The corpus of URLs that lead inside, through the client itself.

mod corpus;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use corpus::{Class, Ground, LyingResolver};
use sid_fetch::{FetchError, Fetcher, Method, Request};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_corpus_gets_inside() {
    let ground = Ground::lay().await;
    let fetcher = ground.fetcher(ground.guarded());
    let urls = ground.urls();
    assert!(urls.len() >= 60, "{}", urls.len());
    for (_, url) in &urls {
        for method in [Method::GET, Method::POST] {
            let request = Request::new(method.clone(), url).json(b"{}".to_vec());
            match fetcher.send(request).await {
                Err(FetchError::Refused(_) | FetchError::BadUrl { .. }) => {}
                other => panic!("{method} {url}: {other:?}"),
            }
        }
    }
    assert_eq!(ground.seen(), 0, "connections to the canaries");
    assert!(ground.served() >= 12, "the redirecting server was asked, so redirects were looked at: {}", ground.served());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_guard_off_each_url_for_the_canary_reaches_it() {
    let ground = Ground::lay().await;
    let fetcher = ground.fetcher(ground.open());
    let mut reached = 0;
    for (class, url) in ground.urls() {
        match class {
            Class::Canary => {
                let before = ground.seen();
                // TLS with a listener that speaks none fails, after it has connected.
                let _ = fetcher.send(Request::get(&url)).await;
                assert!(ground.seen() > before, "{url} never came to the canary: the corpus or the listeners are wrong");
                reached += 1;
            }
            Class::Never => {
                let error = fetcher.send(Request::get(&url)).await.expect_err(&url);
                assert!(matches!(error, FetchError::Refused(_) | FetchError::BadUrl { .. }), "{url}: {error:?}");
            }
            Class::Other => assert!(ground.open().target(&url).is_ok(), "{url} is open, though nobody is there"),
        }
    }
    assert!(reached >= 40, "{reached}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_host_of_the_corpus_is_given_an_address() {
    let ground = Ground::lay().await;
    let fetcher = ground.fetcher(ground.guarded());
    let open = ground.fetcher(ground.open());
    let mut opened = 0;
    for (class, url) in ground.urls() {
        let Ok(url) = sid_fetch::Url::parse(&url) else { continue };
        let Some(host) =
            url.host_str().filter(|host| !host.starts_with("127.0.0.9") && *host != "outside.test" && *host != "rebinding.test")
        else {
            continue;
        };
        assert!(fetcher.addresses(host, 25, &[25]).await.is_err(), "{url}");
        opened += usize::from(class == Class::Canary && open.addresses(host, 25, &[25]).await.is_ok());
    }
    assert!(opened >= 10, "with the guard off: {opened}");
    assert!(open.addresses("127.0.0.1", 22, &[25]).await.is_ok() && fetcher.addresses("outside.test", 22, &[25]).await.is_err(), "ports");
    assert_eq!(fetcher.addresses("outside.test", 25, &[25]).await.expect("open"), ["127.0.0.9:25".parse().expect("an address")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_between_look_ups_gains_nothing() {
    let ground = Ground::lay().await;
    let resolver = Arc::new(LyingResolver::default());
    let fetcher = Fetcher::with_resolver(ground.guarded(), resolver.clone()).expect("a client");
    let url = format!("http://rebinding.test:{}/", ground.front);
    assert_eq!(fetcher.send(Request::get(&url)).await.expect("the first answer is good").text(), "hello");
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1, "looked up once, and connected to what was checked");
    // From now on the name leads inside, where somebody listens on the canary's port.
    let url = format!("http://rebinding.test:{}/", ground.port);
    assert!(matches!(fetcher.send(Request::get(&url)).await, Err(FetchError::Refused(_))));
    assert_eq!((resolver.asked.load(Ordering::SeqCst), ground.seen()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_tell_nothing_about_the_network() {
    let ground = Ground::lay().await;
    let fetcher = ground.fetcher(ground.guarded());
    let said = |host: &'static str| {
        let (fetcher, url) = (fetcher.clone(), format!("http://{host}:{}/", ground.port));
        async move { fetcher.send(Request::get(url)).await.expect_err("refused").to_string().replace(host, "HOST") }
    };
    let unknown = said("nowhere.test").await;
    for host in ["inside.test", "inside6.test", "mixed.test", "metadata.test", "zero.test", "nat64.test"] {
        assert_eq!(said(host).await, unknown, "{host} is told apart from a name that does not exist");
    }
    // A port where nobody listens, on a host that may be called: the error has the name, never the address.
    let closed = tokio::net::TcpListener::bind("127.0.0.9:0").await.expect("a port").local_addr().expect("an address").port();
    let policy = sid_fetch::Policy { ports: vec![closed], timeout: Duration::from_secs(5), ..ground.guarded() };
    let error = ground.fetcher(policy).send(Request::get(format!("http://outside.test:{closed}/"))).await.expect_err("nobody is there");
    assert!(matches!(error, FetchError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("outside.test") && !error.to_string().contains("127.0"), "{error}");
}
