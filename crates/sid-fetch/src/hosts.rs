//! Hosts and networks as people write them.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host: expected a name such as `api.example.com`, `*.example.com`, an address or a network, each with `:port` or `:*` if need be"
)]
pub struct BadPattern(String);

/// The hosts that one pattern means: `api.example.com`, `*.example.com` (all below it, not itself), or an address.
///
/// Shape: compared in the form that a parsed URL has: lower case, punycode, without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// Without `*.`.
    name: String,
    is_suffix: bool,
}

impl HostPattern {
    /// Whether it means this host, as [`url::Url::host_str`] writes it.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = plain(host);
        if self.is_suffix {
            host.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.name
        }
    }
}

impl FromStr for HostPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern(text.to_owned());
        let (name, is_suffix) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let bracketed = if name.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{name}]") } else { name.to_owned() };
        let host = url::Host::parse(&bracketed).map_err(|_| bad())?;
        match &host {
            url::Host::Domain(domain) if plain(domain).is_empty() || domain.contains(['*', ':']) => Err(bad()),
            url::Host::Ipv4(_) | url::Host::Ipv6(_) if is_suffix => Err(bad()),
            _ => Ok(Self { name: plain(&host.to_string()).to_owned(), is_suffix }),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_suffix { write!(f, "*.{}", self.name) } else { f.write_str(&self.name) }
    }
}

/// A host without the dot that ends a full name.
pub(crate) fn plain(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// Those of the policy.
    Usual,
    One(u16),
    All,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Host(HostPattern),
    Network(IpNet),
}

/// What an operator opens inside the network: a host by name, or a network, with the ports of the policy, one port, or all.
///
/// Shape: `ollama.internal`, `*.corp.example:8443`, `10.1.0.0/16`, `192.168.1.5:11434`, `[::1]:8080`, `127.0.0.1:*`.
/// A name that is opened may have any inside address; a network is open under every name. A port beside a network counts for addresses
/// that stand in the URL, not for names: a name with a port of its own is opened by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    place: Place,
    ports: Ports,
}

impl Opening {
    /// Whether an inside `address` of `host` (a name, unless the URL has an address) is open.
    pub(crate) fn admits(&self, host: Option<&str>, address: IpAddr) -> bool {
        match &self.place {
            Place::Host(pattern) => host.is_some_and(|host| pattern.matches(host)),
            Place::Network(network) => network.contains(&address.to_canonical()),
        }
    }

    /// Whether it opens `port` there.
    pub(crate) fn opens_port(&self, host: &url::Host<&str>, port: u16) -> bool {
        let is_open = match self.ports {
            Ports::Usual => false,
            Ports::One(one) => one == port,
            Ports::All => true,
        };
        is_open
            && match (&self.place, host) {
                (Place::Host(pattern), url::Host::Domain(name)) => pattern.matches(name),
                (Place::Network(network), url::Host::Ipv4(address)) => network.contains(&IpAddr::V4(*address)),
                (Place::Network(network), url::Host::Ipv6(address)) => network.contains(&IpAddr::V6(*address).to_canonical()),
                _ => false,
            }
    }
}

impl FromStr for Opening {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern(text.to_owned());
        // An IPv6 address without brackets has colons, and no port.
        let (place, ports) = match text.rsplit_once(':') {
            Some((place, "*")) => (place, Ports::All),
            Some((place, port)) if !place.contains(':') || place.ends_with(']') || place.contains('/') => {
                (place, Ports::One(port.parse().map_err(|_| bad())?))
            }
            _ => (text, Ports::Usual),
        };
        let bare = place.strip_prefix('[').and_then(|p| p.strip_suffix(']')).unwrap_or(place);
        let place = if let Ok(network) = bare.parse::<IpNet>() {
            Place::Network(network.trunc())
        } else if let Ok(address) = bare.parse::<IpAddr>() {
            Place::Network(address.to_canonical().into())
        } else {
            Place::Host(place.parse().map_err(|_| bad())?)
        };
        Ok(Self { place, ports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_hosts_as_a_parsed_url_writes_them() {
        for (pattern, host, expected) in [
            ("api.example.com", "api.example.com", true),
            ("API.Example.com", "api.example.com.", true),
            ("api.example.com", "api.example.com.evil.test", false),
            ("api.example.com", "xapi.example.com", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "evilexample.com", false),
            ("*.example.com", ".example.com", false),
            ("bücher.example", "xn--bcher-kva.example", true),
            ("127.1", "127.0.0.1", true),
            ("::1", "[::1]", true),
            ("[::1]", "[::1]", true),
        ] {
            assert_eq!(pattern.parse::<HostPattern>().expect(pattern).matches(host), expected, "{pattern} {host}");
        }
        for wrong in ["", "*", "*.", ".", "a b", "http://x", "x/y", "*.127.0.0.1", "a:1"] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn openings_are_read_with_and_without_ports() {
        let admits = |opening: &str, host: Option<&str>, address: &str| {
            opening.parse::<Opening>().expect(opening).admits(host, address.parse().expect("an address"))
        };
        assert!(admits("10.1.0.0/16", None, "10.1.2.3") && !admits("10.1.0.0/16", None, "10.2.0.0"));
        assert!(admits("10.1.0.0/16", Some("any.example"), "::ffff:10.1.2.3"));
        assert!(admits("[::1]:8080", None, "::1") && admits("::1", None, "::1") && admits("fd00::/8:443", None, "fd12::1"));
        assert!(admits("localhost:11434", Some("localhost"), "127.0.0.1") && !admits("localhost:11434", Some("other"), "127.0.0.1"));
        let opens = |opening: &str, url: &str| {
            let url = url::Url::parse(url).expect(url);
            opening
                .parse::<Opening>()
                .expect(opening)
                .opens_port(&url.host().expect("a host"), url.port_or_known_default().expect("a port"))
        };
        assert!(opens("localhost:11434", "http://localhost:11434") && !opens("localhost:11434", "http://localhost:22"));
        assert!(
            opens("127.0.0.1:*", "http://127.0.0.1:5")
                && opens("127.0.0.0/8:9", "http://127.9.9.9:9")
                && opens("[::1]:9", "http://[::1]:9")
        );
        assert!(!opens("10.0.0.0/8", "http://10.0.0.1:9") && !opens("10.0.0.0/8:9", "http://name.example:9"));
        for wrong in ["", ":80", "host:port", "host:70000", "10.0.0.0/40", "[::1", "a b:1"] {
            assert!(wrong.parse::<Opening>().is_err(), "{wrong}");
        }
    }
}
