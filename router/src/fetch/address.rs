//! Who can be reached at an address: everybody on the internet, or only those inside a network.
//!
//! IPv6 is judged by what is allowed: of the whole space only the part that is given out as public addresses, without
//! what has another purpose there. IPv4 is judged by the registry of special-purpose addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far away an address may be used, from the most harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// A host on the internet.
    Public,
    /// A host of a private network, or this machine.
    Private,
    /// No host that a picture could come from: metadata services, link-local, multicast and reserved addresses, and
    /// addresses that stand for another address.
    Never,
}

/// A network: its address, and the number of leading bits that its members share.
type Network<A> = (A, u32);

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u32) -> Network<Ipv4Addr> {
    (Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(start: [u16; 3], bits: u32) -> Network<Ipv6Addr> {
    (Ipv6Addr::new(start[0], start[1], start[2], 0, 0, 0, 0, 0), bits)
}

const NEVER_V4: [Network<Ipv4Addr>; 12] = [
    v4(0, 0, 0, 0, 8),
    // Metadata services of Alibaba and Azure; those of others are link-local.
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    // Link-local, with most metadata services.
    v4(169, 254, 0, 0, 16),
    // Protocol assignments, with Oracle's metadata service.
    v4(192, 0, 0, 0, 24),
    // Documentation.
    v4(192, 0, 2, 0, 24),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    // Relays of 6to4.
    v4(192, 88, 99, 0, 24),
    // Benchmarks.
    v4(198, 18, 0, 0, 15),
    // Multicast; reserved, with broadcast.
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const PRIVATE_V4: [Network<Ipv4Addr>; 5] = [
    v4(10, 0, 0, 0, 8),
    // Behind a carrier's translation.
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
];

/// All public addresses.
const GLOBAL_V6: Network<Ipv6Addr> = v6([0x2000, 0, 0], 3);

/// Parts of [`GLOBAL_V6`] that are none, and metadata services with unique-local addresses.
const NEVER_V6: [Network<Ipv6Addr>; 6] = [
    // Protocol assignments, with Teredo, which hides an IPv4 address.
    v6([0x2001, 0, 0], 23),
    // Documentation.
    v6([0x2001, 0xdb8, 0], 32),
    v6([0x3fff, 0, 0], 20),
    // 6to4, which hides an IPv4 address.
    v6([0x2002, 0, 0], 16),
    // Metadata services of Amazon and Google.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

const PRIVATE_V6: [Network<Ipv6Addr>; 2] = [(Ipv6Addr::LOCALHOST, 128), v6([0xfc00, 0, 0], 7)];

/// Translation of IPv4 for hosts that have only IPv6; the last 32 bits are the IPv4 address.
const TRANSLATED: Network<Ipv6Addr> = v6([0x64, 0xff9b, 0], 96);

/// Judges an address.
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let is_in = |network: &Network<Ipv4Addr>| begins_alike(address.into(), network.0.into(), network.1);
    if NEVER_V4.iter().any(is_in) {
        Reach::Never
    } else if PRIVATE_V4.iter().any(is_in) {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let is_in = |network: &Network<Ipv6Addr>| {
        (address.to_bits() ^ network.0.to_bits()).checked_shr(128 - network.1).unwrap_or(0) == 0
    };
    if is_in(&TRANSLATED) {
        let [.., a, b, c, d] = address.octets();
        return match reach_v4(Ipv4Addr::new(a, b, c, d)) {
            Reach::Public => Reach::Public,
            Reach::Private | Reach::Never => Reach::Never,
        };
    }
    if NEVER_V6.iter().any(is_in) {
        Reach::Never
    } else if PRIVATE_V6.iter().any(is_in) {
        Reach::Private
    } else if is_in(&GLOBAL_V6) {
        Reach::Public
    } else {
        Reach::Never
    }
}

/// Whether the first `bits` of two IPv4 addresses are the same.
fn begins_alike(one: u32, other: u32, bits: u32) -> bool {
    (one ^ other).checked_shr(32 - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: Reach, addresses: &[&str]) {
        for text in addresses {
            assert_eq!(reach(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn hosts_on_the_internet_are_public() {
        check(
            Reach::Public,
            &[
                "1.1.1.1",
                "8.8.8.8",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "168.63.129.17",
                "169.253.255.255",
                "172.15.255.255",
                "172.32.0.0",
                "192.0.1.0",
                "192.167.255.255",
                "192.169.0.0",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
                "2000::1",
                "2001:200::1",
                "2001:4860:4860::8888",
                "2606:4700:4700::1111",
                "2a00:1450:4001::1",
                "3ffe::1",
                "64:ff9b::808:808",
            ],
        );
    }

    #[test]
    fn hosts_of_a_network_and_this_machine_are_private() {
        check(
            Reach::Private,
            &[
                "10.0.0.1",
                "10.255.255.255",
                "100.64.0.1",
                "100.127.255.255",
                "127.0.0.1",
                "127.255.255.254",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.0.1",
                "192.168.255.255",
                "::1",
                "fc00::1",
                "fd12:3456::1",
                "fdff::1",
            ],
        );
    }

    #[test]
    fn whatever_else_there_is_is_never_reached() {
        check(
            Reach::Never,
            &[
                "0.0.0.0",
                "0.1.2.3",
                "100.100.100.200",
                "168.63.129.16",
                "169.254.0.1",
                "169.254.169.254",
                "169.254.170.2",
                "192.0.0.1",
                "192.0.0.192",
                "192.0.2.1",
                "192.88.99.1",
                "198.18.0.1",
                "198.19.255.255",
                "198.51.100.1",
                "203.0.113.1",
                "224.0.0.1",
                "239.255.255.250",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::7f00:1",
                "::8.8.8.8",
                "::ffff:127.0.0.1",
                "::ffff:8.8.8.8",
                "::ffff:0:808:808",
                "64:ff9b::7f00:1",
                "64:ff9b::a9fe:a9fe",
                "64:ff9b::a00:1",
                "64:ff9b:1::808:808",
                "100::1",
                "2001::1",
                "2001:10::1",
                "2001:20::1",
                "2001:db8::1",
                "2002:7f00:1::1",
                "2002:808:808::1",
                "3fff::1",
                "3fff:fff::1",
                "4000::1",
                "5f00::1",
                "fd00:ec2::254",
                "fd20:ce::254",
                "fe80::1",
                "febf::1",
                "fec0::1",
                "ff02::1",
                "ff0e::1",
            ],
        );
    }
}
