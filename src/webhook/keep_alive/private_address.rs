//! Addresses that a destination on the Internet can't have: whoever may choose a webhook's URL must not reach this
//! host, its network or its cloud's metadata through us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// IPv4 networks that are not the Internet: address and length of the prefix (IANA's special-purpose registry,
/// RFC 6890), and Azure's own service, which has a public address.
const V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carriers' NAT; metadata at Alibaba
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's wire server
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, and the metadata of most clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocols; metadata at Oracle
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, and broadcast
];

/// The one part of IPv6 that is the Internet (RFC 4291 §2.4); all else is not.
const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Within it, networks that are not.
const V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocols, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which leads to an IPv4 address
];
/// NAT64's well-known prefix (RFC 6052): the last 32 bits are an IPv4 address.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether it is anything but an address on the Internet.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => V4.iter().any(|(network, length)| within_v4(address, *network, *length)),
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                return is_private(mapped.into());
            }
            if within_v6(address, NAT64) {
                let [.., a, b, c, d] = address.octets();
                return is_private(Ipv4Addr::new(a, b, c, d).into());
            }
            !within_v6(address, GLOBAL) || V6.iter().any(|network| within_v6(address, *network))
        }
    }
}

/// An address that no host has (documentation, RFC 5737). If even this one can be bound, the system allows any
/// address (`net.ipv4.ip_nonlocal_bind`), and binding proves nothing.
const NOBODYS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254));
/// The same of IPv6 (RFC 3849).
const NOBODYS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe));

/// Whether it is one of this host's own addresses, which may be public: a host can bind only its own addresses. An
/// address that a router in front of this host translates into one of them is not recognised.
pub fn is_own(address: IpAddr) -> bool {
    let can_bind = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    let address = address.to_canonical();
    can_bind(address) && !can_bind(if address.is_ipv4() { NOBODYS } else { NOBODYS_V6 })
}

fn within_v4(address: Ipv4Addr, network: Ipv4Addr, length: u32) -> bool {
    let beyond = 32_u32.saturating_sub(length);
    (address.to_bits() ^ network.to_bits()).checked_shr(beyond).unwrap_or(0) == 0
}

fn within_v6(address: Ipv6Addr, (network, length): (Ipv6Addr, u32)) -> bool {
    let beyond = 128_u32.saturating_sub(length);
    (address.to_bits() ^ network.to_bits()).checked_shr(beyond).unwrap_or(0) == 0
}

/// Whether an address lies within `network/length`, as `NO_PROXY` writes it.
pub(super) fn within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => within_v4(address, network, length),
        (IpAddr::V6(address), IpAddr::V6(network)) => within_v6(address, (network, length)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_internet_is_private_in_every_form() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1.1.1.1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "192.0.2.1",
            "192.88.99.1",
            "198.51.100.1",
            "203.0.113.9",
            "::ffff:100.64.0.1",
            "::ffff:0.0.0.0",
            "64:ff9b::127.0.0.1",
            "5f00::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_internet_is_not() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_addresses_of_this_host_are_its_own() {
        for address in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"] {
            assert!(is_own(address.parse().unwrap()), "{address}");
        }
        for address in
            ["198.51.100.7", "203.0.113.9", "203.0.113.254", "8.8.8.8", "2001:db8::77", "2001:db8::fe"]
        {
            assert!(!is_own(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_network_of_length_0_holds_everything() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(within(address("1.2.3.4"), address("0.0.0.0"), 0));
        assert!(within(address("::1"), address("::"), 0));
        assert!(!within(address("::1"), address("0.0.0.0"), 0));
        assert!(
            within(address("10.1.2.3"), address("10.0.0.0"), 8)
                && !within(address("11.1.2.3"), address("10.0.0.0"), 8)
        );
    }
}
