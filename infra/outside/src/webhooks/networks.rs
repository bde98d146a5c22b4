//! Parts of the internet: which addresses are public, and lists of places that people write into settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use domain::shared::{TargetHost, TargetUrl};

/// The networks of IPv4 in which nobody on the internet lives (IANA's registry of special purposes).
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The only part of IPv6 that is given out to the internet.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is special within it: protocols with Teredo among them, documentation, and 6to4, which hides another address.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// Behind it stands an address of IPv4, on networks that have none of their own (RFC 6052).
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address is one of the internet, which everybody may call. What stands for an address of IPv4 is judged as that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(four) => !SPECIAL_V4.iter().any(|(network, bits)| begins_v4(four, *network, *bits)),
        IpAddr::V6(six) => begins_v6(six, GLOBAL_V6) && !SPECIAL_V6.iter().any(|network| begins_v6(six, *network)),
    }
}

/// The address of IPv4 that another one stands for, or itself.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) if begins_v6(six, NAT64) => {
            let [.., a, b, c, d] = six.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other.to_canonical(),
    }
}

fn begins_v4(address: Ipv4Addr, network: Ipv4Addr, bits: u32) -> bool {
    let differ = address.to_bits() ^ network.to_bits();
    differ.checked_shr(32_u32.saturating_sub(bits)).unwrap_or(0) == 0
}

fn begins_v6(address: Ipv6Addr, (network, bits): (Ipv6Addr, u32)) -> bool {
    let differ = address.to_bits() ^ network.to_bits();
    differ.checked_shr(128_u32.saturating_sub(bits)).unwrap_or(0) == 0
}

/// One entry of a list of places: a host with its port, or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Host(String, u16),
    Network(IpAddr, u32),
}

/// A list of places in the settings, each `host:port` or a network such as `10.1.0.0/16`.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<Place>);

impl Places {
    pub fn read(entries: &[String]) -> Result<Self> {
        entries.iter().map(|entry| entry.parse().with_context(|| format!("`{entry}`"))).collect::<Result<_>>().map(Self)
    }

    /// Whether host and port of an address are listed as they are written.
    pub(super) fn name(&self, url: &TargetUrl) -> bool {
        let host = match url.host() {
            TargetHost::Name(name) => name.clone(),
            TargetHost::Address(address) => address.to_string(),
        };
        self.0.contains(&Place::Host(host, url.port()))
    }

    /// Whether an address is in one of the networks.
    pub(super) fn hold(&self, address: IpAddr) -> bool {
        self.0.iter().any(|place| match (place, plain(address)) {
            (Place::Network(IpAddr::V4(network), bits), IpAddr::V4(four)) => begins_v4(four, *network, *bits),
            (Place::Network(IpAddr::V6(network), bits), IpAddr::V6(six)) => begins_v6(six, (*network, *bits)),
            _ => false,
        })
    }

    /// Whether there is a network among them.
    pub(super) fn have_networks(&self) -> bool {
        self.0.iter().any(|place| matches!(place, Place::Network(..)))
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let advice = "expected host:port, or a network such as 10.1.0.0/16";
        if let Some((address, bits)) = text.split_once('/') {
            let (address, bits): (IpAddr, u32) = (address.parse().context(advice)?, bits.parse().context(advice)?);
            ensure!(bits <= if address.is_ipv4() { 32 } else { 128 }, advice);
            return Ok(Self::Network(address, bits));
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
    fn private_and_reserved_addresses_are_not_public_however_they_are_dressed_up() {
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
    fn a_list_names_hosts_with_their_port_and_networks() {
        let entries = ["receiver:9000", "[::1]:8080", "10.1.0.0/16", "fd00::/8"].map(str::to_owned);
        let places = Places::read(&entries).expect("a list");
        let names = |url: &str| places.name(&url.parse().expect("an address"));
        assert!(names("http://receiver:9000/x") && names("http://[::1]:8080") && !names("http://receiver:9001"));
        let hold = |address: &str| places.hold(address.parse().expect("an address"));
        assert!(hold("10.1.255.1") && hold("::ffff:10.1.2.3") && hold("fd12::1"));
        assert!(!hold("10.2.0.1") && !hold("fe80::1"));
        for odd in
            ["", "receiver", "receiver:", ":80", "receiver:99999", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "x/8"]
        {
            assert!(Places::read(&[odd.to_owned()]).is_err(), "{odd}");
        }
    }
}
