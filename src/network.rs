//! Networks: which addresses an operator means.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Ranges of addresses. An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`) is the
/// IPv4 address, in the ranges and in what is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// These ranges.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().map(unmapped).collect())
    }

    /// Whether one of the ranges holds the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether one of the ranges is this address and no other.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> bool {
        self.0.contains(&IpNet::from(address.to_canonical()))
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn unmapped(network: IpNet) -> IpNet {
    match (network.network().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(v4), Some(prefix)) if network.addr().is_ipv6() => {
            Ipv4Net::new(v4, prefix).map_or(network, IpNet::from)
        }
        _ => network.trunc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn an_address_is_the_same_in_either_spelling() {
        let networks = networks(&["10.1.2.3/8", "::ffff:192.0.2.0/120", "2001:db8::/32"]);
        for inside in [
            "10.0.0.0",
            "10.255.255.255",
            "::ffff:10.0.0.1",
            "192.0.2.255",
            "::ffff:192.0.2.1",
            "2001:db8::1",
        ] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["9.255.255.255", "11.0.0.0", "192.0.3.0", "2001:db9::1", "::10.0.0.1", "::ffff:11.0.0.1"]
        {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Networks::default().contains(IpAddr::from([10, 0, 0, 1])));
    }

    #[test]
    fn a_range_of_one_names_its_address() {
        let networks = networks(&["10.0.0.0/8", "192.0.2.1/32", "::ffff:192.0.2.2/128"]);
        assert!(networks.names(IpAddr::from([192, 0, 2, 1])) && networks.names(IpAddr::from([192, 0, 2, 2])));
        assert!(networks.names("::ffff:192.0.2.1".parse().unwrap()));
        assert!(
            !networks.names(IpAddr::from([10, 0, 0, 0])) && !networks.names(IpAddr::from([192, 0, 2, 3]))
        );
    }
}
