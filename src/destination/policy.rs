//! Which addresses may be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::network::Networks;

/// Decides about addresses: everything that is not globally reachable unicast is refused, unless
/// the operator's allow list names it.
///
/// The ranges are those of the IANA special-purpose registries
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>), and for IPv6 everything outside
/// of the one block that global unicast addresses are given out from. An IPv4 address that is
/// written as an IPv6 one (`::ffff:10.0.0.1`) is the IPv4 address, here and in the allow list.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Nothing is refused.
    anywhere: bool,
    allowed: Networks,
}

/// An address that the policy let through; the client dials nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedAddress(SocketAddr);

/// An address that must not be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is refused: {reason}")]
pub struct RefusedAddress {
    /// The address, as it would have been dialled.
    pub address: IpAddr,
    /// What it is: "loopback", "private (RFC 1918)", "cloud metadata" …
    pub reason: &'static str,
}

/// What a port is refused for.
const REFUSED_PORT: &str = "its port is below 1024 and neither 80 nor 443";

/// Why an address is refused, which decides what frees it.
#[derive(Clone, Copy)]
enum Refusal {
    /// A cloud's own service: freed by its own name only.
    Metadata,
    /// Its range, in words: freed by every network that holds it.
    Range(&'static str),
}

/// IPv4 that is not globally reachable unicast.
const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "\"this network\" (0.0.0.0/8)"),
    (v4([10, 0, 0, 0], 8), "private (RFC 1918)"),
    (v4([100, 64, 0, 0], 10), "shared by a carrier's customers (RFC 6598)"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private (RFC 1918)"),
    (v4([192, 0, 0, 0], 24), "set aside for protocols (192.0.0.0/24)"),
    (v4([192, 0, 2, 0], 24), "for documentation only"),
    (v4([192, 88, 99, 0], 24), "6to4 relay anycast"),
    (v4([192, 168, 0, 0], 16), "private (RFC 1918)"),
    (v4([198, 18, 0, 0], 15), "for benchmarks only"),
    (v4([198, 51, 100, 0], 24), "for documentation only"),
    (v4([203, 0, 113, 0], 24), "for documentation only"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved (240.0.0.0/4)"),
];

/// Names for what lies outside of [`GLOBAL_V6`], which is refused whole.
const NAMED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an IPv4-compatible address"),
    (NAT64, "an IPv4 address behind NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "an IPv4 address behind NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discarded by routers (100::/64)"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private (RFC 4193)"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// Where global unicast addresses are given out from (RFC 4291, 2.4).
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is refused within [`GLOBAL_V6`]. Some parts of `2001::/23` are globally reachable (anycast
/// services, AS112, DRIP); no webhook receiver lives there, so all of it is refused.
const REFUSED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "a Teredo tunnel"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "set aside for protocols (2001::/23)"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "for documentation only"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "an IPv4 address behind 6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation only"),
];

/// The well-known prefix of NAT64 (RFC 6052): the last 32 bits are an IPv4 address.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Where clouds answer to whoever runs on their machines, often with credentials. A range in the
/// allow list does not free these: only an entry for the address itself (`/32`, `/128`) does.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // AWS, Azure, Google, Oracle, DigitalOcean, Hetzner …
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS task roles
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS pod identity
    Ipv4Addr::new(169, 254, 42, 42),   // Scaleway
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's wire server, outside of every special range
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];

/// As [`METADATA_V4`].
const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS EKS pod identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
];

impl AddressPolicy {
    /// The policy with an operator's allow list (`delivery.allow_networks`).
    ///
    /// The list frees networks from the refusal of their range. It frees no port.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { anywhere: false, allowed: Networks::new(allowed) }
    }

    /// A policy that refuses no address: to read again a URL that was checked when it was
    /// registered, and will be again when it is dialled; and to dial where the person at the
    /// command line says. Never for dialling what a customer or a provider names.
    #[must_use]
    pub fn anywhere() -> Self {
        Self { anywhere: true, allowed: Networks::default() }
    }

    /// Checks an address and port.
    ///
    /// # Errors
    /// It must not be dialled.
    pub fn check(&self, address: SocketAddr) -> Result<CheckedAddress, RefusedAddress> {
        let ip = address.ip().to_canonical();
        self.check_ip(ip)?;
        if !port_allowed(address.port()) {
            return Err(RefusedAddress { address: ip, reason: REFUSED_PORT });
        }
        Ok(CheckedAddress(SocketAddr::new(ip, address.port())))
    }

    /// As [`Self::check`], without a port.
    pub(super) fn check_ip(&self, ip: IpAddr) -> Result<(), RefusedAddress> {
        if self.anywhere {
            return Ok(());
        }
        let ip = ip.to_canonical();
        let (reason, freed) = match refusal(ip) {
            None => return Ok(()),
            Some(Refusal::Metadata) => ("cloud metadata", self.allowed.names(ip)),
            Some(Refusal::Range(reason)) => (reason, self.allowed.contains(ip)),
        };
        if !freed {
            return Err(RefusedAddress { address: ip, reason });
        }
        // An operator whose machines reach IPv4 through NAT64 allows the translation, not
        // everything that it can be made to translate to.
        match ip {
            IpAddr::V6(ip) if NAT64.contains(&ip) => {
                let [.., a, b, c, d] = ip.octets();
                self.check_ip(IpAddr::from([a, b, c, d]))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Ok(()),
        }
    }

    /// Whether a receiver on this machine may be dialled.
    pub(super) fn allows_loopback(&self) -> bool {
        [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]
            .into_iter()
            .any(|ip| self.check_ip(ip).is_ok())
    }
}

impl CheckedAddress {
    /// The address to dial.
    #[must_use]
    pub fn get(self) -> SocketAddr {
        self.0
    }
}

/// 80, 443 and everything from 1024: below are the ports of other protocols (mail, shells, name
/// servers), whose servers may take a request for commands of theirs.
pub(super) const fn port_allowed(port: u16) -> bool {
    matches!(port, 80 | 443 | 1024..)
}

/// Why an address is refused where no allow list says otherwise.
fn refusal(ip: IpAddr) -> Option<Refusal> {
    let range = match ip {
        IpAddr::V4(ip) if METADATA_V4.contains(&ip) => return Some(Refusal::Metadata),
        IpAddr::V6(ip) if METADATA_V6.contains(&ip) => return Some(Refusal::Metadata),
        IpAddr::V4(ip) => REFUSED_V4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, reason)| *reason),
        IpAddr::V6(ip) if GLOBAL_V6.contains(&ip) => {
            REFUSED_V6.iter().find(|(net, _)| net.contains(&ip)).map(|(_, reason)| *reason)
        }
        IpAddr::V6(ip) => {
            let named = NAMED_V6.iter().find(|(net, _)| net.contains(&ip)).map(|(_, reason)| *reason);
            Some(named.unwrap_or("not a global unicast address"))
        }
    };
    range.map(Refusal::Range)
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> AddressPolicy {
        AddressPolicy::new(allowed.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn refused(policy: &AddressPolicy, ip: &str) -> Option<&'static str> {
        let address = SocketAddr::new(ip.parse().unwrap(), 443);
        policy.check(address).err().map(|refused| refused.reason)
    }

    /// The first and the last address of each range, and its neighbours outside.
    #[test]
    fn each_refused_range_ends_where_it_should() {
        for (first, last, before, after) in [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000:ffff::"), Some("2001:200::")),
            ("2001:db8::", "2001:db8:ffff:ffff::", Some("2001:db7:ffff::"), Some("2001:db9::")),
            ("2002::", "2002:ffff:ffff::", Some("2001:ffff::"), Some("2003::")),
            ("3fff::", "3fff:fff:ffff::", Some("3ffe:ffff::"), Some("3fff:1000::")),
            ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3fff:ffff::"), None),
        ] {
            let policy = AddressPolicy::default();
            for inside in [first, last] {
                assert!(refused(&policy, inside).is_some(), "{inside}");
            }
            for outside in [before, after].into_iter().flatten() {
                assert_eq!(refused(&policy, outside), None, "{outside}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_the_address_is() {
        for (ip, reason) in [
            ("127.0.0.1", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:7f00:1", "loopback"),
            ("::127.0.0.1", "an IPv4-compatible address"),
            ("::", "unspecified"),
            ("255.255.255.255", "broadcast"),
            ("169.254.169.254", "cloud metadata"),
            ("::ffff:169.254.169.254", "cloud metadata"),
            ("168.63.129.16", "cloud metadata"),
            ("100.100.100.200", "cloud metadata"),
            ("192.0.0.192", "cloud metadata"),
            ("fd00:ec2::254", "cloud metadata"),
            ("64:ff9b::a9fe:a9fe", "an IPv4 address behind NAT64"),
            ("64:ff9b:1::1", "an IPv4 address behind NAT64"),
            ("2002:a9fe:a9fe::", "an IPv4 address behind 6to4"),
            ("2001::1", "a Teredo tunnel"),
            ("2001:20::1", "set aside for protocols (2001::/23)"),
            ("5f00::1", "not a global unicast address"),
            ("fe80::1", "link-local"),
            ("ff02::1", "multicast"),
            ("fc00::1", "private (RFC 4193)"),
        ] {
            assert_eq!(refused(&AddressPolicy::default(), ip), Some(reason), "{ip}");
        }
        let refused = AddressPolicy::default().check("[::ffff:10.1.2.3]:80".parse().unwrap()).unwrap_err();
        assert_eq!(refused.to_string(), "10.1.2.3 is refused: private (RFC 1918)");
    }

    #[test]
    fn the_allow_list_frees_networks_in_either_spelling() {
        for list in ["127.0.0.0/8", "127.0.0.1/8", "::ffff:127.0.0.0/104"] {
            let policy = policy(&[list]);
            for ip in ["127.0.0.1", "::ffff:127.0.0.1", "127.255.255.255"] {
                assert_eq!(refused(&policy, ip), None, "{ip} by {list}");
            }
            for ip in ["::1", "10.0.0.1", "::127.0.0.1"] {
                assert!(refused(&policy, ip).is_some(), "{ip} by {list}");
            }
        }
        // An IPv6 range that happens to cover the mapped addresses does not free IPv4.
        assert!(refused(&policy(&["::/0"]), "::ffff:127.0.0.1").is_some());
    }

    #[test]
    fn a_metadata_address_is_freed_by_its_own_name_only() {
        for (wide, own, ip) in [
            ("169.254.0.0/16", "169.254.169.254/32", "169.254.169.254"),
            ("0.0.0.0/0", "168.63.129.16/32", "168.63.129.16"),
            ("100.64.0.0/10", "100.100.100.200/32", "100.100.100.200"),
            ("fc00::/7", "fd00:ec2::254/128", "fd00:ec2::254"),
        ] {
            assert_eq!(refused(&policy(&[wide]), ip), Some("cloud metadata"), "{ip} by {wide}");
            assert_eq!(refused(&policy(&[wide, own]), ip), None, "{ip} by {own}");
        }
    }

    #[test]
    fn an_allowed_nat64_does_not_free_what_it_translates_to() {
        let nat64 = policy(&["64:ff9b::/96"]);
        assert_eq!(refused(&nat64, "64:ff9b::808:808"), None);
        assert_eq!(refused(&nat64, "64:ff9b::7f00:1"), Some("loopback"));
        assert_eq!(refused(&nat64, "64:ff9b::a9fe:a9fe"), Some("cloud metadata"));
        assert_eq!(refused(&policy(&["64:ff9b::/96", "10.0.0.0/8"]), "64:ff9b::a00:1"), None);
    }

    #[test]
    fn ports_below_1024_are_refused_even_on_allowed_networks() {
        let policy = policy(&["127.0.0.0/8"]);
        for (port, allowed) in
            [(0, false), (22, false), (79, false), (80, true), (81, false), (442, false), (443, true)]
                .into_iter()
                .chain([(444, false), (1023, false), (1024, true), (65535, true)])
        {
            for ip in ["127.0.0.1", "8.8.8.8"] {
                let address = SocketAddr::new(ip.parse().unwrap(), port);
                assert_eq!(policy.check(address).is_ok(), allowed, "{address}");
            }
        }
    }

    #[test]
    fn a_mapped_address_is_dialled_as_what_it_is() {
        let checked = AddressPolicy::default().check("[::ffff:8.8.8.8]:443".parse().unwrap()).unwrap();
        assert_eq!(checked.get(), "8.8.8.8:443".parse().unwrap());
    }
}
