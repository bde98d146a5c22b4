//! IP networks: public addresses by IANA's special-purpose registries, and the allow and deny lists of the settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use domain::shared::{TargetHost, TargetUrl};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that are not part of the public internet (IANA IPv4 Special-Purpose Address Registry, and multicast).
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];
/// The part of IPv6 that is allocated to the public internet.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// Special-purpose networks within [`GLOBAL_V6`]: protocol assignments including Teredo, documentation (two), and 6to4,
/// which embeds an IPv4 address.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];
/// Prefix of IPv4 addresses that are reached through NAT64 from IPv6-only networks (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// True if an address belongs to the public internet. For an IPv6 address that contains an IPv4 address, the latter is
/// checked.
pub(super) fn is_public(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|network| network.contains(&address))
        }
    }
}

/// The IPv4 address that an IPv6 address contains, or the address itself.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other.to_canonical(),
    }
}

/// Entry of an address list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AddressEntry {
    Host(String, u16),
    Network(IpNet),
}

/// Allow or deny list of the settings. Each entry is `host:port` or a network such as `10.1.0.0/16`.
#[derive(Clone, Debug, Default)]
pub struct AddressList(Vec<AddressEntry>);

impl AddressList {
    pub fn parse(entries: &[String]) -> Result<Self> {
        entries.iter().map(|entry| entry.parse().with_context(|| format!("`{entry}`"))).collect::<Result<_>>().map(Self)
    }

    /// True if the host and port of a URL are listed, compared as text.
    pub(super) fn contains_host(&self, url: &TargetUrl) -> bool {
        let host = match url.host() {
            TargetHost::Name(name) => name.clone(),
            TargetHost::Address(address) => address.to_string(),
        };
        self.0.contains(&AddressEntry::Host(host, url.port()))
    }

    /// True if an address belongs to one of the listed networks.
    pub(super) fn contains_ip(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        self.0.iter().any(|entry| matches!(entry, AddressEntry::Network(network) if network.contains(&address)))
    }

    /// True if the list contains a network.
    pub(super) fn has_networks(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry, AddressEntry::Network(_)))
    }
}

impl FromStr for AddressEntry {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let advice = "expected host:port, or a network such as 10.1.0.0/16";
        if let Some((address, prefix)) = text.split_once('/') {
            let (address, prefix): (IpAddr, u8) = (address.parse().context(advice)?, prefix.parse().context(advice)?);
            return IpNet::new(address, prefix).map(Self::Network).context(advice);
        }
        let (host, port) = text.rsplit_once(':').context(advice)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ensure!(!host.is_empty(), advice);
        Ok(Self::Host(host.to_owned(), port.parse().context(advice)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_reserved_addresses_are_not_public_in_any_notation() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "0:0:0:0:0:ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn a_list_contains_hosts_with_their_ports_and_networks() {
        let entries = ["receiver:9000", "[::1]:8080", "10.1.0.0/16", "fd00::/8"].map(str::to_owned);
        let list = AddressList::parse(&entries).expect("a list");
        let has_host = |url: &str| list.contains_host(&url.parse().expect("an address"));
        assert!(has_host("http://receiver:9000/x") && has_host("http://[::1]:8080"));
        assert!(!has_host("http://receiver:9001"));
        let has_ip = |address: &str| list.contains_ip(address.parse().expect("an address"));
        assert!(has_ip("10.1.255.1") && has_ip("::ffff:10.1.2.3") && has_ip("fd12::1"));
        assert!(!has_ip("10.2.0.1") && !has_ip("fe80::1"));
        for invalid in
            ["", "receiver", "receiver:", ":80", "receiver:99999", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "x/8"]
        {
            assert!(AddressList::parse(&[invalid.to_owned()]).is_err(), "{invalid}");
        }
    }
}
