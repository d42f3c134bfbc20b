//! The guard of URLs: nothing that it lets through is inside, by a reckoning that shares no code with the guard's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sid_fetch::{Policy, Reach, reach};

/// Whether an IPv4 address is certainly not a host of the internet, by `std`'s reckoning and the numbers of the RFCs.
fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || (a == 192 && b == 0 && c == 0)
        || address == Ipv4Addr::new(168, 63, 129, 16)
}

fn is_inside(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V4(address) => return is_inside_v4(address),
        IpAddr::V6(address) => address,
    };
    let bits = address.to_bits();
    let low = Ipv4Addr::from(bits as u32);
    let high = |shift: u32| Ipv4Addr::from((bits >> shift) as u32);
    let first = (bits >> 112) as u16;
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.to_ipv4().is_some_and(is_inside_v4)
        || (bits >> 32 == 0x64_ff9b << 64 && is_inside_v4(low))
        || (first == 0x2002 && is_inside_v4(high(80)))
        || (bits >> 96 == 0x2001_0000 && (is_inside_v4(high(64)) || is_inside_v4(Ipv4Addr::from(!(bits as u32)))))
        || ((bits >> 32) as u32 & 0xfdff_ffff == 0x5efe && is_inside_v4(low))
        || first & 0xffc0 == 0xfec0
        || bits >> 96 == 0x2001_0db8
}

pub(crate) fn check(data: &[u8]) {
    // The bytes as addresses.
    for bytes in data.chunks_exact(16) {
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("sixteen"));
        let four = Ipv4Addr::from(address.to_bits() as u32);
        assert!(reach(address.into()) != Reach::Public || !is_inside(address.into()), "{address} is not of the internet");
        assert!(reach(four.into()) != Reach::Public || !is_inside_v4(four), "{four} is not of the internet");
        assert_eq!(reach(four.to_ipv6_mapped().into()), reach(four.into()), "{four} is the same, mapped");
    }
    // The bytes as a URL.
    let text = String::from_utf8_lossy(data);
    let policy = Policy::default();
    let Ok(target) = policy.target(&text) else { return };
    let url = target.url();
    assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none(), "{url}");
    assert!(matches!(url.port_or_known_default(), Some(80 | 443)), "{url}");
    let host = url.host_str().expect("a host");
    assert!(!host.is_empty(), "{url}");
    // As the connector reads it: an address is never looked up, and so must have been judged.
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches([']', '.']).parse::<IpAddr>() {
        assert!(!is_inside(address), "{url} is let through");
    }
    // What was let through says the same when it is read again: there are not two meanings of one text.
    let again = policy.target(url.as_str()).expect("a URL that was let through is let through again");
    assert_eq!(again.url(), url);
}
