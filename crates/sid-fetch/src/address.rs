//! What an IP address reaches, decided on numbers.
//!
//! Source: the IANA special-purpose address registries for IPv4 (RFC 6890 and later) and IPv6, and IANA's IPv6 unicast allocation
//! (`2000::/3`). `std`'s `is_global` is unstable, and the ports of it to stable Rust are unmaintained; none of them looks into
//! transition forms, which is where guards are usually passed by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// What an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// A host on the internet.
    Public,
    /// This machine, its network, or what is set apart for some special use. Only an operator can open it.
    Inside,
    /// A cloud's metadata service or what stands for it: hands out credentials to whoever asks. Nobody can open it.
    Metadata,
    /// No host at all: unspecified, multicast, broadcast, reserved. Nobody can open it.
    Nothing,
}

/// Where clouds answer their machines with credentials.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // AWS, Azure, Google, DigitalOcean, OpenStack, Oracle
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS task credentials
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS pod identity
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle, classic
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's wire server: public by its number, inside by its place
];
const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),      // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),       // AWS EKS pod identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),       // Google
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // Oracle
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 that leads to no host.
const NOTHING_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 0, 8),   // this network; 0.0.0.0 reaches this machine on Linux
    v4(224, 0, 0, 0, 4), // multicast
    v4(240, 0, 0, 0, 4), // reserved, and broadcast
];

/// IPv4 that is not of the internet.
const INSIDE_V4: &[Ipv4Net] = &[
    v4(10, 0, 0, 0, 8),      // private use
    v4(100, 64, 0, 0, 10),   // shared (carriers; many clouds and overlays)
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link local
    v4(172, 16, 0, 0, 12),   // private use
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 31, 196, 0, 24), // AS112: every network's own
    v4(192, 52, 193, 0, 24), // AMT
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private use
    v4(192, 175, 48, 0, 24), // AS112
    v4(198, 18, 0, 0, 15),   // benchmarks
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
];

/// The IPv6 that is allocated to hosts of the internet; all else is inside or nothing.
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
/// What is set apart in there.
const INSIDE_V6: &[Ipv6Net] = &[
    v6(0x2001, 0, 0, 23),         // protocol assignments: Teredo, benchmarks, ORCHID, and what may come
    v6(0x2001, 0xdb8, 0, 32),     // documentation
    v6(0x2002, 0, 0, 16),         // 6to4
    v6(0x2620, 0x4f, 0x8000, 48), // AS112
    v6(0x3fff, 0, 0, 20),         // documentation
    v6(0x3ffe, 0, 0, 16),         // the 6bone, gone
];
/// RFC 6052: IPv4 behind a translator, as DNS64 makes them on networks without IPv4.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const MULTICAST_V6: Ipv6Net = v6(0xff00, 0, 0, 8);

/// What `address` reaches, in whatever form it is written.
///
/// IPv4 inside IPv6 (mapped, NAT64) reaches what the IPv4 address reaches. Older wrappings (compatible, translated, 6to4, Teredo, ISATAP)
/// are never [`Reach::Public`]: they lead through machines that nobody here knows.
///
/// ```
/// use sid_fetch::{Reach, reach};
/// assert_eq!(reach("93.184.215.14".parse().unwrap()), Reach::Public);
/// assert_eq!(reach("127.0.0.1".parse().unwrap()), Reach::Inside);
/// assert_eq!(reach("::ffff:169.254.169.254".parse().unwrap()), Reach::Metadata);
/// ```
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    match address.to_canonical() {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    if METADATA_V4.contains(&address) {
        Reach::Metadata
    } else if NOTHING_V4.iter().any(|net| net.contains(&address)) {
        Reach::Nothing
    } else if INSIDE_V4.iter().any(|net| net.contains(&address)) {
        Reach::Inside
    } else {
        Reach::Public
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if METADATA_V6.contains(&address) {
        return Reach::Metadata;
    }
    if address.is_unspecified() || MULTICAST_V6.contains(&address) {
        return Reach::Nothing;
    }
    if address.is_loopback() {
        return Reach::Inside;
    }
    if NAT64.contains(&address) {
        return reach_v4(last_four(address));
    }
    if wrapped(address).into_iter().flatten().any(|inner| reach_v4(inner) == Reach::Metadata) {
        return Reach::Metadata;
    }
    let is_isatap = matches!(address.segments(), [.., 0 | 0x200, 0x5efe, _, _]);
    if PUBLIC_V6.contains(&address) && !is_isatap && !INSIDE_V6.iter().any(|net| net.contains(&address)) {
        Reach::Public
    } else {
        Reach::Inside
    }
}

/// IPv4 addresses that an old wrapping carries; Teredo carries two.
fn wrapped(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let quad = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Compatible (RFC 4291), translated (RFC 2765), local NAT64 (RFC 8215), ISATAP (RFC 5214).
        [0, 0, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, 1, ..] | [.., 0 | 0x200, 0x5efe, _, _] => {
            [Some(last_four(address)), None]
        }
        [0x2002, high, low, ..] => [Some(quad(high, low)), None],
        [0x2001, 0, server_high, server_low, _, _, client_high, client_low] => {
            [Some(quad(server_high, server_low)), Some(quad(!client_high, !client_low))]
        }
        _ => [None, None],
    }
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: Reach, addresses: &[&str]) {
        for text in addresses {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(reach(address), expected, "{text}");
        }
    }

    #[test]
    fn hosts_of_the_internet_are_public() {
        check(
            Reach::Public,
            &["1.1.1.1", "93.184.215.14", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"],
        );
        check(Reach::Public, &["128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255"]);
        check(Reach::Public, &["192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "192.0.1.1", "2606:4700:4700::1111"]);
        check(Reach::Public, &["2a00:1450:4001:82a::200e", "2001:4860:4860::8888", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2001:200::1"]);
    }

    #[test]
    fn the_edges_of_every_network_that_is_set_apart_are_inside() {
        for net in INSIDE_V4.iter().chain(NOTHING_V4) {
            for edge in [net.network(), net.broadcast()] {
                for form in [IpAddr::V4(edge), IpAddr::V6(edge.to_ipv6_mapped()), nat64(edge)] {
                    assert_ne!(reach(form), Reach::Public, "{form} of {net}");
                }
            }
        }
        for net in INSIDE_V6 {
            for edge in [net.network(), net.broadcast()] {
                assert_ne!(reach(edge.into()), Reach::Public, "{edge} of {net}");
            }
        }
    }

    fn nat64(address: Ipv4Addr) -> IpAddr {
        let [a, b, c, d] = address.octets().map(u16::from);
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, (a << 8) | b, (c << 8) | d).into()
    }

    #[test]
    fn forms_of_inside_addresses_are_inside() {
        check(Reach::Inside, &["127.0.0.1", "127.255.255.255", "10.0.0.1", "192.168.1.1", "172.31.255.255", "169.254.1.1", "100.64.0.1"]);
        check(Reach::Inside, &["::1", "fe80::1", "fec0::1", "fc00::1", "fdff::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1"]);
        check(Reach::Inside, &["64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1.1.1.1", "2002:7f00:1::", "2002:101:101::1"]);
        check(
            Reach::Inside,
            &["2001:0:4136:e378:8000:63bf:3fff:fdd2", "::ffff:0:7f00:1", "2606:4700::5efe:10.0.0.1", "100::1", "5f00::1", "4000::1"],
        );
    }

    #[test]
    fn metadata_is_known_in_every_form() {
        check(
            Reach::Metadata,
            &["169.254.169.254", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"],
        );
        check(
            Reach::Metadata,
            &["::a9fe:a9fe", "::ffff:0:a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16"],
        );
        // Teredo: the client's address is stored inverted.
        check(Reach::Metadata, &["2001:0:a9fe:a9fe::1", "2001:0:101:101:0:0:5601:5601", "100.100.100.200", "fe80::5efe:a9fe:a9fe"]);
    }

    #[test]
    fn what_is_no_host_is_nothing() {
        check(
            Reach::Nothing,
            &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "ff02::1"],
        );
    }
}
