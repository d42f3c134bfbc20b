//! A proxy that is trusted to say whom it speaks for: from its address, with its key, in its header; never with fewer of these.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use sid_types::{KeyId, KeyRole};

use super::caller::Identity;
use super::header;
use crate::config::{ConfigError, TrustedProxy};
use crate::error::ApiError;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    /// From `10.0.0.5`, `10.0.0.0/8` or `fd00::/8`; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("expected an address or a range such as 10.0.0.5, 10.0.0.0/8 or fd00::/8, found `{text}`");
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(a, b)| (a, Some(b)));
        let written: IpAddr = address.parse().map_err(|_| bad())?;
        let width = width(written);
        let bits = bits.map_or(Ok(width), |b| b.parse::<u32>()).map_err(|_| bad())?;
        let first = written.to_canonical();
        // A range of v4 addresses that is written in v6.
        let mapped = width - self::width(first);
        if bits > width || bits < mapped {
            return Err(bad());
        }
        Ok(Self { first, bits: bits - mapped })
    }

    /// Whether it has the address. Both are compared as numbers, a v4 address that is written in v6 as v4.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let shift = width(self.first) - self.bits;
        let cut = |ip: IpAddr| number(ip).checked_shr(shift).unwrap_or(0);
        width(address) == width(self.first) && cut(address) == cut(self.first)
    }
}

const fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Whom the proxy says it speaks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) handle: String,
    pub(super) display_name: Option<String>,
}

/// The configured proxy.
pub(super) struct Proxy {
    networks: Vec<Network>,
    key: KeyId,
    user_header: String,
    name_header: Option<String>,
}

impl Proxy {
    /// `None` where none is configured.
    pub(super) fn new(settings: &TrustedProxy) -> Result<Option<Self>, ConfigError> {
        if !settings.is_on() {
            return Ok(None);
        }
        let bad = |field: &str, problem: String| ConfigError::BadValue { key: format!("auth.trusted_proxy.{field}"), problem, place: None };
        let networks = settings.addresses.iter().map(|a| Network::parse(a)).collect::<Result<_, _>>();
        let key = settings.key.as_deref().unwrap_or_default();
        Ok(Some(Self {
            networks: networks.map_err(|problem| bad("addresses", problem))?,
            key: key.parse().map_err(|_| bad("key", format!("expected the id of a tenant key, such as key_…, found `{key}`")))?,
            user_header: settings.user_header.as_deref().unwrap_or_default().to_ascii_lowercase(),
            name_header: settings.name_header.as_deref().map(str::to_ascii_lowercase),
        }))
    }

    /// Whom the request is for, if it comes from the proxy and says so.
    pub(super) fn named(&self, identity: &Identity, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<Option<Named>, ApiError> {
        let is_proxy = identity.key == self.key
            && matches!(identity.role, KeyRole::Tenant { .. })
            && peer.is_some_and(|peer| self.networks.iter().any(|n| n.contains(peer)));
        if !is_proxy {
            return Ok(None);
        }
        let Some(handle) = header(headers, &self.user_header)? else { return Ok(None) };
        let name = self.name_header.as_deref().map(|name| header(headers, name)).transpose()?.flatten();
        Ok(Some(Named { handle: handle.to_owned(), display_name: name.map(percent_decoded) }))
    }
}

/// Names travel percent-encoded where they are more than ASCII. What is no encoding stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, address: &str, expected: bool) {
        let network = Network::parse(network).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(network.contains(address.parse().expect("an address")), expected, "{network:?} {address}");
    }

    #[test]
    fn addresses_are_compared_as_numbers() {
        check("10.0.0.5", "10.0.0.5", true);
        check("10.0.0.5", "10.0.0.50", false);
        check("10.0.0.0/8", "10.255.1.2", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.9.9.9/8", "10.1.1.1", true);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "::1", false);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
        check("::1", "::1", true);
        check("::/0", "2001:db8::1", true);
        check("::/0", "10.0.0.1", false);
    }

    #[test]
    fn v4_in_v6_is_v4() {
        check("10.0.0.5", "::ffff:10.0.0.5", true);
        check("10.0.0.5", "::ffff:a00:5", true);
        check("::ffff:10.0.0.0/104", "10.3.4.5", true);
        check("::ffff:10.0.0.0/104", "::ffff:11.0.0.1", false);
        check("127.0.0.1", "::1", false);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.1/-1", "10.0.0.1/x", "::ffff:10.0.0.0/64", "*"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(percent_decoded("J%C3%BCrgen%20K"), "Jürgen K");
        assert_eq!(percent_decoded("100% sure %zz %2"), "100% sure %zz %2");
        assert_eq!(percent_decoded("%2541"), "%41");
        assert_eq!(percent_decoded("%ff"), "%ff", "no UTF-8 stays as it was");
    }
}
