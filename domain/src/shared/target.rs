//! Addresses that the engine is asked to send something to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{Invalid, string_value};

/// The longest address; what is longer is no address of a person's making.
const BYTES_MOST: usize = 2_000;

/// An `http` or `https` address in the one form that every parser of addresses understands alike.
///
/// Much that browsers would mend is refused: names and passwords, fragments, other alphabets, upper case in names,
/// shortened or octal numbers as hosts, blanks and backslashes. Two parsers that disagree about a host are how a check is
/// passed by (`reliability.md`, B-SSRF). Whether the address may be called is another question, and not one for the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    text: String,
    encrypted: bool,
    host: TargetHost,
    port: u16,
    /// Where the path begins.
    path_at: usize,
}

/// Whom an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetHost {
    /// Lower-case labels with dots between.
    Name(String),
    Address(IpAddr),
}

impl TargetUrl {
    /// Whether it begins with `https`.
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    pub const fn host(&self) -> &TargetHost {
        &self.host
    }

    /// The port, also where it goes without saying.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they were written.
    pub fn authority(&self) -> &str {
        let from = if self.encrypted { "https://".len() } else { "http://".len() };
        self.text.get(from..self.path_at).unwrap_or_default()
    }

    /// Everything behind the authority; a lone slash where there is nothing.
    pub fn path_and_query(&self) -> String {
        match self.text.get(self.path_at..).unwrap_or_default() {
            "" => "/".into(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.into(),
        }
    }
}

impl FromStr for TargetUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > BYTES_MOST {
            return Invalid::because(format!("expected at most {BYTES_MOST} characters"));
        }
        let (encrypted, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Invalid::because("expected an address that begins with https://"),
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let path = rest.get(authority.len()..).unwrap_or_default();
        if !is_path(path) {
            return Invalid::because("behind the host, expected letters, digits and -._~!$&'()*+,;=:@/?%XX only");
        }
        let (host, port) = split(authority)?;
        let port = match port {
            None if encrypted => 443,
            None => 80,
            Some(digits) => port_of(digits)?,
        };
        let path_at = text.len().saturating_sub(path.len());
        Ok(Self { text: text.into(), encrypted, host: host_of(host)?, port, path_at })
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

string_value!(TargetUrl, "TargetUrl", { "type": "string", "format": "uri", "maxLength": BYTES_MOST });

/// Host and port of an authority.
fn split(authority: &str) -> Result<(&str, Option<&str>), Invalid> {
    if authority.contains('@') {
        return Invalid::because("names and passwords have no place in an address");
    }
    let after_host = authority.find(']').map_or_else(|| authority.find(':'), |bracket| bracket.checked_add(1));
    let (host, port) = authority.split_at_checked(after_host.unwrap_or(authority.len())).unwrap_or((authority, ""));
    match port.strip_prefix(':') {
        Some(digits) => Ok((host, Some(digits))),
        None if port.is_empty() => Ok((host, None)),
        None => Invalid::because("expected a host, or a host and a port"),
    }
}

fn port_of(digits: &str) -> Result<u16, Invalid> {
    let plain = !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if plain => Ok(port),
        _ => Invalid::because("expected a port from 1 to 65535"),
    }
}

fn host_of(host: &str) -> Result<TargetHost, Invalid> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address = inner.parse::<Ipv6Addr>().map_err(|_| Invalid("expected an IPv6 address in brackets".into()))?;
        return Ok(TargetHost::Address(IpAddr::V6(address)));
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    // Such a host is a number to some parsers, whatever stands before it; only the plain form is one to all of them.
    if last.starts_with(|c: char| c.is_ascii_digit()) {
        let address = host.parse::<Ipv4Addr>().map_err(|_| Invalid("expected four numbers, or a name".into()))?;
        return Ok(TargetHost::Address(IpAddr::V4(address)));
    }
    let labelled = host.len() <= 253 && host.split('.').all(is_label);
    if labelled {
        return Ok(TargetHost::Name(host.into()));
    }
    Invalid::because("expected a host of lower-case letters, digits, hyphens and dots; other alphabets as xn--…")
}

/// A label of a name (RFC 1123).
fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
}

/// What may stand behind the authority (RFC 3986), without a fragment.
fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    let escapes = path
        .split('%')
        .skip(1)
        .all(|rest| rest.as_bytes().first_chunk::<2>().is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)));
    path.bytes().all(plain) && escapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_kept_unaltered() {
        let text = "https://hooks.example.org:8443/shop/7?key=a%20b&x=1";
        let url: TargetUrl = text.parse().expect("an address");
        assert_eq!((url.to_string().as_str(), url.port(), url.is_encrypted()), (text, 8443, true));
        assert_eq!(url.host(), &TargetHost::Name("hooks.example.org".into()));
        assert_eq!(
            (url.authority(), url.path_and_query().as_str()),
            ("hooks.example.org:8443", "/shop/7?key=a%20b&x=1")
        );

        let bare: TargetUrl = "http://receiver?a".parse().expect("an address");
        assert_eq!((bare.port(), bare.authority(), bare.path_and_query().as_str()), (80, "receiver", "/?a"));
        let six: TargetUrl = "https://[2606:4700::1111]".parse().expect("an address");
        assert_eq!((six.port(), six.path_and_query().as_str()), (443, "/"));
        assert!(matches!(six.host(), TargetHost::Address(IpAddr::V6(_))));
    }

    #[test]
    fn what_parsers_could_read_in_two_ways_is_refused() {
        for odd in [
            "",
            "hooks.example.org",
            "//example.org",
            "https:/example.org",
            "https://",
            "https:///x",
            "HTTPS://example.org",
            "file:///etc/passwd",
            "gopher://example.org",
            "ftp://example.org",
            "unix:/run/x",
            "ht\ttps://example.org",
            "https://user:pass@example.org/",
            "https://example.org#@127.0.0.1/",
            "https://example.org\\@127.0.0.1/",
            "https://example.org/a\\b",
            "https://example.org/#x",
            "https://example.org /",
            "https://Example.org/",
            "https://127.1/",
            "https://0/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.0.0.1./",
            "https://1.2.3.4.5/",
            "https://example.org./",
            "https://example..org/",
            "https://[::1/",
            "https://::1/",
            "https://[fe80::1%lo]/",
            "https://[fe80::1%25lo]/",
            "https://[example.org]/",
            "https://[::1]x/",
            "https://example.org:/",
            "https://example.org:0/",
            "https://example.org:65536/",
            "https://example.org:+80/",
            "https://example.org:080/",
            "https://example.org:80:80/",
            "https://exämple.org/",
            "https://example\u{3002}org/",
            "https://-example.org/",
            "https://exa_mple.org/",
            "https://example.org/%zz",
            "https://example.org/%4",
            "https://%6c%6fcalhost/",
            "https://example.org/\r\nx: y",
            "https://example.org/ä",
        ] {
            assert!(odd.parse::<TargetUrl>().is_err(), "{odd:?}");
        }
        assert!(format!("https://example.org/{}", "x".repeat(8_192)).parse::<TargetUrl>().is_err());
    }
}
