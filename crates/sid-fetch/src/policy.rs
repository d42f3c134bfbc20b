//! What may be fetched, and how much of it.

use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use crate::hosts::plain;
use crate::{FetchError, Opening, Reach, Refusal, reach};

/// Longer URLs are refused unread, in bytes.
const LONGEST_URL: usize = 8_192;

/// Names of metadata services. Their addresses are refused as well; the names help where an operator's resolver answers with another.
const METADATA_NAMES: &[&str] = &["metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal"];

/// What a [`crate::Fetcher`] may do.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether http is refused. Default: no. Since 0.1.
    pub https_only: bool,
    /// Ports of all hosts that may be called. Default: 80 and 443. Since 0.1.
    pub ports: Vec<u16>,
    /// What an operator opens inside the network. Default: nothing. Since 0.1.
    pub open: Vec<Opening>,
    /// Redirects that are followed. Default: 3. Since 0.1.
    pub max_redirects: usize,
    /// Bytes of an answer's body, after decompression. Default: 5,000,000. Since 0.1.
    pub max_body_bytes: usize,
    /// For one request with all its redirects and the whole body. Default: 10 s. Since 0.1.
    pub timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            https_only: false,
            ports: vec![80, 443],
            open: Vec::new(),
            max_redirects: 3,
            max_body_bytes: 5_000_000,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A URL that a policy has let through as far as can be said without looking names up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// The URL, as it was parsed, once.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    pub(crate) fn into_url(self) -> Url {
        self.0
    }
}

impl Policy {
    /// Parses and checks: scheme, user name, port, host, and the address if the URL has one. Looks nothing up.
    ///
    /// Errors: [`FetchError::BadUrl`], [`FetchError::Refused`].
    pub fn target(&self, url: &str) -> Result<Target, FetchError> {
        if url.len() > LONGEST_URL {
            return Err(too_long());
        }
        let url = Url::parse(url).map_err(|e| FetchError::BadUrl { problem: e.to_string() })?;
        self.check(url)
    }

    /// As [`Policy::target`], for a URL that is parsed already.
    ///
    /// Errors: [`FetchError::BadUrl`], [`FetchError::Refused`].
    pub fn check(&self, mut url: Url) -> Result<Target, FetchError> {
        if url.as_str().len() > LONGEST_URL {
            return Err(too_long());
        }
        let allowed = if self.https_only { "https" } else { "http or https" };
        if url.scheme() != "https" && (self.https_only || url.scheme() != "http") {
            return Err(Refusal::Scheme(url.scheme().to_owned(), allowed).into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Userinfo.into());
        }
        let no_host = || FetchError::BadUrl { problem: "it has no host".into() };
        let host = url.host().ok_or_else(no_host)?;
        let port = url.port_or_known_default().ok_or_else(no_host)?;
        // Port 0 is no port, and means "whichever the resolver says" to some clients.
        if port == 0 || !(self.ports.contains(&port) || self.open.iter().any(|o| o.opens_port(&host, port))) {
            return Err(Refusal::Port(port).into());
        }
        match host {
            Host::Ipv4(address) => self.check_address(None, &address.to_string(), address.into())?,
            Host::Ipv6(address) => self.check_address(None, &format!("[{address}]"), address.into())?,
            Host::Domain(name) => {
                let name = plain(name);
                if name.is_empty() {
                    return Err(no_host());
                }
                if METADATA_NAMES.contains(&name) {
                    return Err(Refusal::Metadata(name.to_owned()).into());
                }
            }
        }
        url.set_fragment(None);
        Ok(Target(url))
    }

    /// Whether an address may be connected to: one that stands in the URL (`name` is none), or one of `name`'s.
    fn check_address(&self, name: Option<&str>, shown: &str, address: IpAddr) -> Result<(), Refusal> {
        match reach(address) {
            Reach::Public => Ok(()),
            Reach::Inside if self.open.iter().any(|o| o.admits(name, address)) => Ok(()),
            // A name's owner is not told that it leads to a metadata service here.
            Reach::Metadata if name.is_none() => Err(Refusal::Metadata(shown.to_owned())),
            Reach::Inside | Reach::Metadata | Reach::Nothing => {
                Err(Refusal::NoPublicAddress { host: shown.to_owned(), is_unresolved: false })
            }
        }
    }

    /// Whether all that `name` was looked up to may be connected to. One bad address spoils the rest: whoever mixes them means harm.
    pub(crate) fn check_answer(&self, name: &str, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let nothing = || Refusal::NoPublicAddress { host: name.to_owned(), is_unresolved: false };
        if addresses.is_empty() {
            return Err(nothing());
        }
        for address in addresses {
            self.check_address(Some(name), name, *address).inspect_err(|_| {
                // For the operator, who may wonder; whoever named the host is not told.
                tracing::warn!(host = name, %address, reach = ?reach(*address), "a fetch is refused: the host has an address that is not open");
            })?;
        }
        Ok(())
    }
}

fn too_long() -> FetchError {
    FetchError::BadUrl { problem: format!("it is longer than {LONGEST_URL} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(policy: &Policy, url: &str) -> Refusal {
        match policy.target(url) {
            Err(FetchError::Refused(refusal)) => refusal,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn refusals_say_what_and_what_to_do() {
        let policy = Policy::default();
        for (url, says) in [
            ("ftp://example.com/", "scheme `ftp` is refused: use http or https"),
            ("http://u@example.com/", "send credentials in a header"),
            ("http://:pw@example.com/", "send credentials in a header"),
            ("http://example.com:22/", "port 22 is refused: use 80 or 443, or ask an operator"),
            ("http://127.1/", "host `127.0.0.1` is refused: it has no address on the internet that is open; only an operator"),
            ("http://[::1]/", "host `[::1]` is refused"),
            ("http://0/", "host `0.0.0.0` is refused"),
            ("http://169.254.169.254/latest", "it is a metadata service, which nobody can open"),
            ("http://METADATA.google.internal./", "host `metadata.google.internal` is refused: it is a metadata service"),
        ] {
            let text = refused(&policy, url).to_string();
            assert!(text.contains(says), "{url}: {text}");
        }
        let strict = Policy { https_only: true, ..Policy::default() };
        assert_eq!(refused(&strict, "http://example.com/").to_string(), "scheme `http` is refused: use https");
    }

    #[test]
    fn metadata_and_addresses_that_are_none_stay_closed_whatever_is_open() {
        let open = ["0.0.0.0/0:*", "::/0:*", "*.internal:*", "metadata:*"].map(|o| o.parse().expect(o));
        let policy = Policy { open: open.into(), ..Policy::default() };
        assert!(policy.target("http://127.0.0.1:8700/").is_ok(), "inside is open here");
        for url in ["http://169.254.169.254/", "http://[::ffff:a9fe:a9fe]/", "http://[fd00:ec2::254]:8080/", "http://168.63.129.16/"] {
            assert!(matches!(refused(&policy, url), Refusal::Metadata(_)), "{url}");
        }
        for url in ["http://metadata.google.internal/", "http://metadata/"] {
            assert!(matches!(refused(&policy, url), Refusal::Metadata(_)), "{url}");
        }
        for url in ["http://0.0.0.0/", "http://[::]/", "http://255.255.255.255/", "http://[ff02::1]/"] {
            assert!(matches!(refused(&policy, url), Refusal::NoPublicAddress { .. }), "{url}");
        }
        let found = policy.check_answer("x.internal", &["169.254.169.254".parse().expect("an address")]);
        assert_eq!(found, Err(Refusal::NoPublicAddress { host: "x.internal".into(), is_unresolved: false }));
    }

    #[test]
    fn the_words_for_inside_and_for_unknown_names_are_the_same() {
        let inside = Refusal::NoPublicAddress { host: "a.example".into(), is_unresolved: false };
        let unknown = Refusal::NoPublicAddress { host: "a.example".into(), is_unresolved: true };
        assert_eq!(inside.to_string(), unknown.to_string());
        assert!(FetchError::from(unknown).is_transient() && !FetchError::from(inside).is_transient());
    }

    #[test]
    fn one_bad_address_spoils_the_answer() {
        let policy = Policy::default();
        let answer = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().expect("an address")).collect();
            policy.check_answer("a.example", &addresses).is_ok()
        };
        assert!(answer(&["93.184.215.14", "2606:4700::1111"]));
        assert!(!answer(&["93.184.215.14", "10.0.0.1"]) && !answer(&["::1", "93.184.215.14"]) && !answer(&[]));
    }
}
